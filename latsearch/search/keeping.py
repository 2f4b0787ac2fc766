"""Whose weights stay: the front's, and those of some more trials."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from latsearch import pareto
from latsearch.objectives import FloatArray
from latsearch.search.results import Constraints, Objectives, best_rows, curve_losses
from latsearch.search.trials import TrialRecord, TrialState


@dataclass(frozen=True, eq=False)
class _Candidate:
    """An ended trial whose weights are kept so far.

    Attributes:
        rows: ``[R, M]`` its rows that may be on the front, less is better.
        promise: loss by which trials off the front are ranked: the best of the first objective.
    """

    rows: FloatArray
    promise: float


class Keeper:
    """Chooses whose weights stay, as trials end.

    Nothing comes back onto a front, and a trial off it only falls behind others: whoever was
    dropped is forgotten, so that the work for an ended trial does not grow with the study.
    """

    def __init__(self, objectives: Objectives, constraints: Constraints, keep: int):
        """Start with nobody.

        Args:
            objectives: of the front.
            constraints: that its rows keep.
            keep: how many trials stay besides the front's.
        """
        self._objectives = tuple(objectives)
        self._constraints = constraints
        self._keep = keep
        self._kept: dict[int, _Candidate] = {}

    def take(self, ended: Iterable[TrialRecord]) -> dict[int, bool]:
        """Take trials that ended: whether weights stay, of each of them and of whoever goes now."""
        joined = {**self._kept, **{record.number: self._candidate(record) for record in ended}}
        numbers = sorted(joined)
        members = self._members({number: joined[number] for number in numbers})
        others = sorted(
            (number for number in numbers if number not in members),
            key=lambda number: joined[number].promise,
        )
        stay = members | set(others[: self._keep])
        decided = {number: number in stay for number in numbers if number not in self._kept}
        decided |= {number: False for number in self._kept if number not in stay}
        self._kept = {number: joined[number] for number in numbers if number in stay}
        return decided

    def _candidate(self, record: TrialRecord) -> _Candidate:
        if record.curve is None:
            return _Candidate(np.empty((0, len(self._objectives))), math.inf)
        losses = curve_losses(record.curve, self._objectives)
        able = record.state in (TrialState.COMPLETE, TrialState.PRUNED)
        rows = best_rows(record.curve, self._objectives, self._constraints) if able else []
        return _Candidate(losses[rows], float(np.min(losses[:, 0])))

    def _members(self, candidates: dict[int, _Candidate]) -> set[int]:
        """Numbers of the trials with a row on the front."""
        if not candidates:
            return set()
        counts = [len(candidate.rows) for candidate in candidates.values()]
        owners = np.repeat(np.array(list(candidates)), counts)
        rows = np.concatenate([candidate.rows for candidate in candidates.values()])
        return {int(number) for number in owners[pareto.nondominated(rows)]}
