"""Charts of what was found: the front, and the decision curves of its trials."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from latsearch.objectives import READOUT, OperatingPoint
from latsearch.plots import FRONT_COLOR
from latsearch.report.chart import COLORS, QUIET, Chart, Json, axis, line_style
from latsearch.report.content import Content
from latsearch.report.words import figure, value_text

MOST_POINTS = 2000


def front_charts(content: Content) -> list[Chart]:
    """Accuracy over latency and over energy: all points grey, the front red."""
    measured = [*content.points, *content.front]
    names = [
        name
        for name in ("latency", "energy")
        if any(math.isfinite(point.metrics[name]) for point in measured)
    ]
    return [_front_chart(content, name) for name in names]


def _front_chart(content: Content, x: str) -> Chart:
    others = content.points[:MOST_POINTS]
    traces = [
        _points(others, x, "dominated", 5) | {"meta": QUIET},
        _points(content.front, x, "Pareto front", 8, FRONT_COLOR),
        _points([], x, "chosen", 15) | {"meta": {"role": "chosen"}},
    ]
    traces[0]["text"] = [_short_hover(point) for point in others]
    traces[1]["text"] = [_hover(point, content) for point in content.front]
    traces[2] |= {"showlegend": False, "hoverinfo": "skip", "hovertemplate": ""}
    xaxis = axis(x, [*traces[0]["x"], *traces[1]["x"]], content.config.unit(x))
    layout = {"xaxis": xaxis, "yaxis": axis("accuracy", ()), "hovermode": "closest"}
    return Chart(f"front-{x}", f"accuracy over {x}", traces, layout)


def _points(
    points: Sequence[OperatingPoint], x: str, name: str, size: int, color: str | None = None
) -> Json:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [point.metrics[x] for point in points],
        "y": [point.metrics["accuracy"] for point in points],
        "marker": {"size": size} | ({"color": color} if color else {}),
        "hovertemplate": "%{text}<extra></extra>",
    }


def _short_hover(point: OperatingPoint) -> str:
    return f"trial {point.trial}, {figure('accuracy', point.metrics['accuracy'])}"


def _hover(point: OperatingPoint, content: Content) -> str:
    accuracy = point.metrics["accuracy"]
    lines = [
        f"<b>trial {point.trial}</b>, epoch {point.epoch}, {html.escape(point.state)}",
        f"decision threshold {figure('decision_threshold', point.decision_threshold)}",
        f"accuracy {figure('accuracy', accuracy)} ± {100 * content.error(accuracy):.2f} %",
        *(
            f"{name} {figure(name, point.metrics[name])} {content.config.unit(name)}"
            for name in ("latency", "energy")
        ),
        f"silent {figure('silent_fraction', point.metrics['silent_fraction'])}",
        *(
            f"{html.escape(name)} = {html.escape(value_text(value))}"
            for name, value in point.params.items()
        ),
    ]
    return "<br>".join(lines)


def curve_chart(content: Content) -> Chart:
    """Decision curves of the front's trials: accuracy over mean latency, the readout marked."""
    traces = []
    for index, trial in enumerate(content.lines):
        curve = content.record(trial).curve
        assert curve is not None  # it has a row on the front
        readout = [kind == READOUT for kind in curve.kind]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"trial {trial}",
                "x": curve.latency.tolist(),
                "y": curve.accuracy.tolist(),
                "text": [figure("decision_threshold", value) for value in curve.decision_threshold],
                "customdata": curve.energy.tolist(),
                "line": {**line_style(index), "width": 1.5},
                "marker": {
                    "symbol": ["diamond" if last else "circle" for last in readout],
                    "size": [12 if last else 5 for last in readout],
                },
                "hovertemplate": (
                    f"trial {trial}, threshold %{{text}}<br>accuracy %{{y:.2%}}, latency "
                    "%{x:.3f}<br>energy %{customdata:.4g} nJ<extra></extra>"
                ),
            }
        )
    return Chart(
        "curves",
        "decision curves: accuracy over mean latency",
        traces,
        {
            "xaxis": axis("latency", (), content.config.unit("latency")),
            "yaxis": axis("accuracy", ()),
            "hovermode": "closest",
        },
    )


def times_chart(content: Content) -> list[Chart]:
    """Share of the samples that decide at each timestep, a bar a recommended point."""
    traces: list[Json] = []
    for choice in content.recommended:
        last, point = content.record(choice.point.trial).last, choice.point
        if last is None or last.decision_times is None:
            continue
        counts = last.decision_times[point.row]
        where = figure("decision_threshold", point.decision_threshold)
        name = f"{', '.join(choice.rules)}: trial {point.trial} @ {where}"
        traces.append(
            {
                "type": "bar",
                "name": name,
                "x": list(range(1, len(counts) + 1)),
                "y": [count / sum(counts) for count in counts],
                "customdata": list(counts),
                "marker": {"color": COLORS[len(traces)]},
                "hovertemplate": name
                + "<br>t = %{x}: %{y:.1%}, %{customdata} samples<extra></extra>",
            }
        )
    layout = {
        "xaxis": {"title": {"text": "decision time / timesteps"}, "dtick": 1},
        "yaxis": {"title": {"text": "samples"}, "tickformat": ".0%"},
    }
    title = "samples that decide at each timestep"
    return [Chart("decision-times", title, traces, layout)] if traces else []
