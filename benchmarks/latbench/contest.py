"""Searches on recorded trainings: ours in its simulator, peers on the same virtual clock."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace

import numpy as np
from latbench.peers import Peer, Told
from latbench.scoring import THRESHOLDS, Judge, Score, row_at

from latsearch.config import StudyConfig
from latsearch.objectives import NUMERIC_COLUMNS, DecisionCurve, EpochReport
from latsearch.search.ceilings import Ceilings
from latsearch.search.cost import TrainingCost
from latsearch.search.driver import Search, TrialEnded
from latsearch.search.results import curve_losses, knee_row, violations
from latsearch.search.sampler import sampler_for
from latsearch.search.simulate import Cluster, Simulation, memory_study

SHAPES = {"digits": (1, 8, 8), "fashion-mnist": (1, 28, 28)}  # of the grids' images
MOST_REPEATS = 2000  # proposals without a new training in a row, after which a peer is stuck


@dataclass(frozen=True)
class Limits:
    """When a run ends: at this share of the hypervolume, or with this much compute or trainings."""

    share: float
    compute: float
    trainings: float = math.inf


def run_ours(
    judge: Judge,
    config: StudyConfig,
    limits: Limits,
    cluster: Cluster,
    *,
    curves: bool = True,
    costs: bool = True,
    ceilings: bool = True,
) -> Score:
    """The score of our search.

    Args:
        judge: what it sees, and what scores it.
        config: the study, with sampler and early stopping.
        limits: when it ends.
        cluster: the workers.
        curves: whether a training is a curve; else it is its knee row alone, for the sampler, the
            rungs and the score.
        costs: whether the sampler is told what trainings cost.
        ceilings: whether it is told the most that configurations allow.
    """
    table = judge.table
    study = memory_study(config, judge.reference)
    shape = SHAPES[config.data.name]
    cost = TrainingCost(config.space, shape, table.classes, table.about["samples"]["train"])
    sampler = sampler_for(
        config,
        judge.reference,
        cost if costs else lambda values: 1.0,
        Ceilings(config, shape, table.classes) if ceilings else None,
    )
    search = Search(study, sampler)
    score = Score(judge)

    def outcome(assignment):
        reports = table.reports(table.number_of(assignment.trial), judge.seen)
        return reports if curves else [_knee_alone(judge, report) for report in reports]

    simulation = Simulation(search, outcome, cluster, checkpoint_every=table.epochs)

    def observe(event):
        if isinstance(event, TrialEnded) and event.state.finished:
            record = search.records[event.number]
            if not record.log:
                return
            number = table.number(record.values)
            if curves:
                rows = judge.rows(number, record.epoch)
            else:
                threshold = record.curve.decision_threshold[0]
                rows = judge.row(number, record.epoch, float(threshold))
            score.add(rows, simulation.compute, simulation.now)

    search.observe(observe)
    simulation.run(lambda: _over(limits, simulation.compute, score))
    return score


def _over(limits: Limits, compute: float, score: Score) -> bool:
    return (
        score.share >= limits.share
        or compute >= limits.compute
        or score.trainings >= limits.trainings
    )


def _knee_alone(judge: Judge, report: EpochReport) -> EpochReport:
    """The report with the knee row of its curve alone."""
    row = knee_row(report.curve, judge.objectives, judge.constraints)
    numbers = {name: getattr(report.curve, name)[[row]] for name in NUMERIC_COLUMNS}
    curve = DecisionCurve(kind=(report.curve.kind[row],), **numbers)
    return replace(report, curve=curve)


@dataclass
class _Training:
    """A peer's training under way; the epochs until its next event cost nothing if not charged."""

    handle: object
    configuration: int
    threshold: float | None
    epoch: int = 0
    charged: bool = False


class PeerRun:
    """A peer's search on the virtual clock.

    An epoch that was trained before, of the same configuration (and decision threshold, where it
    is a hyperparameter), is not charged again.

    Args:
        judge: what it sees, and what scores it.
        peer: the peer.
        workers: trainings at a time.
        curves: whether it gets our curves; else the decision threshold is a hyperparameter.
    """

    def __init__(self, judge: Judge, peer: Peer, workers: int, curves: bool):
        self.score = Score(judge)
        self.now = 0.0
        self.compute = 0.0
        self._judge = judge
        self._peer = peer
        self._idle = workers
        self._curves = curves
        self._flying = 0
        self._charged: set[tuple[int, float | None, int]] = set()
        self._ended: set[tuple[int, float | None, int]] = set()
        self._events: list[tuple[float, int, _Training]] = []
        self._order = 0

    def run(self, limits: Limits) -> Score:
        """Go on until a limit is reached, or the peer proposes only what it knows."""
        repeats = 0
        while not _over(limits, self.compute, self.score) and repeats < MOST_REPEATS:
            while self._idle:
                self._start()
            moment, _, training = heapq.heappop(self._events)
            self.compute += (moment - self.now) * self._flying
            repeats = 0 if moment > self.now else repeats + 1
            self.now = moment
            self._epoch(training)
        return self.score

    def _start(self) -> None:
        handle, values, threshold = self._peer.ask()
        configuration = self._judge.table.number(values)
        place = None if threshold is None else THRESHOLDS[threshold]
        self._idle -= 1
        self._next(_Training(handle, configuration, place))

    def _next(self, training: _Training) -> None:
        table, seen = self._judge.table, self._judge.seen
        steps = 1 if self._peer.reports else table.epochs_of(training.configuration, seen)
        seconds, charged = 0.0, False
        for _ in range(steps):
            training.epoch += 1
            key = (training.configuration, training.threshold, training.epoch)
            if key not in self._charged:
                self._charged.add(key)
                charged = True
                seconds += table.seconds[seen, training.configuration, training.epoch - 1]
        self._flying += charged
        training.charged = charged
        self._order += 1
        heapq.heappush(self._events, (self.now + seconds, self._order, training))

    def _epoch(self, training: _Training) -> None:
        self._flying -= training.charged
        table, seen = self._judge.table, self._judge.seen
        last = training.epoch >= table.epochs_of(training.configuration, seen)
        told = self._told(training)
        goes_on = self._peer.report(training.handle, told) if self._peer.reports else not last
        if goes_on and not last:
            self._next(training)
            return
        if last:
            self._peer.tell(training.handle, told)
        self._idle += 1
        key = (training.configuration, training.threshold, training.epoch)
        if key in self._ended:
            return
        self._ended.add(key)
        judge = self._judge
        rows = (
            judge.rows(training.configuration, training.epoch)
            if self._curves
            else judge.row(training.configuration, training.epoch, training.threshold)
        )
        self.score.add(rows, self.compute, self.now)

    def _told(self, training: _Training) -> Told:
        judge = self._judge
        curve = judge.validation(training.configuration, training.epoch)
        if self._curves:
            row = knee_row(curve, judge.objectives, judge.constraints)
        else:
            row = row_at(curve, training.threshold)
        losses = curve_losses(curve, judge.objectives)[row]
        violation = float(violations(curve, judge.constraints)[row])
        return Told(training.epoch, np.asarray(losses), violation, curve if self._curves else None)
