"""A pipeline in a few words: what each stage is going to do, and what was delivered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from latsearch.pipelines.context import Context


def work_of(stage: str, context: Context) -> str:
    """What a stage does, in words."""
    config, study = context.config, context.study_config
    refit, robustness = config.refit, config.robustness
    networks = (refit.members + len(refit.variants)) * refit.seeds
    words = {
        "search": f"{study.search.trials} trials",
        "refit": f"up to {networks} trainings: {refit.members} members of the front"
        + (f" and {len(refit.variants)} variants" if refit.variants else "")
        + f", {refit.seeds} seeds",
        "test": f"up to {refit.points} operating points of each",
        "select": ", ".join(config.select.rules),
        "report": "report.html, report.md",
    }
    if robustness is not None:
        names = f"{len(robustness.corruptions)}" if robustness.corruptions else "all"
        severities = len(robustness.severities)
        words["robustness"] = f"{names} corruptions, {severities} severities, {robustness.split}"
    if config.export is not None:
        words["export"] = f"{', '.join(config.export.formats)}, with a model card each"
    if config.register_ is not None:
        words["register"] = f"models:/{config.register_.name or study.study}"
    return words.get(stage, "")


def delivered(folder: Path) -> tuple[Sequence[str], list[Sequence[str]]]:
    """The table of what was selected, with its figures on the test split.

    Args:
        folder: of a pipeline that has run.
    """
    table = json.loads((folder / "test" / "table.json").read_text(encoding="utf-8"))
    chosen = json.loads((folder / "select" / "selected.json").read_text(encoding="utf-8"))
    rows = {(row["member"], row["point"]): row for row in table["rows"]}
    lines: list[Sequence[str]] = []
    for point in chosen["points"]:
        row = rows[point["member"], point["point"]]
        mean, spread = row["test"]["mean"], row["test"]["spread"]
        lines.append(
            [
                ", ".join(point["rules"]),
                point["network"],
                f"{mean['accuracy']:.2%} ± {100 * spread['accuracy']:.2f}",
                f"{100 * row['accuracy_low']:.2f}–{100 * row['accuracy_high']:.2f} %",
                f"{mean['latency']:.3f}",
                f"{mean['energy']:,.1f}",
                f"{100 * row['shift']['accuracy']:+.2f}",
            ]
        )
    unit = table["latency_unit"].replace("timesteps", "steps")
    heads = (
        "chosen as",
        "network",
        "test accuracy",
        "95 %",
        f"latency/{unit}",
        "energy/nJ",
        "from validation",
    )
    return heads, lines
