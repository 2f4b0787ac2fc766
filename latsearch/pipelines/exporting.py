"""The stage `export`: the delivered networks in other formats, each proven, with a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latsearch.cards import JSON_FILE, MARKDOWN_FILE, ModelCard, SeedFigures, data_note, make_card
from latsearch.cards.markdown import markdown
from latsearch.config.pipeline import ExportStage
from latsearch.data.splits import Splits
from latsearch.errors import StudyFailed, UserError
from latsearch.evaluating import chosen
from latsearch.evaluation import LoadedNetwork, load_checkpoint
from latsearch.export import ExportReport, check_formats, export_model
from latsearch.located import DEPLOYMENT_FILE, Deployment
from latsearch.pipelines.context import POINTS, ROBUSTNESS, SELECTED, Context
from latsearch.pipelines.points import threshold_of
from latsearch.pipelines.refit import network_folder
from latsearch.pipelines.workspace import Workspace, digest_of, file_digest

_NOTE = (
    "The decision threshold was chosen on the validation split, for the mean decision time of the "
    "front's operating point."
)


def settings(context: Context) -> Any:
    """Which formats, and how they are proven."""
    return {**_config(context).model_dump(mode="json"), "profile": context.profile.name}


def _config(context: Context) -> ExportStage:
    assert context.config.export is not None
    return context.config.export


def check(context: Context) -> None:
    """Check before anything is trained that the networks can be exported.

    Raises:
        UserError: the space has networks that a format cannot say, or a package is not there.
    """
    formats = _config(context).formats
    if "nir" in formats and context.study_config.space.domain("network.target") != ("nir",):
        raise UserError(
            f"export.formats: nir, but the search space of {context.study_config.study} may have "
            "networks that NIR cannot say: write network: {target: nir} in it, or leave nir out"
        )
    check_formats(formats)


def run(context: Context, workspace: Workspace) -> list[str]:
    """Export what is not exported yet; a folder for each delivered point, named by its rule."""
    points = context.read(SELECTED)["points"]
    members = {member["name"]: member for member in context.read(POINTS)["members"]}
    exports, outputs = [], ["exports.json"]
    for index, point in enumerate(points):
        context.view.step("networks exported", index, len(points))
        seeds = _seeds(context, point, members[point["member"]])
        one = _exported(context, workspace, point, seeds)
        exports.append(one)
        outputs += [f"{one['folder']}/{name}" for name in one["files"]]
        outputs.append(_file(one["folder"]))
    context.view.step("networks exported", len(points), len(points))
    workspace.write("exports.json", {"exports": exports})
    return outputs


def _file(folder: str) -> str:
    return f"{folder}.json"


def _seeds(
    context: Context, point: Mapping[str, Any], member: Mapping[str, Any]
) -> list[SeedFigures]:
    """What the stage `test` measured of the point, the delivered network first."""
    names = sorted(member["networks"], key=lambda name: name != point["network"])
    found = [context.workspace("test").read(f"networks/{name}.json")["cards"] for name in names]
    return [SeedFigures.from_json(cards[point["point"]]) for cards in found]


def _exported(
    context: Context, workspace: Workspace, point: Mapping[str, Any], seeds: list[SeedFigures]
) -> dict[str, Any]:
    """One export as ``<folder>.json`` has it, made where it is not there for this key."""
    folder, source = point["rules"][0], network_folder(context, point["network"])
    robustness = _robustness(context, point)
    told = [seed.to_json() for seed in seeds]
    weights = file_digest(source / "model.safetensors")
    key = digest_of([settings(context), point, weights, told, robustness])
    known: dict[str, Any] | None = workspace.kept(_file(folder), key)
    if known is not None and _is_whole(workspace.folder / folder, known["files"]):
        return known
    network, splits = load_checkpoint(source), context.splits
    splits = splits.at(network.info.trial.network.timesteps)
    card = _card(context, point, network, splits, seeds, robustness)
    report = export_model(
        network,
        workspace.folder / folder,
        formats=_config(context).formats,
        decision_threshold=threshold_of(point["decision_threshold"]),
        samples=chosen(splits.validation, _config(context).samples),
        name=f"{context.study_config.study} {point['network']}",
        beside={
            DEPLOYMENT_FILE: _json(_deployment(context, point, splits).to_json()),
            MARKDOWN_FILE: markdown(card),
            JSON_FILE: _json(card.to_json()),
        },
    )
    _check(report)
    said = {name: value for name, value in report.to_json().items() if name != "folder"}
    one = {"folder": folder, "network": point["network"], **said}
    one["files"] = {file.name: file_digest(file) for file in sorted(report.folder.iterdir())}
    workspace.keep(_file(folder), key, one)
    return one


def _is_whole(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether an export is as it was written."""
    if not all((folder / name).is_file() for name in files):
        return False
    return all(file_digest(folder / name) == digest for name, digest in files.items())


def _check(report: ExportReport) -> None:
    """Refuse an export that does something else than the network.

    Raises:
        StudyFailed: with what differs.
    """
    for check in report.checks:
        if not check.equal:
            raise StudyFailed(
                f"{report.model}: the {check.format} file gives other answers in "
                f"{check.framework} for {check.differing} of {check.samples} samples"
            )


def _deployment(context: Context, point: Mapping[str, Any], splits: Splits) -> Deployment:
    return Deployment(
        decision_threshold=threshold_of(point["decision_threshold"]),
        energy_profile=context.profile.name,
        class_names=splits.class_names,
        data=context.study_config.data,
        note=_NOTE,
    )


def _card(
    context: Context,
    point: Mapping[str, Any],
    network: LoadedNetwork,
    splits: Splits,
    seeds: list[SeedFigures],
    robustness: Mapping[str, Any] | None,
) -> ModelCard:
    rules = " and ".join(point["rules"])
    return make_card(
        f"{context.study_config.study} {point['network']}",
        network,
        seeds,
        data_note(context.study_config.data, context.whole_splits),
        command=[f"latsearch pipeline {context.config.pipeline}.yaml"],
        energy_profile=context.profile.name,
        class_names=splits.class_names,
        robustness=robustness,
        protocol=[
            f"Found by a search, trained anew with {len(seeds)} seeds; chosen as {rules} by the "
            "means over these on the validation split, which also chose the training to deliver "
            "(the first of the table).",
            _NOTE,
        ],
    )


def _robustness(context: Context, point: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the stage `robustness` measured of the point; None where it measured another."""
    if context.config.robustness is None:
        return None
    for row in context.read(ROBUSTNESS)["rows"]:
        if (row["network"], row["point"]) == (point["network"], point["point"]):
            found = context.workspace("robustness").read(f"networks/{row['network']}.json")
            return {name: value for name, value in found.items() if name not in ("key", "digest")}
    return None


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
