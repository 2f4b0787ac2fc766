"""Whether a study may still come to something: one in which everything fails stops early."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from latsearch.search.trials import TrialState

HANDFUL = 5  # failures alike, or as many as trials run at a time, after which a study is hopeless
_WHATEVER = 4  # handfuls of failures for different causes that are enough as well
_NUMBER = re.compile(r"0x[0-9a-f]+|\d[\d.,]*(e[+-]?\d+)?")


def cause(reason: str) -> str:
    """What reasons of the same cause have in common: the words, not the numbers.

    Example:
        >>> cause("the loss is not finite in epoch 12: try a lower train.lr than 1e-2")
        'the loss is not finite in epoch #: try a lower train.lr than #'
    """
    return _NUMBER.sub("#", reason)


class Outlook:
    """Counts the failures of this run of the driver, as long as no trial of the study succeeds.

    Args:
        states: of the trials so far. Their failures are not counted: whoever goes on with a study
            has mended something.
    """

    def __init__(self, states: Iterable[TrialState]):
        self._good = any(s in (TrialState.COMPLETE, TrialState.PRUNED) for s in states)
        self._reasons: list[str] = []

    def succeeded(self) -> None:
        """Take the success of a trial."""
        self._good = True

    def failed(self, reason: str) -> None:
        """Take a failure for good."""
        self._reasons.append(reason)

    def hopeless(self, workers: int) -> str | None:
        """Why it is no use to go on; None where there is hope.

        Args:
            workers: trials at a time, which all start before one of them can fail.
        """
        count = len(self._reasons)
        enough = max(HANDFUL, workers)
        if self._good or count < enough:
            return None
        (_, times), *others = Counter(map(cause, self._reasons)).most_common()
        if others and count < _WHATEVER * enough:
            return None
        first = max(self._reasons, key=lambda reason: self._count(reason))
        alike = "all failed alike" if not others else f"all failed, {times} of them alike"
        return f"stopped, for the first {count} trials {alike}: {first}"

    def _count(self, reason: str) -> int:
        return sum(cause(other) == cause(reason) for other in self._reasons)
