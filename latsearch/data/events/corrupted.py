"""Recordings under each event corruption, as evaluations take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from latsearch.data.corruptions import CorruptedSet
from latsearch.data.events.corruptions import EVENT_CORRUPTIONS, SEVERITIES
from latsearch.data.splits import Progress, Samples, Splits
from latsearch.errors import DataError

EVENT_CONSTANTS = "event corruptions with latsearch's own constants"


def corrupted_recordings(
    splits: Splits,
    clean: Samples,
    names: Sequence[str] = tuple(EVENT_CORRUPTIONS),
    progress: Progress | None = None,
) -> Iterator[CorruptedSet]:
    """Test samples whose events went through each corruption at each severity.

    Args:
        splits: of an event data set, binned to the T of ``clean``.
        clean: all or some of the test samples.
        names: of the corruptions.
        progress: told of how far it is.

    Raises:
        DataError: a recording cannot be read any more.
    """
    if splits.binned is None:
        raise DataError(f"{splits.name} holds images; these corruptions are of recordings")
    done, total = 0, len(names) * SEVERITIES
    for name in names:
        for severity in range(1, SEVERITIES + 1):
            samples = splits.binned.corrupted(clean, corruption=name, severity=severity)
            yield CorruptedSet(name, severity, samples)
            done += 1
            if progress is not None:
                progress("corruptions", done, total)
