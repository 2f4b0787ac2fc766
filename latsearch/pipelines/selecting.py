"""The stage `select`: which operating points are delivered, by their validation figures alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from latsearch.config import Bound
from latsearch.errors import UserError
from latsearch.objectives import ROBUST, OperatingPoint
from latsearch.pipelines.context import FRONT, POINTS, ROBUSTNESS, Context
from latsearch.pipelines.points import all_points
from latsearch.pipelines.workspace import Workspace
from latsearch.selection import RULES, Rule, select


def needs(context: Context) -> list[str]:
    """The files that the choice is made from; never one that saw the test split."""
    robustness = context.config.robustness
    measured = robustness is not None and robustness.split == "validation"
    return [FRONT, POINTS, *([ROBUSTNESS] if measured else [])]


def settings(context: Context) -> Any:
    """By which rules, within which bounds."""
    return context.config.select.model_dump(mode="json")


def run(context: Context, workspace: Workspace) -> list[str]:
    """Choose a point by each rule."""
    config, points = context.config.select, context.read(POINTS)
    objectives = [o for o in context.read(FRONT)["objectives"] if o != ROBUST]
    robust = None
    if ROBUSTNESS in needs(context):
        rows = context.read(ROBUSTNESS)["rows"]
        robust = {row["member"]: row["corrupted_accuracy"] for row in rows}
    candidates = _candidates(points, config.constraints, robust)
    members = {member["name"]: member for member in points["members"]}
    chosen: dict[tuple[str, int], dict[str, Any]] = {}
    for rule in [rule for rule in get_args(Rule) if rule in config.rules]:
        if (RULES[rule] or "accuracy") not in objectives or (
            rule == "knee" and len(objectives) < 2
        ):
            continue
        found = select(candidates, objectives, rule)
        member = members[found.params["member"]]
        key = member["name"], found.row
        chosen.setdefault(key, _delivered(member, found.row))["rules"].append(rule)
    if not chosen:
        raise UserError(
            f"select.rules: {', '.join(config.rules)} are about none of the objectives "
            f"{', '.join(objectives)}"
        )
    workspace.write("selected.json", {"points": list(chosen.values())})
    return ["selected.json"]


def _delivered(member: Mapping[str, Any], index: int) -> dict[str, Any]:
    """A point as it is delivered: with the network that was chosen on validation."""
    network, point = member["chosen"], member["points"][index]
    return {
        "rules": [],
        "member": member["name"],
        "trial": member["trial"],
        "point": index,
        "network": network,
        "seed": member["networks"][network],
        "decision_threshold": point["thresholds"][network],
        "validation": point["validation"][network],
        "mean": point["mean"],
    }


def _candidates(
    points: Mapping[str, Any], constraints: Mapping[str, Bound], robust: Mapping[str, float] | None
) -> Sequence[OperatingPoint]:
    """Points that keep the bounds, by their means over the seeds; variants are no candidates."""
    found, nearest = [], ""
    least = math.inf
    for member, index in all_points(points):
        if member["variant"] is not None:
            continue
        figures = dict(member["points"][index]["mean"])
        if robust is not None:
            figures[ROBUST] = robust[member["name"]]
        broken, words = _broken(figures, constraints)
        if broken == 0:
            found.append(
                OperatingPoint(
                    trial=member["trial"],
                    row=index,
                    epoch=member["epochs"],
                    state="complete",
                    decision_threshold=math.nan,  # each network has its own
                    kind="",
                    metrics=figures,
                    params={"member": member["name"]},
                )
            )
        elif broken < least:
            least, nearest = broken, words
    if not found:
        raise UserError(
            f"select.constraints: no operating point keeps them; the nearest has {nearest}; "
            "loosen them, or search longer"
        )
    return found


def _broken(figures: Mapping[str, float], constraints: Mapping[str, Bound]) -> tuple[float, str]:
    """By how much a point breaks the bounds, each relative to itself, and which, in words."""
    total, words = 0.0, []
    for column, bound in constraints.items():
        for limit, sign in ((bound.min, -1), (bound.max, 1)):
            excess = 0.0 if limit is None else sign * (figures[column] - limit)
            if limit is not None and excess > 0:
                total += excess / (abs(limit) or 1.0)
                words.append(f"{column} = {figures[column]:.4g}")
    return total, ", ".join(words)
