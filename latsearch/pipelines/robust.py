"""The stage `robustness`: each member's chosen network under corruptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from latsearch.config import DataConfig
from latsearch.config.energy import EnergyProfile
from latsearch.config.pipeline import RobustnessStage
from latsearch.data.corruptions import published_folder
from latsearch.data.splits import Progress, Samples, Splits
from latsearch.errors import DataError, UserError
from latsearch.evaluating import EvaluationOptions, chosen, corrupted_samples
from latsearch.pipelines.context import DATA, POINTS, Context
from latsearch.pipelines.networks import NetworkFiles, network_files
from latsearch.pipelines.points import knee_point, threshold_of
from latsearch.pipelines.refit import network_folder
from latsearch.pipelines.workspace import Workspace, digest_of, file_digest
from latsearch.search.worker import device_for


@dataclass(frozen=True)
class _Item:
    """What a worker is told.

    Attributes:
        network: the network's files.
        threshold: the decision threshold that it runs at.
        name: what it is called.
        config: which corruptions of which samples.
        data: the data set's configuration.
        profile: prices of operations.
    """

    network: NetworkFiles
    threshold: float
    name: str
    config: RobustnessStage
    data: DataConfig
    profile: EnergyProfile


def settings(context: Context) -> Any:
    """What is measured, beside the networks and their points."""
    return {**_config(context).model_dump(mode="json"), "profile": context.profile.name}


def _config(context: Context) -> RobustnessStage:
    config = context.config.robustness
    assert config is not None
    return config


def check(context: Context) -> None:
    """Check before anything is trained that corruptions can be made.

    Raises:
        UserError: the corruption library is not there, nor a published folder.
    """
    config, data = _config(context), context.study_config.data
    published = not config.drawn and config.split == "test"
    if context.study_config.events or (published and published_folder(data.name, data.root)):
        return
    if find_spec("imagecorruptions") is None:
        raise UserError(
            "robustness needs imagecorruptions-imaug: pip install 'latsearch[corruptions]', or "
            "leave the section out"
        )


def run(context: Context, workspace: Workspace) -> list[str]:
    """Measure every member's chosen network that was not measured yet, then write the table."""
    config, points = _config(context), context.read(POINTS)
    data, splits = context.read(DATA), context.whole_splits
    wanted: dict[str, tuple[str, Mapping[str, Any], float]] = {}
    for member in points["members"]:
        name, index = member["chosen"], knee_point(member)
        threshold = member["points"][index]["thresholds"][name]
        weights = file_digest(network_folder(context, name) / "model.safetensors")
        key = digest_of([weights, threshold, data["digests"].get(config.split), settings(context)])
        wanted[name] = key, {"member": member["name"], "point": index}, threshold_of(threshold)
    missing = [
        name for name, (key, *_) in wanted.items() if workspace.kept(_file(name), key) is None
    ]
    if missing and not splits.events:  # drawn here once, with a bar, before many ask for them
        for _ in _samples(splits, config, context.study_config.data, context.options.progress)[1]:
            pass
    items = [_item(context, name, wanted[name][2]) for name in missing]
    for index, found in context.map(measured, items, splits, "networks corrupted"):
        key, about, _ = wanted[missing[index]]
        workspace.keep(_file(missing[index]), key, {**about, **found})
    workspace.write("table.json", _table(workspace, list(wanted), config))
    return ["table.json", *(_file(name) for name in wanted)]


def _file(name: str) -> str:
    return f"networks/{name}.json"


def _item(context: Context, name: str, threshold: float) -> Callable[[], _Item]:
    folder, config = network_folder(context, name), _config(context)
    study = context.study_config
    device, profile = device_for(study.resources.gpus_per_trial), context.profile
    return lambda: _Item(
        network_files(folder, device), threshold, name, config, study.data, profile
    )


def measured(splits: Splits, item: _Item) -> dict[str, Any]:
    """A network's figures on clean and corrupted samples."""
    from latsearch.robustness import measure_robustness

    network = item.network.load()
    splits = splits.at(network.info.trial.network.timesteps)
    clean, corrupted, label = _samples(splits, item.config, item.data)
    return measure_robustness(
        network,
        clean,
        corrupted,
        decision_threshold=item.threshold,
        profile=item.profile,
        model=item.name,
        corruptions=label,
    ).to_json()


def _samples(
    splits: Splits, config: RobustnessStage, data: DataConfig, progress: Progress | None = None
) -> tuple[Samples, Any, str]:
    """Clean samples, the same under each corruption, and whose corruptions these are."""
    split = splits.test if config.split == "test" else splits.validation
    if split is None:
        raise DataError(f"{splits.name} has no test split: write robustness: {{split: validation}}")
    if splits.events and config.split == "validation":
        raise DataError(f"{splits.name}: recordings are corrupted in the test split alone")
    clean = chosen(split, config.samples)
    options = EvaluationOptions(
        corruptions=True,
        names=() if splits.events else config.corruptions,
        severities=config.severities,
        # the published sets are of the test split
        drawn=config.drawn or config.split == "validation",
        progress=progress,
    )
    return clean, *corrupted_samples(splits, clean, data, options)


def _table(workspace: Workspace, names: list[str], config: RobustnessStage) -> dict[str, Any]:
    rows = []
    for name in names:
        found = workspace.read(_file(name))
        accuracies: dict[str, list[float]] = {}
        for row in found["rows"][1:]:
            accuracies.setdefault(row["corruption"], []).append(row["accuracy"])
        rows.append(
            {
                "member": found["member"],
                "point": found["point"],
                "network": name,
                **found["summary"],
                "by_corruption": {one: sum(a) / len(a) for one, a in accuracies.items()},
            }
        )
    first = workspace.read(_file(names[0]))
    about = {"split": config.split, "severities": config.severities}
    return {**about, "corruptions": first["corruptions"], "samples": first["samples"], "rows": rows}
