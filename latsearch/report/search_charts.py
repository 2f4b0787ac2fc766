"""Charts of the search: trainings, hypervolume, and what the parameters do."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from latsearch.config import Parameter, Value
from latsearch.objectives import EpochReport
from latsearch.plots import FRONT_COLOR
from latsearch.report.chart import COLORS, QUIET, Chart, Json, axis, drawable, line_style, log_scale
from latsearch.report.content import Content
from latsearch.report.importance import Importance
from latsearch.report.words import value_text
from latsearch.search.results import knee_row
from latsearch.search.trials import TrialRecord

MOST_QUIET_LINES = 40
_MOST_SLICE_POINTS = 600
_OFF_FRONT = "#8c8c8c"


def training_charts(content: Content) -> list[Chart]:
    """Training loss and knee accuracy after each epoch; trials off the front faint behind."""
    reported = [record for record in content.records if record.log]
    quiet = [record for record in reported if record.number not in content.lines]
    spread = range(0, len(quiet), max(1, math.ceil(len(quiet) / MOST_QUIET_LINES)))
    loss: list[Json] = []
    accuracy: list[Json] = []
    for record in (quiet[index] for index in spread):
        reports = _reports(record)
        look = {"meta": QUIET, "showlegend": False, "line": {"width": 1}}
        loss.append(_epochs(record, reports, _losses(reports), ".4g") | look)
        accuracy.append(_epochs(record, reports, _knees(reports, content), ".2%") | look)
    for index, trial in enumerate(content.lines):
        record = content.record(trial)
        reports = _reports(record)
        line = {"line": {**line_style(index), "width": 2}}
        loss.append(_epochs(record, reports, _losses(reports), ".4g") | line)
        accuracy.append(_epochs(record, reports, _knees(reports, content), ".2%") | line)
    epochs: Json = {"title": {"text": "epoch"}}
    charts = [
        Chart(
            "training-loss",
            "training loss after each epoch",
            loss,
            {"xaxis": epochs, "yaxis": {"title": {"text": "training loss"}}},
        ),
        Chart(
            "training-accuracy",
            "knee accuracy after each epoch",
            accuracy,
            {"xaxis": epochs, "yaxis": axis("accuracy", ())},
        ),
    ]
    return [chart for chart in charts if any(drawable(trace) for trace in chart.traces)]


def _reports(record: TrialRecord) -> list[EpochReport]:
    return [EpochReport.from_json(entry) for _, entry in sorted(record.log.items())]


def _losses(reports: Sequence[EpochReport]) -> list[float]:
    return [report.metrics.get("train_loss", math.nan) for report in reports]


def _knees(reports: Sequence[EpochReport], content: Content) -> list[float]:
    bounds = content.config.constraints
    rows = [knee_row(report.curve, content.objectives, bounds) for report in reports]
    return [float(r.curve.accuracy[row]) for r, row in zip(reports, rows, strict=True)]


def _epochs(
    record: TrialRecord, reports: Sequence[EpochReport], values: list[float], digits: str
) -> Json:
    return {
        "type": "scatter",
        "mode": "lines" if len(reports) > 1 else "markers",
        "name": f"trial {record.number}",
        "x": [report.epoch for report in reports],
        "y": values,
        "hovertemplate": (
            f"trial {record.number} ({record.state}), epoch %{{x}}: %{{y:{digits}}}<extra></extra>"
        ),
    }


def hypervolume_chart(content: Content) -> Chart:
    """Hypervolume of all that was found over ended trials."""
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "hypervolume",
        "x": [entry.step for entry in content.progress],
        "y": [entry.hypervolume for entry in content.progress],
        "customdata": [entry.front_size for entry in content.progress],
        "line": {"shape": "hv", "color": COLORS[0], "width": 2},
        "marker": {"size": 4 if len(content.progress) < 100 else 1},
        "hovertemplate": (
            "after %{x} trials: %{y:.4g}<br>front of %{customdata} rows<extra></extra>"
        ),
    }
    layout = {
        "xaxis": {"title": {"text": "ended trials"}},
        "yaxis": {"title": {"text": "hypervolume"}},
    }
    return Chart("hypervolume", "hypervolume over ended trials", [trace], layout)


def importance_chart(found: Importance) -> Chart:
    """Share of each parameter in each objective, side by side."""
    parameters = list(dict.fromkeys(name for share in found.shares.values() for name in share))
    parameters.sort(key=lambda name: sum(share.get(name, 0) for share in found.shares.values()))
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": objective,
            "x": [share.get(name, 0.0) for name in parameters],
            "y": [html.escape(name) for name in parameters],
            "marker": {"color": COLORS[index]},
            "hovertemplate": "%{y}: %{x:.1%} of " + objective + "<extra></extra>",
        }
        for index, (objective, share) in enumerate(found.shares.items())
    ]
    layout = {
        "xaxis": {"title": {"text": "importance"}, "tickformat": ".0%"},
        "legend": {"traceorder": "reversed"},
        "height": 110 + 20 * len(found.shares) * len(parameters),
    }
    # plotly draws bars upward
    return Chart("importance", "importance of each parameter", traces[::-1], layout)


def slice_charts(content: Content) -> list[Chart]:
    """Each parameter against each objective of the complete trials' knees; one at a time."""
    step = max(1, math.ceil(len(content.knees) / _MOST_SLICE_POINTS))
    return [
        chart
        for index, parameter in enumerate(content.parameters)
        if drawable((chart := _slice(content, parameter, index, step)).traces[0])
    ]


def _slice(content: Content, parameter: Parameter, index: int, step: int) -> Chart:
    name, members = parameter.name, {point.trial for point in content.front}
    knees = [knee for knee in content.knees[::step] if name in knee.params]
    colors = [FRONT_COLOR if knee.trial in members else _OFF_FRONT for knee in knees]
    values = {goal: [knee.metrics[goal] for knee in knees] for goal in content.objectives}
    unit = content.config.unit
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": objective,
            "visible": place == 0,
            "x": [_place(parameter, knee.params[name]) for knee in knees],
            "y": values[objective],
            "text": [f"trial {knee.trial}" for knee in knees],
            "marker": {"size": 6, "opacity": 0.75, "color": colors},
            "hovertemplate": "%{text}: %{x}, %{y:.4g}<extra></extra>",
        }
        for place, objective in enumerate(content.objectives)
    ]
    views = {
        objective: {
            "visible": [other == objective for other in content.objectives],
            "layout": {"yaxis": axis(objective, values[objective], unit(objective))},
        }
        for objective in content.objectives
    }
    layout = {
        "xaxis": {"title": {"text": html.escape(name)}, **_parameter_scale(parameter)},
        "yaxis": axis(
            content.objectives[0], values[content.objectives[0]], unit(content.objectives[0])
        ),
        "showlegend": False,
        "hovermode": "closest",
        "height": 260,
    }
    return Chart(f"slice-{index}", f"objectives over {name}", traces, layout, views)


def _place(parameter: Parameter, value: Value) -> Value:
    """Where a value is on its parameter's axis."""
    return html.escape(value_text(value)) if parameter.kind == "categorical" else value


def _parameter_scale(parameter: Parameter) -> Json:
    """The axis of a parameter on a small chart: few labels."""
    if parameter.kind == "categorical":
        return {"type": "category"}
    if not parameter.log:
        return {"type": "linear", "nticks": 5}
    assert parameter.low is not None
    assert parameter.high is not None
    return log_scale(parameter.low, parameter.high)
