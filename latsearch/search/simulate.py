"""The search on a virtual clock: recorded trainings, any number of workers, workers that die.

The decisions are those of a real search: the same `Search` asks, is told and stops, on the same
study format (in memory). Only the executor differs: a training is looked up instead of carried
out, and its seconds pass on a clock that jumps from event to event. Everything is deterministic.
"""

from __future__ import annotations

import heapq
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna

from latsearch.config import StudyConfig
from latsearch.objectives import OBJECTIVES, EpochReport
from latsearch.search.checkpoints import trial_folder
from latsearch.search.driver import Assignment, Search
from latsearch.search.storage import Study
from latsearch.search.trials import SCREENED

Outcome = Callable[[Assignment], Sequence[EpochReport]]

_DIED = "its simulated worker died"
_DIVERGED = "the recorded training ends after epoch {epoch} of {epochs}"


@dataclass(frozen=True)
class Cluster:
    """The simulated machines.

    Attributes:
        workers: trainings at a time.
        failing: probability that a worker dies during a training it was given, at a moment drawn
            evenly over what is left of it.
        replacement: seconds until another worker takes a dead one's place.
        seed: of the deaths.
    """

    workers: int = 1
    failing: float = 0.0
    replacement: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers = {self.workers}, but a search needs one at least")
        if not 0 <= self.failing < 1:
            raise ValueError(f"failing = {self.failing:g} is no probability below 1")


@dataclass
class _Job:
    """A training under way on a worker.

    Attributes:
        assignment: what is trained.
        reports: what it has still to report, in order.
        epoch: of its newest report.
        death: reports from its start after which the worker dies, a fraction within one.
    """

    assignment: Assignment
    reports: Sequence[EpochReport]
    epoch: int
    death: float
    told: int = 0

    @property
    def number(self) -> int:
        return self.assignment.number

    @property
    def dies(self) -> bool:
        """Whether the worker dies before its next report."""
        return self.death < self.told + 1

    def seconds(self) -> float:
        """Until the next report, or the worker's death."""
        share = self.death - self.told if self.dies else 1.0
        return self.reports[self.told].seconds * share


class Simulation:
    """A search carried out on simulated workers.

    Args:
        search: what decides.
        outcome: the reports of a whole training, one an epoch, from the first on, or where it has
            a screening from that on; fewer than the trial's epochs where the training failed.
        cluster: the workers.
        checkpoint_every: epochs between two checkpoints, besides those at rungs and at the end.

    Attributes:
        now: seconds on the virtual clock.
        compute: seconds that workers were busy until now, unfinished epochs included.
        deaths: workers that died so far.
        driver_seconds: real seconds spent in the search's decisions, by kind: ``ask``, ``tell``.
    """

    def __init__(
        self,
        search: Search,
        outcome: Outcome,
        cluster: Cluster | None = None,
        *,
        checkpoint_every: int = 1,
    ):
        self.now = 0.0
        self.compute = 0.0
        self.deaths = 0
        self.driver_seconds = {"ask": 0.0, "tell": 0.0}
        self._search = search
        self._outcome = outcome
        self._cluster = cluster or Cluster()
        self._checkpoint_every = checkpoint_every
        self._idle = self._cluster.workers
        self._jobs: dict[int, _Job] = {}
        self._waiting: deque[Assignment] = deque()  # handed out to nobody by a new driver
        # (time, order, number of a trial; None where a dead worker's replacement arrives)
        self._events: list[tuple[float, int, int | None]] = []
        self._order = 0

    def run(self, over: Callable[[], bool] = lambda: False) -> None:
        """Go on until the search is done or ``over`` says so, which is asked after each event."""
        while self.step() and not over():
            pass

    def step(self) -> bool:
        """Go to the next event; whether there was one."""
        self._fill()
        if not self._events:
            return False
        moment, _, number = heapq.heappop(self._events)
        self.compute += (moment - self.now) * len(self._jobs)
        self.now = moment
        if number is None:
            self._idle += 1
            return True
        job = self._jobs[number]
        if job.dies:
            self._die(job)
        else:
            self._report(job)
        return True

    def restart(self, search: Search, *, lost: bool = False) -> None:
        """Replace a driver that was killed by another one on the same study.

        Args:
            search: the new driver's, made from the study's storage.
            lost: whether the workers died with the driver, so that trainings go on from their
                checkpoints; else they carry on and tell the new driver (who took over between
                two events).
        """
        self._search = search
        if lost:
            self._idle += len(self._jobs)
            self._jobs = {}
            self._events = [event for event in self._events if event[2] is None]
            heapq.heapify(self._events)
            return
        unfinished = sum(not record.state.finished for record in search.records.values())
        handed = [search.ask() for _ in range(unfinished)]  # interrupted trials come first
        self._waiting.extend(a for a in handed if a.number not in self._jobs)

    def _fill(self) -> None:
        while self._idle > 0 and self._waiting:
            self._start(self._waiting.popleft())
        while self._idle > 0 and not self._search.idle:
            start = time.perf_counter()
            assignment = self._search.ask()
            self.driver_seconds["ask"] += time.perf_counter() - start
            self._start(assignment)

    def _start(self, assignment: Assignment) -> None:
        epoch = int(assignment.checkpoint.rsplit("/", 1)[1]) if assignment.checkpoint else 0
        known = epoch if assignment.screening is None else SCREENED - 1
        reports = [report for report in self._outcome(assignment) if report.epoch > known]
        job = _Job(assignment, reports, epoch, self._death(assignment, len(reports)))
        self._idle -= 1
        self._jobs[job.number] = job
        self._next(job)

    def _death(self, assignment: Assignment, reports: int) -> float:
        """Reports after which the worker dies; inf where it does not."""
        attempt = self._search.records[assignment.number].attempts
        draw = np.random.default_rng([self._cluster.seed, assignment.number, attempt]).random(2)
        if draw[0] >= self._cluster.failing:
            return float("inf")
        return float(draw[1] * reports)

    def _next(self, job: _Job) -> None:
        if job.told < len(job.reports):
            self._push(job.seconds(), job.number)
            return
        epochs = job.assignment.trial.train.epochs
        if job.epoch == epochs:
            self._timed(lambda: self._search.complete(job.number))
        else:
            reason = _DIVERGED.format(epoch=job.epoch, epochs=epochs)
            self._timed(lambda: self._search.fail(job.number, reason))
        self._free(job)

    def _push(self, seconds: float, number: int | None) -> None:
        self._order += 1
        heapq.heappush(self._events, (self.now + seconds, self._order, number))

    def _report(self, job: _Job) -> None:
        report = job.reports[job.told]
        job.told, job.epoch = job.told + 1, report.epoch
        last = job.epoch == job.assignment.trial.train.epochs
        regular = job.epoch % self._checkpoint_every == 0
        if regular or last or job.epoch in job.assignment.rungs:
            checkpoint = f"{trial_folder(job.number)}/{job.epoch:05d}"
            report = replace(report, checkpoint=checkpoint)
        if self._timed(lambda: self._search.report(job.number, report)):
            self._next(job)
        else:
            self._free(job)

    def _die(self, job: _Job) -> None:
        self.deaths += 1
        self._timed(lambda: self._search.crash(job.number, _DIED))
        self._free(job)
        if self._cluster.replacement > 0:
            self._idle -= 1
            self._push(self._cluster.replacement, None)

    def _free(self, job: _Job) -> None:
        del self._jobs[job.number]
        self._idle += 1

    def _timed(self, tell: Callable[[], bool | None]) -> bool | None:
        start = time.perf_counter()
        answer = tell()
        self.driver_seconds["tell"] += time.perf_counter() - start
        return answer


def memory_study(config: StudyConfig, reference: Mapping[str, float]) -> Study:
    """A study in memory, for simulations.

    Args:
        config: the study.
        reference: the hypervolume's reference point by objective.
    """
    study = optuna.create_study(
        directions=[OBJECTIVES[objective].direction for objective in config.objectives]
    )
    study.set_user_attr("config", config.model_dump(mode="json"))
    study.set_user_attr("reference", dict(reference))
    study.set_user_attr("created", time.time())
    # never created: simulated checkpoints have no files
    folder = Path(tempfile.gettempdir()) / f"latsearch-simulated-{secrets.token_hex(8)}"
    return Study(folder, config, study)
