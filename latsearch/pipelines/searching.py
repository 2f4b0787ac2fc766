"""The stage `search`: the study, its front and digests of its data as files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from latsearch.errors import StudyFailed
from latsearch.objectives import OperatingPoint
from latsearch.pipelines.context import Context, data_digests
from latsearch.pipelines.workspace import Workspace
from latsearch.reporting import study_front
from latsearch.running import RunOptions
from latsearch.running import run as run_search


def settings(context: Context) -> Any:
    """What the front depends on."""
    config = context.study_config
    return {
        "study": config.study,
        **config.identity(),
        "search": config.search.model_dump(mode="json"),
    }


def run(context: Context, workspace: Workspace) -> list[str]:
    """Search, or go on with the study where it stands; write its front."""
    options = context.options
    result = run_search(
        context.study_config,
        RunOptions(
            workers=options.workers,
            runs=options.runs,
            address=options.address,
            download=options.download,
            allow_code=options.allow_code,
            progress=options.progress,
        ),
        context.view.search,
        warn=context.view.note,
    )
    if not result.finished:
        raise StudyFailed(f"{result.folder}: the search was not finished; run the pipeline again")
    study = context.study()
    front = study_front(study, study.trials())
    if not front:
        raise StudyFailed(
            f"{result.folder}: no row keeps the study's constraints, so that the front is empty; "
            "loosen them, or search longer"
        )
    workspace.write(
        "front.json",
        {
            "study": study.config.study,
            "objectives": list(study.config.objectives),
            "reference": dict(study.reference),
            "points": [point_json(point) for point in front],
        },
    )
    splits = context.whole_splits
    sizes = {"train": len(splits.train), "validation": len(splits.validation)}
    if splits.test is not None:
        sizes["test"] = len(splits.test)
    workspace.keep(
        "data.json",
        "data",
        {
            "name": splits.name,
            "classes": splits.classes,
            "shape": list(splits.input_shape),
            "samples": sizes,
            "digests": data_digests(splits),
        },
    )
    return ["front.json", "data.json"]


def point_json(point: OperatingPoint) -> dict[str, Any]:
    """A point of the front as JSON has it; the readout's threshold, inf, becomes null."""
    readout = point.decision_threshold == float("inf")
    return {
        "trial": point.trial,
        "row": point.row,
        "epoch": point.epoch,
        "state": point.state,
        "kind": point.kind,
        "decision_threshold": None if readout else point.decision_threshold,
        "metrics": dict(point.metrics),
        "params": dict(point.params),
    }


def point_from_json(data: dict[str, Any]) -> OperatingPoint:
    """The point that `point_json` wrote."""
    point = OperatingPoint(**data)
    readout = data["decision_threshold"] is None
    return replace(point, decision_threshold=float("inf")) if readout else point
