"""Operating points, fronts and hypervolumes of trials."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from latsearch.config import Bound
from latsearch.search import results
from latsearch.search.trials import TrialRecord, TrialState
from tests.search import studies

ALL = ("accuracy", "latency", "energy")
REFERENCE = {"accuracy": 0.1, "latency": 4.0, "energy": 1000.0}


def record(number: int, state: TrialState = TrialState.COMPLETE, **figures: float) -> TrialRecord:
    curve = studies.curve(**figures)
    log = {3: {**studies.report({"train.lr": 0.1, "network.timesteps": 2}, 3).to_json()}}
    log[3]["curve"] = curve.to_json()
    return TrialRecord(number, state, {"train.lr": 0.1}, log)


def test_rows_of_ended_trials_alone_are_operating_points() -> None:
    trials = [record(i, state) for i, state in enumerate(TrialState)]
    points = results.operating_points(trials, ALL, {})
    states = list(TrialState)
    assert {states[p.trial] for p in points} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert {p.state for p in points} == {"complete", "pruned"}


def test_constraints_apply_to_rows() -> None:
    limits = {"silent_fraction": Bound(max=0.02)}
    (point,) = results.operating_points([record(0)], ALL, limits)
    assert point.row == 0
    assert results.operating_points([record(0)], ALL, {"latency": Bound(max=0.1)}) == []


def test_constraints_on_traits_apply_to_every_row() -> None:
    curve = replace(studies.curve(), traits={"blank_firing_rate": 0.07, "silent_neurons": 0.2})
    kept = results.violations(curve, {"silent_neurons": Bound(max=0.2)})
    assert kept.tolist() == [0.0, 0.0, 0.0]
    broken = results.violations(curve, {"blank_firing_rate": Bound(max=0.05)})
    assert broken == pytest.approx([0.02] * 3)
    unknown = results.violations(curve, {"saturated_neurons": Bound(max=0.5)})
    assert unknown.tolist() == [math.inf] * 3  # what was not measured is not kept


def test_violations_add_up_on_both_sides() -> None:
    limits = {"latency": Bound(min=1.8, max=2.1), "silent_fraction": Bound(max=0.0)}
    broken = results.violations(studies.curve(latency=2.0), limits)
    assert broken == pytest.approx([1.8 - 1.6, 0.05, 2.2 - 2.1 + 0.5])


def test_the_front_is_what_no_point_dominates() -> None:
    generator = np.random.default_rng(0)
    trials = [
        record(i, accuracy=a, latency=t, energy=e)
        for i, (a, t, e) in enumerate(generator.uniform((0.3, 1, 10), (0.9, 3, 300), (30, 3)))
    ]
    points = results.operating_points(trials, ALL, {})
    found = results.front(points, ALL)

    def figures(p: results.OperatingPoint) -> tuple[float, float, float]:
        return -p.metrics["accuracy"], p.metrics["latency"], p.metrics["energy"]

    def dominated(p: results.OperatingPoint) -> bool:
        return any(
            all(x <= y for x, y in zip(figures(q), figures(p), strict=True))
            and figures(q) != figures(p)
            for q in points
        )

    assert {(p.trial, p.row) for p in found} == {
        (p.trial, p.row) for p in points if not dominated(p)
    }
    accuracies = [p.metrics["accuracy"] for p in found]
    assert accuracies == sorted(accuracies, reverse=True)


@pytest.mark.parametrize(
    "objectives", [c for n in (1, 2, 3) for c in itertools.combinations(ALL, n)]
)
def test_any_subset_of_the_objectives_has_a_front_and_a_volume(objectives: tuple[str, ...]) -> None:
    trials = [record(0), record(1, accuracy=0.5, latency=1.0, energy=20.0)]
    points = results.operating_points(trials, objectives, {})
    found = results.front(points, objectives)
    assert 1 <= len(found) <= len(points)
    assert results.hypervolume(found, objectives, REFERENCE) > 0
    assert len(results.thinned(found, objectives, REFERENCE, 1)) == 1


def test_hypervolume_in_closed_form() -> None:
    (point,) = results.operating_points(
        [record(0, accuracy=0.5, latency=2.0, energy=100.0)], ("latency", "energy"), {}
    )
    # the first row is best in both: latency 1.6 of 4, energy 80 of 1000 nJ in decades
    assert results.hypervolume([point], ("latency", "energy"), REFERENCE) == pytest.approx(
        (4.0 - 1.6) * (3 - math.log10(80.0)), rel=1e-5
    )


def test_no_points_have_no_front_and_no_volume() -> None:
    assert results.front([], ALL) == []
    assert results.hypervolume([], ALL, REFERENCE) == 0.0


def test_the_knee_row_is_feasible_where_one_is() -> None:
    curve = studies.curve()
    assert results.knee_row(curve, ALL, {"silent_fraction": Bound(max=0.02)}) == 0
    assert results.knee_row(curve, ALL, {"latency": Bound(max=0.0)}) == 0  # the least violating
