"""The stage `register`: the delivered networks in MLflow's model registry, under aliases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latsearch.objectives import FIRST_SPIKE, READOUT, OperatingPoint
from latsearch.pipelines.context import POINTS, SELECTED, TEST, Context
from latsearch.pipelines.points import threshold_of
from latsearch.pipelines.refit import network_folder
from latsearch.pipelines.workspace import Workspace, file_digest
from latsearch.runs import local_folder
from latsearch.tracking import Retrained, default_uri, register_retrained


def settings(context: Context) -> Any:
    """Under which name, and where."""
    config = context.config.register_
    assert config is not None
    return {**config.model_dump(mode="json"), "name": config.name or context.study_config.study}


def run(context: Context, workspace: Workspace) -> list[str]:
    """Register what is not registered yet."""
    from latsearch.report import attach_report

    study, wanted = context.study(), settings(context)
    default = default_uri(local_folder(context.options.runs))
    uri = wanted["uri"] or context.study_config.tracking.uri or default
    points = {member["name"]: member for member in context.read(POINTS)["members"]}
    tested = {(row["member"], row["point"]): row for row in context.read(TEST)["rows"]}
    chosen = context.read(SELECTED)["points"]
    found = register_retrained(
        study,
        [
            (
                _point(one, points[one["member"]]),
                one["rules"],
                _network(context, one, tested[one["member"], one["point"]]),
            )
            for one in chosen
        ],
        wanted["name"],
        uri,
        attach_report,
    )
    versions = [
        {
            "model": version.name,
            "version": version.version,
            "aliases": list(version.aliases),
            "uri": version.uri,
            "network": one["network"],
        }
        for version, one in zip(found, chosen, strict=True)
    ]
    workspace.write("registered.json", {"versions": versions})
    return ["registered.json"]


def _point(chosen: Mapping[str, Any], member: Mapping[str, Any]) -> OperatingPoint:
    readout = chosen["decision_threshold"] is None
    return OperatingPoint(
        trial=chosen["trial"],
        row=chosen["point"],
        epoch=member["epochs"],
        state="complete",
        decision_threshold=threshold_of(chosen["decision_threshold"]),
        kind=READOUT if readout else FIRST_SPIKE,
        metrics=chosen["validation"],
        params=member["params"],
    )


def _network(context: Context, chosen: Mapping[str, Any], row: Mapping[str, Any]) -> Retrained:
    folder = network_folder(context, chosen["network"])
    mean = row["test"]["mean"]
    return Retrained(
        name=chosen["network"],
        folder=folder,
        weights=file_digest(folder / "model.safetensors"),
        seed=chosen["seed"],
        tags={
            "test_accuracy": f"{row['accuracies'][chosen['network']]:.6g}",
            "test_accuracy_mean_of_seeds": f"{mean['accuracy']:.6g}",
            "test_accuracy_interval": f"{row['accuracy_low']:.6g} to {row['accuracy_high']:.6g}",
            "test_latency": f"{mean['latency']:.6g}",
            "test_energy": f"{mean['energy']:.6g}",
        },
    )
