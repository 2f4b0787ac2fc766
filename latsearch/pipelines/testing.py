"""The stage `test`: the held-out split, measured once at the points chosen on validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from latsearch.cards import measure_points
from latsearch.config.energy import EnergyProfile
from latsearch.data.splits import Splits
from latsearch.errors import DataError
from latsearch.pipelines import intervals
from latsearch.pipelines.context import DATA, POINTS, Context
from latsearch.pipelines.networks import NetworkFiles, network_files
from latsearch.pipelines.points import all_points, spread, threshold_of
from latsearch.pipelines.refit import network_folder
from latsearch.pipelines.workspace import Workspace, digest_of, file_digest
from latsearch.reporting import write_csv
from latsearch.search.results import METRICS
from latsearch.search.worker import device_for

Item = tuple[NetworkFiles, Sequence[float], EnergyProfile]


def settings(context: Context) -> Any:
    """What is measured, beside the networks and their points."""
    return {"profile": context.study_config.energy.profile}


def run(context: Context, workspace: Workspace) -> list[str]:
    """Measure every network that was not measured yet, then write the table."""
    splits = context.whole_splits
    if splits.test is None:
        raise DataError(f"{splits.name} has no test split: leave the pipeline at --until refit")
    points = context.read(POINTS)
    wanted = _wanted(context, points)
    missing = [
        name for name, (key, _) in wanted.items() if workspace.kept(_file(name), key) is None
    ]
    items = [_item(context, name, wanted[name][1]) for name in missing]
    for index, rows in context.map(measured, items, splits, "test split"):
        name = missing[index]
        workspace.keep(_file(name), wanted[name][0], rows)
    found = {name: workspace.read(_file(name)) for name in wanted}
    table = test_table(points, found, len(splits.test), len(splits.validation))
    workspace.write("table.json", table)
    rows = [flat_row(row) for row in table["rows"]]
    write_csv(rows, list(rows[0]), workspace.folder / "table.csv")
    return ["table.json", "table.csv", *(_file(name) for name in wanted)]


def _file(name: str) -> str:
    return f"networks/{name}.json"


def _wanted(
    context: Context, points: Mapping[str, Any]
) -> dict[str, tuple[str, Sequence[float | None]]]:
    """Key and thresholds of each network, by its name."""
    test, profile = context.read(DATA)["digests"].get("test"), context.study_config.energy.profile
    found: dict[str, tuple[str, Sequence[float | None]]] = {}
    for member in points["members"]:
        for name in member["networks"]:
            thresholds = [point["thresholds"][name] for point in member["points"]]
            weights = file_digest(network_folder(context, name) / "model.safetensors")
            found[name] = digest_of([weights, thresholds, test, profile]), thresholds
    return found


def _item(context: Context, name: str, thresholds: Sequence[float | None]) -> Callable[[], Item]:
    folder, profile = network_folder(context, name), context.profile
    device = device_for(context.study_config.resources.gpus_per_trial)
    wanted = [threshold_of(value) for value in thresholds]
    return lambda: (network_files(folder, device), wanted, profile)


def measured(splits: Splits, item: Item) -> dict[str, Any]:
    """Figures of a network on the test split at each threshold, and its decision times."""
    files, thresholds, profile = item
    network = files.load()
    test = splits.at(network.info.trial.network.timesteps).test
    assert test is not None
    curve = network.measure(test.images, profile).curve(test.labels, test.bin_ends, thresholds)
    rows = [
        {name: float(getattr(curve, name)[row]) for name in METRICS} for row in range(len(curve))
    ]
    cards = [figures.to_json() for figures in measure_points(network, test, thresholds)]
    return {"rows": rows, "cards": cards}


def test_table(
    points: Mapping[str, Any], found: Mapping[str, Any], test: int, validation: int
) -> dict[str, Any]:
    """Each operating point's mean, spread and interval, and its shift from validation to test.

    Args:
        points: of the stage `refit`.
        found: what was measured, by the networks' names.
        test: samples of the test split.
        validation: samples of the validation split.
    """
    rows = [_row(member, index, found, (validation, test)) for member, index in all_points(points)]
    return {
        "test_samples": test,
        "validation_samples": validation,
        "latency_unit": points["latency_unit"],
        "rows": rows,
    }


def _row(
    member: Mapping[str, Any], index: int, found: Mapping[str, Any], samples: tuple[int, int]
) -> dict[str, Any]:
    point, names = member["points"][index], list(member["networks"])
    tested = [found[name]["rows"][index] for name in names]
    held = [point["validation"][name] for name in names]
    accuracies = [row["accuracy"] for row in tested]
    low, high = intervals.of_mean(accuracies, samples[1])
    shift, shift_low, shift_high = intervals.of_shift(
        [row["accuracy"] for row in held], accuracies, samples
    )
    times = [found[name]["cards"][index]["decision_times"] for name in names]
    return {
        "member": member["name"],
        "point": index,
        "variant": member["variant"],
        "timesteps": member["timesteps"],
        "seeds": len(names),
        "test": spread(tested),
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracies": dict(zip(names, accuracies, strict=True)),
        "validation": {"mean": point["mean"], "spread": point["spread"]},
        "search": point["search"],
        "shift": {
            "accuracy": shift,
            "accuracy_low": shift_low,
            "accuracy_high": shift_high,
            **{
                name: fmean(row[name] for row in tested) - fmean(row[name] for row in held)
                for name in ("latency", "energy", "silent_fraction")
            },
        },
        "decision_times": [sum(column) for column in zip(*times, strict=True)],
    }


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table as CSV has it."""
    flat: dict[str, Any] = {
        name: row[name] for name in ("member", "point", "variant", "timesteps", "seeds")
    }
    for name in ("accuracy", "latency", "energy", "silent_fraction", "latency_p95"):
        flat[name] = row["test"]["mean"][name]
        flat[f"{name}_sd"] = row["test"]["spread"][name]
    flat |= {name: row[name] for name in ("accuracy_low", "accuracy_high")}
    for name in ("accuracy", "latency", "energy"):
        flat[f"validation_{name}"] = row["validation"]["mean"][name]
    return flat | {f"shift_{name}": value for name, value in row["shift"].items()}
