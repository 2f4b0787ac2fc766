"""What a study found: operating points, the front, its hypervolume."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from latsearch import pareto
from latsearch.config import Bound
from latsearch.objectives import (
    BEFORE_TRAINING,
    NUMERIC_COLUMNS,
    OBJECTIVES,
    ROBUST,
    DecisionCurve,
    FloatArray,
    OperatingPoint,
)
from latsearch.pareto import BoolArray
from latsearch.search.trials import TrialRecord, TrialState

Constraints = Mapping[str, Bound]
Objectives = Sequence[str]

METRICS = tuple(name for name in NUMERIC_COLUMNS if name != "decision_threshold")


def curve_losses(curve: DecisionCurve, objectives: Objectives) -> FloatArray:
    """The curve's rows on the scale of fronts, ``[R, M]``, less is better."""
    return np.stack([OBJECTIVES[name].losses(getattr(curve, name)) for name in objectives], axis=1)


def reference_losses(reference: Mapping[str, float], objectives: Objectives) -> FloatArray:
    """The reference point on the scale of fronts, ``[M]``."""
    return np.array([OBJECTIVES[name].losses(np.array(reference[name])) for name in objectives])


def violations(curve: DecisionCurve, constraints: Constraints) -> FloatArray:
    """By how much each row breaks the constraints in total, ``[R]``; 0 where it keeps them.

    A figure that was not measured breaks its bound without limit.
    """
    total = np.zeros(len(curve))
    for column, bound in constraints.items():
        if column in BEFORE_TRAINING:
            continue  # what breaks those was not trained
        values = curve.figures(column)
        if bound.min is not None:
            total += np.maximum(0.0, bound.min - values)
        if bound.max is not None:
            total += np.maximum(0.0, values - bound.max)
    return np.where(np.isnan(total), math.inf, total)


def feasible(curve: DecisionCurve, constraints: Constraints) -> BoolArray:
    """Mark the rows that keep every constraint, ``[R]``."""
    return np.asarray(violations(curve, constraints) <= 0)


def best_rows(curve: DecisionCurve, objectives: Objectives, constraints: Constraints) -> list[int]:
    """Indices of the curve's nondominated rows among those that keep the constraints."""
    allowed = np.flatnonzero(feasible(curve, constraints))
    kept = pareto.nondominated(curve_losses(curve, objectives)[allowed])
    return [int(row) for row in allowed[kept]]


def knee_row(curve: DecisionCurve, objectives: Objectives, constraints: Constraints) -> int:
    """The row that stands for the curve: the knee of its best rows, or the least violating one."""
    rows = best_rows(curve, objectives, constraints)
    if not rows:
        return int(np.argmin(violations(curve, constraints)))
    return rows[pareto.knee(curve_losses(curve, objectives)[rows])]


def operating_points(
    trials: Sequence[TrialRecord], objectives: Objectives, constraints: Constraints
) -> list[OperatingPoint]:
    """The rows that may be on the front: of ended trials, feasible, best of their own curve.

    Rows of pruned trials count: they were measured, and their checkpoint is there.
    """
    return [
        _point(trial, trial.curve, row)
        for trial in trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and trial.curve is not None
        for row in best_rows(trial.curve, objectives, constraints)
    ]


def _point(trial: TrialRecord, curve: DecisionCurve, row: int) -> OperatingPoint:
    return OperatingPoint(
        trial=trial.number,
        row=row,
        epoch=trial.epoch,
        state=str(trial.state),
        decision_threshold=float(curve.decision_threshold[row]),
        kind=curve.kind[row],
        metrics={name: float(values[row]) for name, values in _measured(curve)},
        params=dict(trial.values),
    )


def _measured(curve: DecisionCurve) -> Iterator[tuple[str, FloatArray]]:
    yield from ((name, getattr(curve, name)) for name in METRICS)
    if curve.robust_accuracy is not None:
        yield ROBUST, curve.robust_accuracy


def point_losses(points: Sequence[OperatingPoint], objectives: Objectives) -> FloatArray:
    """The points on the scale of fronts, ``[N, M]``, less is better."""
    values = np.array([[point.metrics[name] for name in objectives] for point in points])
    values = values.reshape(len(points), len(objectives))
    scaled = [OBJECTIVES[name].losses(values[:, column]) for column, name in enumerate(objectives)]
    return np.stack(scaled, axis=1)


def front(points: Sequence[OperatingPoint], objectives: Objectives) -> list[OperatingPoint]:
    """The nondominated points, best in the first objective first."""
    losses = point_losses(points, objectives)
    rows = np.flatnonzero(pareto.nondominated(losses))
    order = np.lexsort(losses[rows].T[::-1])
    return [points[row] for row in rows[order]]


def joined_front(
    members: Sequence[OperatingPoint], points: Sequence[OperatingPoint], objectives: Objectives
) -> list[OperatingPoint]:
    """The front of a front's members and further points, whichever trial ended first.

    Of equal points the one of the earlier trial is on it, as on the front of all at once.
    """
    return front(sorted([*members, *points], key=lambda p: (p.trial, p.row)), objectives)


def hypervolume(
    points: Sequence[OperatingPoint], objectives: Objectives, reference: Mapping[str, float]
) -> float:
    """Volume that the points dominate, energy on a log10 scale."""
    return pareto.hypervolume(
        point_losses(points, objectives), reference_losses(reference, objectives)
    )


def thinned(
    points: Sequence[OperatingPoint],
    objectives: Objectives,
    reference: Mapping[str, float],
    most: int,
) -> list[OperatingPoint]:
    """At most ``most`` points of a front, those that matter to its hypervolume."""
    rows = pareto.thin(
        point_losses(points, objectives), reference_losses(reference, objectives), most
    )
    return [points[row] for row in rows]
