"""A scatter plot in characters, for terminals and logs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_MARGIN = 9  # columns of the axis labels


@dataclass(frozen=True)
class Series:
    """Points that share a mark.

    Attributes:
        mark: one character.
        points: (x, y) of each; a later series covers an earlier one.
    """

    mark: str
    points: Sequence[tuple[float, float]]


def scatter(
    series: Sequence[Series], x: str, y: str, *, width: int = 60, height: int = 12
) -> Iterator[str]:
    """The lines of the plot.

    Args:
        series: what is drawn; points that are not finite are left out.
        x: name of the horizontal axis.
        y: name of the vertical one.
        width: columns of the plot without its labels.
        height: lines of the plot without its labels.
    """
    finite = [Series(s.mark, [p for p in s.points if all(map(math.isfinite, p))]) for s in series]
    everything = [point for each in finite for point in each.points]
    if not everything:
        return
    left, right = _range([point[0] for point in everything])
    bottom, top = _range([point[1] for point in everything])
    cells = [[" "] * width for _ in range(height)]
    for each in finite:
        for horizontal, vertical in each.points:
            column = round((horizontal - left) / (right - left) * (width - 1))
            row = round((top - vertical) / (top - bottom) * (height - 1))
            cells[row][column] = each.mark
    yield f"{y:>{_MARGIN}}"
    labels = {0: top, height // 2: (top + bottom) / 2, height - 1: bottom}
    for row, line in enumerate(cells):
        label = f"{labels[row]:.4g}" if row in labels else ""
        yield f"{label:>{_MARGIN}} │{''.join(line).rstrip()}"
    yield f"{'':>{_MARGIN}} └{'─' * width}"
    ends = f"{left:.4g}".ljust(width - len(f"{right:.4g}")) + f"{right:.4g}"
    yield f"{'':>{_MARGIN}}  {ends}  {x}"


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Least and most; a little apart where they are the same."""
    low, high = min(values), max(values)
    around = max(0.5, abs(low) / 10)
    return (low, high) if high > low else (low - around, high + around)
