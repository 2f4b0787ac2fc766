"""The comparison with live trainings: equal wall clock, one process, one training at a time.

A search's own time (its proposals) counts; measuring the test split, with which it is scored, does
not. The score is the hypervolume of the best test rows of everything it trained.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from latbench.ours import VARIANTS
from latbench.peers import Encoding, Told, make_peer
from latbench.record import axes

from latsearch import pareto
from latsearch.config import PROFILES, StudyConfig, TrialConfig, load_study
from latsearch.data import load
from latsearch.evaluation import validation_curve
from latsearch.objectives import EpochReport
from latsearch.search.ceilings import Ceilings
from latsearch.search.cost import TrainingCost
from latsearch.search.driver import Search
from latsearch.search.reference import reference_point
from latsearch.search.results import (
    best_rows,
    curve_losses,
    knee_row,
    reference_losses,
    violations,
)
from latsearch.search.sampler import sampler_for
from latsearch.search.simulate import memory_study
from latsearch.training import Trainer, TrainingError


class _Clock:
    """Wall time that can be held."""

    def __init__(self, seconds: float):
        self._end = time.perf_counter() + seconds
        self._seconds = seconds

    @property
    def spent(self) -> float:
        return self._seconds - (self._end - time.perf_counter())

    @property
    def over(self) -> bool:
        return time.perf_counter() >= self._end

    def give_back(self, since: float) -> None:
        """Do not count the time since a moment."""
        self._end += time.perf_counter() - since


class LiveRun:
    """One search by live trainings.

    Args:
        grid: the grid's YAML file.
        seconds: wall time.
        seed: of the search and of its trainings.
    """

    def __init__(self, grid: Path, seconds: float, seed: int):
        self.config: StudyConfig = load_study(grid)
        self._splits = load(self.config.data)
        self._objectives = tuple(self.config.objectives)
        self._reference = reference_point(self.config, self._splits)
        self._point = reference_losses(self._reference, self._objectives)
        self._front = np.empty((0, len(self._objectives)))
        self._seed = seed
        self._clock = _Clock(seconds)
        self.history: list[tuple[float, float]] = []
        self.trainings = 0

    def ours(self, name: str) -> None:
        """Our search, one of `VARIANTS`."""
        config = VARIANTS[name].study(self.config, self._seed, int(self.config.space.size))
        splits = self._splits
        cost = TrainingCost(config.space, splits.input_shape, splits.classes, len(splits.train))
        ceilings = Ceilings(config, splits.input_shape, splits.classes)
        sampler = sampler_for(config, self._reference, cost, ceilings)
        search = Search(memory_study(config, self._reference), sampler)
        while not self._clock.over and not search.done:
            assignment = search.ask()
            for report in self._train(assignment.trial, assignment.seed):
                if report.epoch in assignment.rungs:
                    checkpoint = f"trials/{assignment.number:05d}/{report.epoch:05d}"
                    report = replace(report, checkpoint=checkpoint)
                if not search.report(assignment.number, report):
                    break
                if report.epoch == assignment.trial.train.epochs:
                    search.complete(assignment.number)

    def peer(self, name: str) -> None:
        """A peer with our curves; full trainings."""
        epochs = int(self.config.space.largest("train.epochs"))
        peer = make_peer(name, Encoding(axes(self.config), False), self._seed, epochs)
        while not self._clock.over:
            handle, values, _ = peer.ask()
            last = None
            for report in self._train(self.config.space.trial(values), self._seed):
                last = report
            if last is None or last.epoch < epochs:
                continue  # out of time, or diverged
            row = knee_row(last.curve, self._objectives, self.config.constraints)
            losses = curve_losses(last.curve, self._objectives)[row]
            violation = float(violations(last.curve, self.config.constraints)[row])
            peer.tell(handle, Told(last.epoch, losses, violation, last.curve))

    def _train(self, trial: TrialConfig, seed: int) -> Iterator[EpochReport]:
        """Train until the end, the clock's or the caller's, then score what is there."""
        profile = PROFILES[self.config.energy.profile]
        trainer = Trainer(trial, self._splits.without_test(), seed=seed, profile=profile)
        try:
            while trainer.epoch < trial.train.epochs and not self._clock.over:
                yield trainer.step()
        except TrainingError:
            return
        finally:
            if trainer.epoch and not self._clock.over:
                self._score(trainer)

    def _score(self, trainer: Trainer) -> None:
        start, splits = time.perf_counter(), self._splits
        assert splits.test is not None
        profile = PROFILES[self.config.energy.profile]
        curve, _ = validation_curve(trainer.network, splits.test, splits.mean, splits.std, profile)
        rows = best_rows(curve, self._objectives, self.config.constraints)
        found = np.concatenate([self._front, curve_losses(curve, self._objectives)[rows]])
        self._front = found[pareto.nondominated(found)]
        self.trainings += 1
        self._clock.give_back(start)
        volume = pareto.hypervolume(self._front, self._point)
        self.history.append((round(self._clock.spent, 2), volume))


def live(grid: Path, method: str, seed: int, seconds: float) -> dict[str, Any]:
    """The line of one live search for the results file."""
    import torch

    torch.set_num_threads(1)
    run = LiveRun(grid, seconds, seed)
    if method in VARIANTS:
        run.ours(method)
    else:
        run.peer(method)
    return {
        "live": True,
        "method": method,
        "seed": seed,
        "budget": seconds,
        "trainings": run.trainings,
        "hypervolume": run.history[-1][1] if run.history else 0.0,
        "history": run.history,
    }
