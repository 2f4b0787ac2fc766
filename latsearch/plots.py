"""Pictures of a study: its front in two and three dimensions, as PNG and as an offline page."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latsearch.objectives import OBJECTIVES, FloatArray, OperatingPoint, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

FRONT_COLOR, DOMINATED_COLOR = "#d62728", "#c8c8c8"
_MOST_DOMINATED = 2000  # a page with more is slow to turn
_PANEL = 3.7  # inches


@dataclass(frozen=True)
class FrontData:
    """What a picture of a front shows.

    Attributes:
        title: name of the study.
        objectives: names of the objectives.
        front: the points on the front.
        dominated: the others' values, ``[N, len(objectives)]``, those near the front first.
        trials: trial of each of those, ``[N]``.
        run_ids: MLflow's run of a point by trial and row, where it has one.
        events: whether the study is of event data, whose latency is in milliseconds.
    """

    title: str
    objectives: tuple[str, ...]
    front: Sequence[OperatingPoint]
    dominated: FloatArray
    trials: Sequence[int]
    run_ids: Mapping[tuple[int, int], str] = field(default_factory=dict)
    events: bool = False

    @property
    def values(self) -> FloatArray:
        """Values of the front's points, ``[F, len(objectives)]``."""
        rows = [[point.metrics[name] for name in self.objectives] for point in self.front]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.objectives))


def axis_pairs(objectives: Sequence[str]) -> list[tuple[str, str]]:
    """Which objectives are drawn against which, as (x, y): the first one upward."""
    return [(second, first) for first, second in itertools.combinations(objectives, 2)]


def axis_title(name: str, data: FrontData) -> str:
    """An objective with its unit."""
    measured = unit(name, events=data.events)
    return name if measured == "fraction" else f"{name} / {measured}"


def write_front_png(data: FrontData, file: Path) -> None:
    """Draw the front against every pair of objectives side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # pyplot would keep state for the whole process

    pairs = axis_pairs(data.objectives)
    figure = Figure(figsize=(_PANEL * max(1, len(pairs)), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (x, y) in enumerate(pairs):
        axes = figure.add_subplot(1, len(pairs), index + 1)
        _draw_pair(axes, data, x, y)
        if index == 0 and (len(data.front) or len(data.dominated)):
            axes.legend(loc="lower right", frameon=False, fontsize=8)
    figure.suptitle(data.title, fontsize=10)
    figure.savefig(file, dpi=90)


def _draw_pair(axes: Axes, data: FrontData, x: str, y: str) -> None:
    columns = [data.objectives.index(x), data.objectives.index(y)]
    others, front = data.dominated[:, columns], data.values[:, columns]
    axes.scatter(
        others[:, 0], others[:, 1], s=6, color=DOMINATED_COLOR, linewidths=0, label="dominated"
    )
    axes.scatter(
        front[:, 0], front[:, 1], s=16, color=FRONT_COLOR, linewidths=0, label="Pareto front"
    )
    axes.set_xlabel(axis_title(x, data))
    axes.set_ylabel(axis_title(y, data))
    if OBJECTIVES[x].log:
        axes.set_xscale("log")
        label_plainly(axes.xaxis)
    if OBJECTIVES[y].log:
        axes.set_yscale("log")
        label_plainly(axes.yaxis)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def label_plainly(axis: Axis) -> None:
    """Label a logarithmic axis with 1, 2, 5, 10, … instead of powers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def write_shares_png(shares: Mapping[str, Mapping[str, float]], title: str, file: Path) -> None:
    """Draw shares as horizontal bars, the largest in total on top.

    Args:
        shares: by group, e.g. objective, and name.
        title: above the bars.
        file: where to.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for group in shares.values() for name in group))
    names.sort(key=lambda name: sum(group.get(name, 0.0) for group in shares.values()))
    thick = 0.8 / len(shares)
    figure = Figure(figsize=(7, 1 + 0.3 * len(names) * max(1, len(shares) / 2)))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    for index, (group, share) in enumerate(shares.items()):
        places = [row - index * thick for row in range(len(names))]
        axes.barh(places, [share.get(name, 0.0) for name in names], height=thick, label=group)
    axes.set_yticks([row - 0.4 + thick / 2 for row in range(len(names))], names)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    axes.set_title(title, fontsize=10)
    figure.savefig(file, dpi=90)


def front_page(data: FrontData) -> str:
    """An HTML page with the front to turn and to hover over; it needs no network."""
    import plotly.io

    figures = [_pairs_figure(data)]
    if len(data.objectives) == 3:
        figures.append(_space_figure(data))
    parts = [
        plotly.io.to_html(
            figure,
            full_html=False,
            include_plotlyjs=index == 0,
            div_id=f"front-{index}",
            # plotly's toolbar would offer to upload the figures
            config={
                "displaylogo": False,
                "responsive": True,
                "showSendToCloud": False,
                "plotlyServerURL": "",
            },
        )
        for index, figure in enumerate(figures)
    ]
    shown, there = min(len(data.dominated), _MOST_DOMINATED), len(data.dominated)
    hidden = f", {shown:,} shown" if shown < there else ""
    return _PAGE.format(
        title=html.escape(data.title),
        summary=f"{len(data.front)} operating points on the front of "
        f"{len({point.trial for point in data.front})} networks, {there:,} dominated{hidden}",
        plots="\n".join(parts),
    )


def _pairs_figure(data: FrontData) -> Any:
    from plotly.subplots import make_subplots

    pairs = axis_pairs(data.objectives)
    figure = make_subplots(rows=1, cols=max(1, len(pairs)), horizontal_spacing=0.08)
    for column, (x, y) in enumerate(pairs, start=1):
        for trace in _traces(data, (x, y), legend=column == 1):
            figure.add_trace(trace, row=1, col=column)
        figure.update_xaxes(**_axis(x, data), row=1, col=column)
        figure.update_yaxes(**_axis(y, data), row=1, col=column)
    figure.update_layout(height=420, **_LAYOUT)
    return figure


def _space_figure(data: FrontData) -> Any:
    import plotly.graph_objects as go

    first, second, third = data.objectives
    axes = (second, third, first)  # the first objective upward
    figure = go.Figure(_traces(data, axes, legend=True))
    scene = {f"{letter}axis": _axis(name, data) for letter, name in zip("xyz", axes, strict=True)}
    figure.update_layout(height=600, scene=scene, **_LAYOUT)
    return figure


def _traces(data: FrontData, axes: Sequence[str], *, legend: bool) -> list[Any]:
    """The dominated points and the front along two or three objectives."""
    import plotly.graph_objects as go

    kind = go.Scatter3d if len(axes) == 3 else go.Scattergl
    size = (2, 4) if len(axes) == 3 else (4, 7)
    columns = [data.objectives.index(name) for name in axes]
    others = data.dominated[:_MOST_DOMINATED, columns]
    front = data.values[:, columns]

    def trace(values: FloatArray, name: str, color: str, width: int, text: list[str]) -> Any:
        places = dict(zip("xyz", values.T, strict=False))
        return kind(
            **places,
            mode="markers",
            name=name,
            legendgroup=name,
            showlegend=legend,
            marker={"color": color, "size": width},
            text=text,
            hovertemplate="%{text}<extra></extra>",
        )

    trials = [f"trial {trial}" for trial in data.trials[:_MOST_DOMINATED]]
    hover = [_hover(point, data) for point in data.front]
    return [
        trace(others, "dominated", DOMINATED_COLOR, size[0], trials),
        trace(front, "Pareto front", FRONT_COLOR, size[1], hover),
    ]


def _hover(point: OperatingPoint, data: FrontData) -> str:
    """All of an operating point: figures, configuration, run."""
    lines = [f"<b>trial {point.trial}</b>, decision threshold {point.decision_threshold:.4g}"]
    for name in (*data.objectives, "silent_fraction"):
        plain = name not in OBJECTIVES or OBJECTIVES[name].unit == "fraction"
        measured = "" if plain else f" {unit(name, events=data.events)}"
        lines.append(f"{name.replace('_', ' ')} {point.metrics[name]:.4g}{measured}")
    lines += [
        f"{html.escape(name)} = {value:.4g}"
        if isinstance(value, float)
        else f"{html.escape(name)} = {html.escape(str(value))}"
        for name, value in point.params.items()
    ]
    run_id = data.run_ids.get((point.trial, point.row))
    return "<br>".join([*lines, f"run {run_id}"] if run_id else lines)


def _axis(name: str, data: FrontData) -> dict[str, Any]:
    kind = "log" if OBJECTIVES[name].log else "linear"
    return {"title": {"text": axis_title(name, data)}, "type": kind}


_LAYOUT: Mapping[str, Any] = {
    "template": "plotly_white",
    "margin": {"l": 10, "r": 10, "t": 30, "b": 10},
    "legend": {"orientation": "h", "y": 1.08},
    "hoverlabel": {"align": "left"},
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>body {{ font-family: sans-serif; margin: 1em; color: #333; }}</style>
</head>
<body>
<h3>{title}</h3>
<p>{summary}</p>
{plots}
</body>
</html>
"""
