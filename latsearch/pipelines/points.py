"""The operating points of retrained networks, fixed on the validation split."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np

from latsearch.config import Bound
from latsearch.objectives import DecisionCurve, OperatingPoint
from latsearch.pipelines.context import Context
from latsearch.pipelines.members import Job, Member
from latsearch.search.results import METRICS, violations


def member_points(
    jobs: Sequence[Job], curves: Mapping[str, Mapping[str, Any]], context: Context
) -> dict[str, Any]:
    """Every member with its operating points, as the stage's ``points.json`` has them.

    A point of the front is taken over to the retrained networks by its mean decision time: each
    network runs at the decision threshold whose mean decision time on the validation split is
    nearest to the point's, among the rows that keep the study's constraints.

    Args:
        jobs: the trainings.
        curves: validation curves by the networks' names.
        context: of the pipeline.
    """
    constraints = context.study_config.constraints
    by_member: dict[str, list[Job]] = {}
    for job in jobs:
        by_member.setdefault(job.member.name, []).append(job)
    read = {name: DecisionCurve.from_json(curve) for name, curve in curves.items()}
    return {
        "latency_unit": context.study_config.unit("latency"),
        "members": [_member(own[0].member, own, read, constraints) for own in by_member.values()],
    }


def _member(
    member: Member,
    jobs: Sequence[Job],
    curves: Mapping[str, DecisionCurve],
    constraints: Mapping[str, Bound],
) -> dict[str, Any]:
    points = [_point(point, jobs, curves, constraints) for point in member.points]
    return {
        "name": member.name,
        "trial": member.trial,
        "variant": member.variant,
        "params": dict(member.params),
        "epochs": member.config.train.epochs,
        "timesteps": member.config.network.timesteps,
        "networks": {job.name: job.seed for job in jobs},
        "chosen": _chosen(points, [job.name for job in jobs]),
        "points": _distinct(points),
    }


def _point(
    point: OperatingPoint,
    jobs: Sequence[Job],
    curves: Mapping[str, DecisionCurve],
    constraints: Mapping[str, Bound],
) -> dict[str, Any]:
    target = point.metrics["latency"]
    thresholds: dict[str, float | None] = {}
    figures: dict[str, dict[str, float]] = {}
    for job in jobs:
        curve = curves[job.name]
        row = nearest_row(curve, target, constraints)
        threshold = float(curve.decision_threshold[row])
        thresholds[job.name] = threshold if math.isfinite(threshold) else None
        figures[job.name] = {name: float(getattr(curve, name)[row]) for name in METRICS}
    return {
        "search": {name: point.metrics[name] for name in METRICS},
        "thresholds": thresholds,
        "validation": figures,
        **spread(list(figures.values())),
    }


def _distinct(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points, each once: two may have come to the same thresholds."""
    found: list[dict[str, Any]] = []
    for point in points:
        if all(point["thresholds"] != other["thresholds"] for other in found):
            found.append(point)
    return found


def nearest_row(curve: DecisionCurve, latency: float, constraints: Mapping[str, Bound]) -> int:
    """The row whose mean decision time is nearest to a given one, the lower of two.

    Only rows that keep the constraints are taken, or that break them least where none does. What
    a curve does not have, such as robust accuracy, does not count.
    """
    known = {
        column: bound
        for column, bound in constraints.items()
        if not np.isnan(curve.figures(column)).all()
    }
    broken = violations(curve, known)
    rows = np.flatnonzero(broken <= broken.min())
    distance = np.abs(curve.latency[rows] - latency)
    order = np.lexsort((-curve.accuracy[rows], curve.latency[rows], distance.round(9)))
    return int(rows[order[0]])


def _chosen(points: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """The network to deliver: most accurate on validation over the points, then least energy."""

    def rank(name: str) -> tuple[float, float]:
        own = [point["validation"][name] for point in points]
        return -fmean(f["accuracy"] for f in own), fmean(f["energy"] for f in own)

    return min(names, key=rank)


def spread(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each figure over the trainings; 0 for a single one."""
    names = list(rows[0])
    return {
        "mean": {name: fmean(row[name] for row in rows) for name in names},
        "spread": {
            name: stdev(row[name] for row in rows) if len(rows) > 1 else 0.0 for name in names
        },
    }


def all_points(points: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Each member with the index of each of its points."""
    for member in points["members"]:
        for index in range(len(member["points"])):
            yield member, index


def knee_point(member: Mapping[str, Any]) -> int:
    """Index of the member's point that is the best trade-off on validation."""
    from latsearch import pareto
    from latsearch.objectives import OBJECTIVES

    names = ("accuracy", "latency", "energy")
    means = [point["mean"] for point in member["points"]]
    columns = [OBJECTIVES[n].losses(np.array([mean[n] for mean in means])) for n in names]
    return pareto.knee(np.stack(columns, axis=1))


def threshold_of(value: float | None) -> float:
    """A decision threshold as JSON has it: null is the readout's, inf."""
    return math.inf if value is None else value
