"""Intervals and the choice of operating points, against closed forms and by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from latsearch.cards import wilson
from latsearch.config import Bound
from latsearch.objectives import READOUT, DecisionCurve
from latsearch.pipelines import intervals
from latsearch.pipelines.points import nearest_row, spread
from latsearch.pipelines.testing import test_table as table_of


def curve(latency: list[float], accuracy: list[float], silent: list[float]) -> DecisionCurve:
    rows = len(latency)
    zeros = np.zeros(rows)
    return DecisionCurve(
        decision_threshold=np.array([*range(rows - 1), math.inf], dtype=float),
        kind=("first_spike",) * (rows - 1) + (READOUT,),
        accuracy=np.array(accuracy),
        accuracy_silent_wrong=np.array(accuracy),
        latency=np.array(latency),
        latency_p95=np.array(latency),
        energy=np.array(latency) * 10,
        silent_fraction=np.array(silent),
        tie_fraction=zeros,
    )


def test_the_interval_of_a_mean() -> None:
    # t(0.975; 2) = 4.302653, standard deviation 0.01
    assert intervals.half_width([0.89, 0.90, 0.91]) == pytest.approx(4.302653 * 0.01 / math.sqrt(3))
    assert intervals.half_width([0.5]) == 0.0
    assert intervals.of_mean([0.9], 100) == pytest.approx(wilson(90, 100))
    low, high = intervals.of_mean([0.89, 0.90, 0.91], 10_000)
    alone = wilson(9_000, 10_000)
    assert low < alone[0] < alone[1] < high
    mean, below, above = intervals.of_shift([0.9, 0.9], [0.88, 0.88], (100, 400))
    assert mean == pytest.approx(-0.02)
    drawn = 1.959964 * math.sqrt(0.9 * 0.1 / 100 + 0.88 * 0.12 / 400)
    assert (below, above) == pytest.approx((-0.02 - drawn, -0.02 + drawn))


def test_a_point_is_taken_over_by_its_decision_time() -> None:
    found = curve([1.0, 1.4, 1.8, 2.0], [0.5, 0.7, 0.8, 0.8], [0.0, 0.1, 0.4, 0.0])
    assert nearest_row(found, 1.5, {}) == 1
    assert nearest_row(found, 1.75, {}) == 2
    assert nearest_row(found, 1.6, {}) == 1  # of two as near the faster
    bound = {"silent_fraction": Bound(max=0.2)}
    assert nearest_row(found, 1.75, bound) == 3
    nothing = {"silent_fraction": Bound(max=-1.0)}
    assert nearest_row(found, 1.75, nothing) == 3  # of those that break it least
    assert nearest_row(found, 1.5, {"robust_accuracy": Bound(min=0.5)}) == 1  # was not measured


def test_the_table_by_hand() -> None:
    names = ["accuracy", "latency", "energy", "silent_fraction", "latency_p95"]

    def rows(accuracy: float) -> dict[str, float]:
        return dict(zip(names, [accuracy, 2.0, 10.0, 0.0, 3.0], strict=True))

    held = {"3-seed0": rows(0.9), "3-seed1": rows(0.8)}
    member = {
        "name": "3",
        "variant": None,
        "timesteps": 4,
        "networks": {"3-seed0": 1, "3-seed1": 2},
        "points": [
            {"search": rows(0.95), "validation": held, **spread(list(held.values()))},
        ],
    }
    found = {
        "3-seed0": {"rows": [rows(0.88)], "cards": [{"decision_times": [5, 5]}]},
        "3-seed1": {"rows": [rows(0.80)], "cards": [{"decision_times": [4, 6]}]},
    }
    table = table_of({"latency_unit": "timesteps", "members": [member]}, found, 10, 20)
    (row,) = table["rows"]
    assert row["test"]["mean"]["accuracy"] == pytest.approx(0.84)
    assert row["test"]["spread"]["accuracy"] == pytest.approx(math.sqrt(2) * 0.04)
    assert row["shift"]["accuracy"] == pytest.approx(-0.01)
    assert row["decision_times"] == [9, 11]
    assert row["accuracies"] == {"3-seed0": 0.88, "3-seed1": 0.80}
    json.dumps(table, allow_nan=False)
