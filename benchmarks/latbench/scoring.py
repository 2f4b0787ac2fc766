"""How good a search is: the share of the reference hypervolume against the compute it spent."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from latbench.table import TEST, VALIDATION, Table

from latsearch import pareto
from latsearch.objectives import DecisionCurve
from latsearch.search.results import best_rows, curve_losses, feasible, reference_losses

# what a user who gives the decision threshold by hand may choose from, as one more hyperparameter
THRESHOLDS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, float("inf"))


def row_at(curve: DecisionCurve, threshold: float) -> int:
    """The row of a decision threshold: the last one that does not lie above it."""
    return max(int(np.searchsorted(curve.decision_threshold, threshold, side="right")) - 1, 0)


class Judge:
    """Scores what a search found by the test rows of trainings that it did not see.

    Args:
        table: the recorded trainings.
        seen: seed of the trainings whose validation curves the search sees; the other seed's
            test curves score it.
        reference: the hypervolume's reference point by objective.
    """

    def __init__(self, table: Table, seen: int, reference: Mapping[str, float]):
        self.table = table
        self.seen = seen
        self.objectives = tuple(table.study.objectives)
        self.constraints = table.study.constraints
        self.reference = reference
        self._point = reference_losses(reference, self.objectives)
        self._scored = 1 - seen
        self.rows = lru_cache(maxsize=None)(self._rows)
        self.row = lru_cache(maxsize=None)(self._row)

    @cached_property
    def whole(self) -> float:
        """Hypervolume of all full trainings together."""
        ends = [self.rows(c, self._last(c)) for c in range(self.table.size)]
        return pareto.hypervolume(np.concatenate(ends), self._point)

    @cached_property
    def attainable(self) -> float:
        """Share of it that the thresholds of `THRESHOLDS` reach with every training."""
        ends = [
            self.row(c, self._last(c), threshold)
            for c, threshold in itertools.product(range(self.table.size), THRESHOLDS)
        ]
        return self.share(np.concatenate(ends))

    @cached_property
    def cost(self) -> float:
        """Seconds of all full trainings."""
        return float(self.table.seconds[self.seen].sum())

    def share(self, losses: np.ndarray) -> float:
        """Hypervolume of rows as a share of the whole."""
        return pareto.hypervolume(losses, self._point) / self.whole

    def earliest(self, share: float, *, full: bool) -> float:
        """Seconds until all trainings, begun at once, have a share of the hypervolume.

        Nobody's n workers get there with less compute than n times that, whatever they train.

        Args:
            share: of the hypervolume.
            full: whether trainings count at their end alone; else after each epoch.
        """
        ends = []
        for configuration in range(self.table.size):
            last = self.table.epochs_of(configuration, self.seen)
            spent = self.table.seconds[self.seen, configuration].cumsum()
            epochs = range(max(1, last) if full else 1, last + 1)
            ends += [(float(spent[epoch - 1]), configuration, epoch) for epoch in epochs]
        ends.sort()

        def enough(count: int) -> bool:
            rows = np.concatenate([self.rows(number, epoch) for _, number, epoch in ends[:count]])
            return self.share(rows[pareto.nondominated(rows)]) >= share

        return ends[bisect_left(range(1, len(ends)), True, key=enough)][0]

    def _last(self, configuration: int) -> int:
        return self.table.epochs_of(configuration, self._scored)

    def _rows(self, configuration: int, epoch: int) -> np.ndarray:
        """Losses of the test curve's best rows after an epoch, ``[R, M]``."""
        curve = self._test(configuration, epoch)
        return curve_losses(curve, self.objectives)[
            best_rows(curve, self.objectives, self.constraints)
        ]

    def _row(self, configuration: int, epoch: int, threshold: float) -> np.ndarray:
        """Losses of the test row at a decision threshold, ``[1, M]``; none where not feasible."""
        curve = self._test(configuration, epoch)
        row = row_at(curve, threshold)
        kept = feasible(curve, self.constraints)[row]
        return curve_losses(curve, self.objectives)[[row] if kept else []]

    def _test(self, configuration: int, epoch: int) -> DecisionCurve:
        last = self._last(configuration)  # the other seed's training may have diverged
        return self.table.curve(configuration, self._scored, min(epoch, last), TEST)

    def validation(self, configuration: int, epoch: int) -> DecisionCurve:
        """The curve that the search sees."""
        return self.table.curve(configuration, self.seen, epoch, VALIDATION)


@dataclass
class Score:
    """The score of one search as it goes on.

    Attributes:
        judge: scores.
        history: (compute in seconds, virtual time in seconds, trainings, share) after each trial
            that raised the share.
        trainings: trials that ended.
    """

    judge: Judge
    history: list[tuple[float, float, int, float]] = field(default_factory=list)
    trainings: int = 0

    def __post_init__(self) -> None:
        self._front = np.empty((0, len(self.judge.objectives)))

    @property
    def share(self) -> float:
        """Share of the reference hypervolume until now."""
        return self.history[-1][3] if self.history else 0.0

    def add(self, rows: np.ndarray, compute: float, now: float) -> None:
        """Take the rows of a trial that ended."""
        self.trainings += 1
        front = np.concatenate([self._front, rows])
        self._front = front[pareto.nondominated(front)]
        share = self.judge.share(self._front)
        if share > self.share:
            self.history.append((compute, now, self.trainings, share))

    def until(self, share: float) -> tuple[float, float, int] | None:
        """Compute, virtual time and trainings until the share was reached; None: it was not."""
        return next((entry[:3] for entry in self.history if entry[3] >= share), None)
