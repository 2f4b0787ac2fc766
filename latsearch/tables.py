"""Fronts and comparisons as tables and pictures in characters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from latsearch.objectives import OBJECTIVES, ROBUST, DecisionCurve, OperatingPoint
from latsearch.reporting import point_row
from latsearch.scatter import Series, scatter
from latsearch.search.results import thinned
from latsearch.search.storage import Study
from latsearch.selection import Comparison

_TABLE_ROWS = 20
_MARKS = "●○▲△■□"
_FORMATS: Mapping[str, str] = {
    "decision_threshold": "{:.3g}",
    "accuracy": "{:.2%}",
    "latency": "{:.3f}",
    "energy": "{:,.1f}",
    "silent_fraction": "{:.1%}",
}
_HEADS: Mapping[str, str] = {
    "decision_threshold": "threshold",
    "energy": "energy/nJ",
    "silent_fraction": "silent",
    "latency_ms": "latency/ms",
    ROBUST: "robust",
}


def front_table(points: Sequence[OperatingPoint], study: Study, most: int = _TABLE_ROWS) -> Table:
    """The front as a table of at most ``most`` rows, those that matter to the hypervolume."""
    config = study.config
    shown = thinned(points, tuple(config.objectives), study.reference, most)
    trials = len({point.trial for point in points})
    title = f"front: {count(len(points), 'row')} of {count(trials, 'trial')}"
    if len(shown) < len(points):
        title += f", {len(shown)} shown"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("trial", justify="right", no_wrap=True)
    formats = dict(_FORMATS)
    if config.energy.timestep_ms is not None:
        formats["latency_ms"] = "{:.4g}"
    if config.robust is not None:
        formats[ROBUST] = "{:.2%}"
    for name in formats:
        table.add_column(_head(name, config.unit("latency")), justify="right", no_wrap=True)
    table.add_column("parameters", style="dim")
    for point in shown:
        figures = point_row(point, config)
        cells = [form.format(figures[name]) for name, form in formats.items()]
        if point.kind == "readout":
            cells[0] = "readout"
        # cut off rather than broken into lines: the column that gives way on a narrow terminal
        words = Text(values_words(point.params), no_wrap=True, overflow="ellipsis")
        table.add_row(str(point.trial), *cells, words)
    return table


def front_scatter(
    points: Sequence[OperatingPoint], study: Study, height: int = 12
) -> Iterator[str]:
    """Accuracy over latency (or energy) of a front in characters; nothing without a trade-off."""
    objectives = study.config.objectives
    x = next((name for name in ("latency", "energy") if name in objectives), None)
    if x is None or "accuracy" not in objectives or len(points) < 2:
        return
    marks = [(point.metrics[x], point.metrics["accuracy"]) for point in points]
    series = [Series("●", marks)]
    yield from scatter(series, f"{x}/{study.config.unit(x)}", "accuracy", height=height)
    yield ""


def curve_scatter(curve: DecisionCurve) -> Iterator[str]:
    """Accuracy over latency of a decision curve, in characters."""
    rows = list(zip(curve.latency.tolist(), curve.accuracy.tolist(), strict=True))
    yield from scatter([Series("●", rows)], "latency/timesteps", "accuracy")
    yield ""


def curve_table(curve: DecisionCurve) -> Table:
    """A decision curve as a table, one row a decision threshold."""
    table = Table(box=None, pad_edge=False)
    for name in _FORMATS:
        table.add_column(_head(name, OBJECTIVES["latency"].unit), justify="right", no_wrap=True)
    for row in curve.rows():
        cells = [form.format(row[name]) for name, form in _FORMATS.items()]
        table.add_row(*(["readout", *cells[1:]] if row["kind"] == "readout" else cells))
    return table


def _head(name: str, latency_unit: str) -> str:
    """Head of a column; ``steps`` leaves more room than ``timesteps``."""
    short = latency_unit.replace("timesteps", "steps")
    return f"latency/{short}" if name == "latency" else _HEADS.get(name, name)


def comparison_scatter(comparison: Comparison) -> Iterator[str]:
    """The fronts over each other in characters, a mark a study; the last one is on top."""
    drawn = [name for name in ("latency", "energy") if name in comparison.attained]
    if not drawn or not any(comparison.fronts):
        return
    x, marks = drawn[0], itertools.cycle(_MARKS)
    series = [
        Series(mark, [(point.metrics[x], point.metrics["accuracy"]) for point in front])
        for mark, front in zip(marks, comparison.fronts, strict=False)
    ]
    yield from scatter(series, f"{x}/{OBJECTIVES[x].unit}", "accuracy")
    named = zip(series, comparison.names, strict=True)
    yield "  ".join(f"{each.mark} {name}" for each, name in named)
    yield ""


def comparison_tables(comparison: Comparison) -> Iterator[RenderableType]:
    """A comparison of studies as tables."""
    table = Table(title="fronts", title_justify="left", title_style="bold", box=None)
    table.add_column("study")
    table.add_column("hypervolume", justify="right")
    table.add_column(f"against {comparison.names[0]}", justify="right")
    for name in comparison.names:
        table.add_column(f"covers {name}", justify="right")
    for index, name in enumerate(comparison.names):
        covered = [f"{part:.0%}" for part in comparison.coverage[index]]
        volume, first = comparison.hypervolumes[index], comparison.hypervolumes[0]
        against = f"{volume / first - 1:+.2%}" if first > 0 else "–"
        table.add_row(name, f"{volume:.4g}", against, *covered)
    yield table
    for objective, levels in comparison.attained.items():
        table = Table(f"best accuracy at {objective} up to", box=None)
        for name in comparison.names:
            table.add_column(name, justify="right")
        for name in comparison.names[1:]:
            table.add_column(f"{name} − {comparison.names[0]}", justify="right")
        for level, accuracies in levels.items():
            cells = ["–" if math.isnan(value) else f"{value:.2%}" for value in accuracies]
            ahead = [value - accuracies[0] for value in accuracies[1:]]
            cells += ["–" if math.isnan(value) else f"{100 * value:+.2f}" for value in ahead]
            table.add_row(f"{level:.4g} {OBJECTIVES[objective].unit}", *cells)
        yield Text()
        yield table


def count(number: int, noun: str) -> str:
    """A number with its noun, e.g. ``2 rows``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds in words, e.g. ``2 min 5 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def values_words(values: Mapping[str, Any]) -> str:
    """Parameters in short, e.g. ``family=mlp timesteps=4``."""
    return " ".join(
        f"{name.split('.', 1)[1]}={value:.3g}" if isinstance(value, float) else
        f"{name.split('.', 1)[1]}={value}"
        for name, value in values.items()
    )  # fmt: skip
