"""What a study has found so far, taken up trial by trial: its front, ranks and progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import moocore
import numpy as np
from numpy.typing import NDArray

from latsearch.config import StudyConfig
from latsearch.objectives import FloatArray, OperatingPoint
from latsearch.search.results import (
    hypervolume,
    joined_front,
    operating_points,
    point_losses,
    thinned,
)
from latsearch.search.trials import TrialRecord
from latsearch.tracking.layout import Progress, trial_end

MOST_POINTS = 16  # published of a trial


class Findings:
    """Front, ranks and progress of a study's ended trials.

    Attributes:
        front: the study's front, best in the first objective first.
        progress: one entry for each ended trial.
        ranks: by trial and row, 1 on the front, 2 on the front of the rest, and so on.
    """

    def __init__(self, config: StudyConfig, reference: Mapping[str, float]):
        self._config = config
        self._objectives = tuple(config.objectives)
        self._reference = reference
        self._keys: list[tuple[int, int]] = []
        self._losses: list[FloatArray] = []
        self._values: list[FloatArray] = []
        self._published: dict[int, frozenset[int]] = {}
        self.front: list[OperatingPoint] = []
        self.progress: list[Progress] = []
        self.ranks: Mapping[tuple[int, int], int] = {}

    def take(self, records: Sequence[TrialRecord], now: float) -> None:
        """Take up the trials that have ended since the last call, in the order of their ends."""
        new = [r for r in records if r.state.finished and r.number not in self._published]
        for record in sorted(new, key=lambda r: (trial_end(r, now), r.number)):
            self._take_one(record, trial_end(record, now))
        if new:
            self._rank()

    def published(self, record: TrialRecord) -> list[OperatingPoint]:
        """The points of an ended trial that are published, at most `MOST_POINTS`."""
        rows = self._published[record.number]
        return [point for point in self._points(record) if point.row in rows]

    def dominated(self) -> tuple[FloatArray, list[int]]:
        """The points off the front, best rank first: their values ``[N, M]``, their trials."""
        if not self._values:
            return np.zeros((0, len(self._objectives))), []
        ranks = np.array([self.ranks[key] for key in self._keys])
        order = np.argsort(ranks, kind="stable")
        order = order[ranks[order] > 1]
        return np.concatenate(self._values)[order], [self._keys[index][0] for index in order]

    def _take_one(self, record: TrialRecord, time: int) -> None:
        points = self._points(record)
        if points:
            self._keys += [(point.trial, point.row) for point in points]
            self._losses.append(point_losses(points, self._objectives))
            self._values.append(
                np.array([[p.metrics[name] for name in self._objectives] for p in points])
            )
            self.front = joined_front(self.front, points, self._objectives)
        self._published[record.number] = frozenset(point.row for point in self._choose(points))
        volume = hypervolume(self.front, self._objectives, self._reference)
        step = len(self.progress) + 1
        self.progress.append(Progress(step, time, len(self.front), volume))

    def _choose(self, points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
        """Which of a trial's points to publish: those on the front first."""
        members = {(point.trial, point.row) for point in self.front}
        on_front = [point for point in points if (point.trial, point.row) in members]
        rest = [point for point in points if (point.trial, point.row) not in members]
        chosen = self._thin(on_front, MOST_POINTS)
        return chosen + self._thin(rest, MOST_POINTS - len(chosen))

    def _thin(self, points: Sequence[OperatingPoint], most: int) -> list[OperatingPoint]:
        """At most so many points, those that the hypervolume hangs on."""
        return thinned(points, self._objectives, self._reference, most) if most else []

    def _points(self, record: TrialRecord) -> list[OperatingPoint]:
        return operating_points([record], self._objectives, self._config.constraints)

    def _rank(self) -> None:
        if not self._losses:
            return
        ranks: NDArray[np.intp] = 1 + np.asarray(moocore.pareto_rank(np.concatenate(self._losses)))
        self.ranks = dict(zip(self._keys, (int(rank) for rank in ranks), strict=True))
        members = {(point.trial, point.row) for point in self.front}
        # moocore ranks equal points equally, of which only the first is on the front
        twins = {key: 2 for key, rank in self.ranks.items() if rank == 1 and key not in members}
        self.ranks = {**self.ranks, **twins}
