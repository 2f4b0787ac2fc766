"""The note at the head of an experiment: links, a table, a picture, in Markdown (no mlflow)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from latsearch.objectives import OperatingPoint
from latsearch.tracking.known import RowKey
from latsearch.tracking.layout import point_name
from latsearch.tracking.views import ALL, view_fragment

KEY = "mlflow.note.content"
PICTURE = "pareto/front.png"
_MOST_EARLIER = 10
_MARK = "\n\n---\n*latsearch writes what is above this line; what is below is yours.*"


@dataclass(frozen=True)
class NoteData:
    """What a note tells.

    Attributes:
        experiment_id: id of the experiment.
        study_id: the study that it is about.
        parent: its parent run.
        summary: one line on where it stands.
        points: rows of its front to show.
        run_ids: runs of the operating points.
        earlier: earlier studies of the experiment, newest first.
        picture: whether the parent run has the picture of the front.
        latency_unit: unit of the points' latency.
    """

    experiment_id: str
    study_id: str
    parent: str
    summary: str
    points: Sequence[OperatingPoint]
    run_ids: Mapping[RowKey, str]
    earlier: Sequence[str]
    picture: bool
    latency_unit: str = "timesteps"


def note(data: NoteData, present: str) -> str:
    """The note's text; what a user wrote below the mark stays."""
    front = view_fragment(data.experiment_id, data.study_id)
    everything = view_fragment(data.experiment_id, data.study_id, ALL)
    parent = _run(data, data.parent, "/artifacts/pareto/front.html")
    # the first line alone is seen without unfolding the note
    parts = [
        f"[**Open the Pareto front**]({front}) · [all trials]({everything}) · [tables, "
        f"interactive plots, configuration]({parent})",
        f"**{data.study_id}**: {data.summary}",
    ]
    if data.points:
        parts.append("\n".join(_table(data)))
    if data.picture:
        path = f"get-artifact?path={quote(PICTURE, safe='')}&run_uuid={data.parent}"
        parts.append(f"![Pareto front]({path})")
    if data.earlier:
        links = (
            f"[{name}]({view_fragment(data.experiment_id, name)})"
            for name in data.earlier[:_MOST_EARLIER]
        )
        parts.append(f"Earlier studies: {', '.join(links)}")
    return "\n\n".join(parts) + _MARK + _own(present)


def _own(present: str) -> str:
    """What the user wrote."""
    _, mark, below = present.partition(_MARK)
    if mark:
        return below
    return f"\n\n{present}" if present.strip() else ""


def _table(data: NoteData) -> list[str]:
    latency = f"latency / {data.latency_unit}"
    columns = ("operating point", "accuracy", latency, "energy / nJ", "silent", "parameters")
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for point in data.points:
        name = point_name(point)
        run_id = data.run_ids.get((point.trial, point.row))
        figures = point.metrics
        cells = [
            f"[{name}]({_run(data, run_id)})" if run_id else name,
            f"{figures['accuracy']:.2%}",
            f"{figures['latency']:.3f}",
            f"{figures['energy']:,.1f}",
            f"{figures['silent_fraction']:.1%}",
            " ".join(f"{key.split('.', 1)[1]}={_short(x)}" for key, x in point.params.items()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _run(data: NoteData, run_id: str, part: str = "") -> str:
    # without the workflowType MLflow shows a run among those of language models
    return f"#/experiments/{data.experiment_id}/runs/{run_id}{part}?workflowType=machine_learning"


def _short(value: object) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")
