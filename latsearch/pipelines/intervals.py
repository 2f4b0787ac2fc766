"""Intervals of accuracies that were measured on some samples, with some trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from latsearch.cards import wilson

Z95 = 1.959963984540054


def of_mean(accuracies: Sequence[float], samples: int) -> tuple[float, float]:
    """The 95 % interval of the mean accuracy of several trainings on the same samples.

    Two things are drawn: the samples (Wilson's interval, not made smaller by further trainings,
    since all see the same samples) and the trainings (Student's t). Their half widths are added
    in quadrature; of one training the second is unknown, and left out.

    Args:
        accuracies: one a training.
        samples: that each was measured on.
    """
    mean = fmean(accuracies)
    low, high = wilson(mean * samples, samples)
    extra = half_width(accuracies)
    return (
        max(0.0, mean - math.hypot(mean - low, extra)),
        min(1.0, mean + math.hypot(high - mean, extra)),
    )


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of a mean by Student's t; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    from scipy.stats import t as student  # type: ignore[import-untyped]  # half a second to import

    return float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))


def of_shift(
    before: Sequence[float], after: Sequence[float], samples: tuple[int, int]
) -> tuple[float, float, float]:
    """The mean shift of accuracies from one split to another, and its 95 % interval.

    Args:
        before: one accuracy a training, on the first split.
        after: the same networks' on the second.
        samples: sizes of the two splits.
    """
    shifts = [second - first for first, second in zip(before, after, strict=True)]
    mean = fmean(shifts)
    drawn = [p * (1 - p) / n for p, n in zip((fmean(before), fmean(after)), samples, strict=True)]
    half = math.hypot(Z95 * math.sqrt(sum(drawn)), half_width(shifts))
    return mean, mean - half, mean + half
