"""What the sampler is shown of the trials so far: `History`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from latsearch.search.observations import Observation, best, observe, stages
from latsearch.search.results import Constraints, Objectives
from latsearch.search.trials import TrialRecord, TrialState

CHUNK = 300  # trials that are reduced to the best of all before them at a time


class History:
    """Observations of all trials by number, of long studies the best and the newest.

    Trials are closed in chunks of `CHUNK` consecutive numbers, once all of the chunk and of the
    next one have ended: of the closed ones only the `CHUNK` best are shown. What is shown depends
    on the outcomes of the trials alone, not on their order in time, so that a search that goes on
    shows the same; and it does not grow with the study.
    """

    def __init__(
        self, objectives: Objectives, constraints: Constraints, before: Sequence[Observation] = ()
    ):
        """Start without a trial.

        Args:
            objectives: of the study.
            constraints: of the study.
            before: observations of earlier studies, taken for older than every trial.
        """
        self._objectives = tuple(objectives)
        self._constraints = constraints
        self._before = best(before, CHUNK)
        self._seen: list[Observation] = []  # of trials that are not closed, by number
        self._first = 0  # number of the first of them
        self._ended: Counter[int] = Counter()  # trials of each chunk

    def started(self, record: TrialRecord) -> None:
        """Take a new trial; trials come in the order of their numbers.

        Raises:
            ValueError: it is not the next one.
        """
        if record.number != self._first + len(self._seen):
            raise ValueError(f"trial {record.number} is not the next one")
        self._seen.append(Observation(record.values, None))

    def ended(self, record: TrialRecord, budget: int, screening: float = 0.0) -> None:
        """Take the end of a trial.

        Args:
            record: the trial.
            budget: epochs of its full training.
            screening: samples of its screening, in epochs of the full training.
        """
        # the rows of a stopped trial are those of a short training, which its values with
        # their full budget would not have: a model must not take them for the same thing
        curve = record.curve if record.state is TrialState.COMPLETE else None
        seen = observe(record.values, curve, self._objectives, self._constraints)
        reached = stages(record.log, budget, self._objectives, self._constraints, screening)
        self._seen[record.number - self._first] = replace(seen, stages=reached)
        self._ended[record.number // CHUNK] += 1
        self._close()

    def shown(self) -> list[Observation]:
        """What the sampler is shown, older ones first."""
        return [*self._before, *self._seen]

    def _close(self) -> None:
        chunk = self._first // CHUNK
        while self._ended[chunk] == CHUNK and self._ended[chunk + 1] == CHUNK:
            self._before = best([*self._before, *self._seen[:CHUNK]], CHUNK)
            del self._seen[:CHUNK]
            del self._ended[chunk]
            self._first += CHUNK
            chunk += 1
