"""Heat maps of robustness: a row for each corruption, a column for each severity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latsearch.objectives import FloatArray
from latsearch.robustness import Robustness, corruption_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CELL = 0.46  # inches
_LABELS = 1.5  # inches for the names of the corruptions


def write_heat_map(networks: Sequence[Robustness], file: Path, title: str | None = None) -> None:
    """Draw accuracies side by side for several networks; for one, decision times beside them.

    Args:
        networks: measured under the same corruptions.
        file: PNG to write.
        title: above all panels; None: which corruptions they are.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # pyplot would keep state for the whole process

    names = corruption_names(networks[0].rows)
    panels: list[tuple[str, FloatArray, str]] = [
        (network.model, table(network, "accuracy") * 100, "accuracy / %") for network in networks
    ]
    if len(networks) == 1:
        latency = table(networks[0], "latency")
        panels.append(
            (networks[0].model, latency, f"mean decision time / {networks[0].latency_unit}")
        )
    columns = panels[0][1].shape[1]
    width = _LABELS + len(panels) * (columns * _CELL + 0.7)
    figure = Figure(figsize=(width, len(names) * 0.3 + 1.3), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for index, (axes, (heading, values, what)) in enumerate(zip(grid, panels, strict=True)):
        shown = names if index == 0 else None
        _draw(axes, values, heading, what, shown, percent=what.endswith("%"))
    figure.suptitle(title or networks[0].corruptions, fontsize=9)
    figure.savefig(file, dpi=110)


def table(network: Robustness, column: str) -> FloatArray:
    """A figure by corruption and severity, ``[corruptions, 1 + severities]``, NaN where unknown.

    The first row is the clean samples', in its first column; the first column is theirs alone.
    """
    names = corruption_names(network.rows)
    severities = sorted({row.severity for row in network.rows})
    values = np.full((len(names), len(severities)), np.nan)
    for row in network.rows:
        place = names.index(row.corruption), severities.index(row.severity)
        values[place] = getattr(row, column)
    return values


def _draw(
    axes: Axes,
    values: FloatArray,
    heading: str,
    what: str,
    names: Sequence[str] | None,
    *,
    percent: bool,
) -> None:
    low, high = (0.0, 100.0) if percent else (np.nanmin(values), np.nanmax(values))
    axes.imshow(values, aspect="auto", cmap="viridis", vmin=low, vmax=high)
    axes.set_xticks(range(values.shape[1]), ["clean", *map(str, range(1, values.shape[1]))])
    axes.set_yticks(range(len(values)), [n.replace("_", " ") for n in names] if names else [])
    axes.tick_params(labelsize=7, length=0)
    axes.set_xlabel("severity", fontsize=7)
    axes.set_title(f"{heading}\n{what}", fontsize=8)
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            text = f"{value:.0f}" if percent else f"{value:.2f}"
            dark = (value - low) < 0.6 * (high - low)
            colour = "white" if dark else "black"
            axes.text(x, y, text, ha="center", va="center", fontsize=6.5, color=colour)
