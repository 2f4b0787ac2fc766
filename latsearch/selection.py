"""Choosing one operating point of a front, and comparing the fronts of several studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from latsearch import pareto
from latsearch.errors import UserError
from latsearch.objectives import OBJECTIVES, FloatArray, OperatingPoint
from latsearch.search.results import hypervolume, point_losses
from latsearch.search.storage import Study

Rule = Literal["knee", "most-accurate", "fastest", "least-energy"]

# the objective that each rule is about; ties are broken by the others in this order
RULES: Mapping[Rule, str | None] = {
    "knee": None,
    "most-accurate": "accuracy",
    "fastest": "latency",
    "least-energy": "energy",
}


def select(
    points: Sequence[OperatingPoint], objectives: Sequence[str], rule: Rule
) -> OperatingPoint:
    """The point of a front that a rule chooses.

    Args:
        points: the front, or a part of it.
        objectives: the study's objectives.
        rule: ``knee`` is the point nearest to the ideal one after each objective is scaled to
            0..1 over the points; the others are best in one objective, then in the rest.

    Raises:
        UserError: there are no points.
    """
    if not points:
        raise UserError("there is no operating point to choose from; loosen --where")
    first = RULES[rule]
    if first is None:
        return points[pareto.knee(point_losses(points, tuple(objectives)))]
    measured = points[0].metrics
    order = (first, *(name for name in OBJECTIVES if name != first and name in measured))
    losses = point_losses(points, order)
    return points[int(np.lexsort(losses.T[::-1])[0])]


def rule_for(objective: str) -> Rule:
    """The rule that is about an objective.

    Raises:
        UserError: no rule is.
    """
    for rule, about in RULES.items():
        if about == objective:
            return rule
    known = ", ".join(name for name in RULES.values() if name)
    raise UserError(f"{objective!r} is no objective to choose by; known are {known}")


def select_all(
    points: Sequence[OperatingPoint], objectives: Sequence[str]
) -> dict[Rule, OperatingPoint]:
    """What each rule about these objectives chooses; a knee needs two of them.

    Raises:
        UserError: there are no points.
    """
    return {
        rule: select(points, objectives, rule)
        for rule, about in RULES.items()
        if about in objectives or (about is None and len(objectives) > 1)
    }


@dataclass(frozen=True)
class Comparison:
    """Fronts of several studies side by side.

    Attributes:
        names: the studies.
        fronts: their fronts.
        hypervolumes: volume of each, with the worst of all reference points.
        coverage: ``[A, B]``: part of B's front that some point of A's is at least as good as.
        attained: by objective level: the best accuracy of each study within it; NaN for none.
    """

    names: tuple[str, ...]
    fronts: tuple[Sequence[OperatingPoint], ...]
    hypervolumes: tuple[float, ...]
    coverage: FloatArray
    attained: Mapping[str, Mapping[float, tuple[float, ...]]]


def compare(
    names: Sequence[str], studies: Sequence[Study], fronts: Sequence[Sequence[OperatingPoint]]
) -> Comparison:
    """Compare the fronts of studies with the same objectives and energy profile.

    Raises:
        UserError: their objectives, data or energy profiles differ.
    """
    _check(studies)
    objectives = tuple(studies[0].config.objectives)
    worst: dict[str, float] = {
        name: float((min if name == "accuracy" else max)(s.reference[name] for s in studies))
        for name in objectives
    }
    losses = [point_losses(front, objectives) for front in fronts]
    covered = np.array([[_covered(one, other) for other in losses] for one in losses])
    levels = {name: _levels(fronts, name) for name in objectives if name != "accuracy"}
    return Comparison(
        names=tuple(names),
        fronts=tuple(fronts),
        hypervolumes=tuple(hypervolume(front, objectives, worst) for front in fronts),
        coverage=covered,
        attained={
            name: {
                level: tuple(_best_accuracy(front, name, level) for front in fronts) for level in at
            }
            for name, at in levels.items()
        },
    )


def _check(studies: Sequence[Study]) -> None:
    first = studies[0].config
    for study in studies[1:]:
        for what, one, other in (
            ("objectives", list(first.objectives), list(study.config.objectives)),
            ("data set", first.data.name, study.config.data.name),
            ("energy profile", first.energy.profile, study.config.energy.profile),
        ):
            if one != other:
                raise UserError(
                    f"{studies[0].folder} and {study.folder} differ in their {what} "
                    f"({one} and {other}): their fronts cannot be compared"
                )


def _covered(one: FloatArray, other: FloatArray) -> float:
    """Part of the other's rows that some row of the one is at least as good as."""
    if len(other) == 0:
        return float("nan")
    as_good = (one[:, None, :] <= other[None, :, :]).all(axis=2).any(axis=0)
    return float(as_good.mean())


def _levels(fronts: Sequence[Sequence[OperatingPoint]], name: str) -> list[float]:
    """Quartiles of an objective over all points, and its most."""
    values = [point.metrics[name] for front in fronts for point in front]
    return sorted({float(np.quantile(values, part)) for part in (0.25, 0.5, 0.75, 1.0)})


def _best_accuracy(front: Sequence[OperatingPoint], name: str, level: float) -> float:
    within = [p.metrics["accuracy"] for p in front if p.metrics[name] <= level]
    return max(within, default=float("nan"))
