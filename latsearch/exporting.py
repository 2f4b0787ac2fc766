"""Exporting one trained network: `latsearch export`, by the name of a trial, folder or study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latsearch.evaluating import chosen
from latsearch.located import DEPLOYMENT_FILE, Deployment, Opened, open_model
from latsearch.reporting import point_row, row_columns, study_front
from latsearch.runs import DEFAULT_RUNS, Runs, find_study
from latsearch.search.query import parse
from latsearch.search.storage import Study
from latsearch.selection import Rule, select

if TYPE_CHECKING:
    from latsearch.data import Progress
    from latsearch.export import ExportReport


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, and how it is proven.

    Attributes:
        formats: ``safetensors``, ``nir``, ``onnx``, ``torch-export``.
        decision_threshold: potential above which a class spikes; None for that of the operating
            point: the one set for the network, else the knee of its validation curve.
        samples: validation samples to compare on, stratified; None for all.
        rule: which operating point of a study's front.
        where: condition on the front's columns, e.g. ``latency <= 1.5``.
        root: folder that holds the data; None as in the study.
        allow_code: the user allows that Python code named in a study is run.
        progress: told of the preparation of data.
    """

    formats: Sequence[str] = ("safetensors", "nir")
    decision_threshold: float | None = None
    samples: int | None = 1000
    rule: Rule = "knee"
    where: str | None = None
    root: str | None = None
    allow_code: bool = False
    progress: Progress | None = None


def export_model(
    model: str | Path,
    folder: str | Path | None = None,
    options: ExportOptions | None = None,
    runs: Runs = DEFAULT_RUNS,
) -> ExportReport:
    """Write a trained network in other formats, and prove each by running it elsewhere.

    Args:
        model: a trial such as ``runs/digits:22``, the folder of a checkpoint, or a study, of whose
            front one operating point is chosen.
        folder: where to; None for ``exports/NAME``.
        options: how.
        runs: folder of all studies.

    Raises:
        UserError: there is no such network, its data are not there, a format is not known or needs
            a package that is not, or NIR cannot say a part of the network.
    """
    from latsearch.export import export_model as export

    options = options or ExportOptions()
    name, threshold = str(model), options.decision_threshold
    if not _is_network(name):
        name, own = _of_front(name, options, runs)
        threshold = own if threshold is None else threshold
    opened = open_model(
        name, runs, root=options.root, allow_code=options.allow_code, progress=options.progress
    )
    threshold = opened.threshold(threshold)
    called = opened.model.name
    return export(
        opened.network,
        Path(folder) if folder else Path("exports", Path(called).name.replace(":", "-")),
        formats=tuple(options.formats),
        decision_threshold=threshold,
        samples=chosen(opened.splits.validation, options.samples),
        name=called,
        beside={DEPLOYMENT_FILE: _deployment(opened, threshold)},
    )


def _is_network(model: str) -> bool:
    run, _, trial = model.rpartition(":")
    return bool(run and trial.isdigit()) or (Path(model) / "config.json").is_file()


def _of_front(run: str, options: ExportOptions, runs: Runs) -> tuple[str, float]:
    """The trial, and its decision threshold, that a rule chooses of a study's front."""
    study = Study.open(find_study(run, runs))
    points = study_front(study, study.trials())
    if options.where is not None:
        holds = parse(options.where, row_columns(study.config))
        points = [point for point in points if holds(point_row(point, study.config))]
    point = select(points, tuple(study.config.objectives), options.rule)
    return f"{study.folder}:{point.trial}", point.decision_threshold


def _deployment(opened: Opened, threshold: float) -> str:
    """How the network is run, as the commands read it from its folder."""
    deployment = Deployment(
        decision_threshold=threshold,
        energy_profile=opened.model.profile.name,
        class_names=opened.splits.class_names,
        data=opened.config,
        note=f"as {opened.model.name} was exported",
    )
    return json.dumps(deployment.to_json(), indent=1) + "\n"
