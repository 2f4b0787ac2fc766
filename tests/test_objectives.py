"""Objectives, decision curves and their JSON."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latsearch.objectives import (
    FIRST_SPIKE,
    NUMERIC_COLUMNS,
    OBJECTIVES,
    READOUT,
    ROBUST,
    DecisionCurve,
    EpochReport,
    OperatingPoint,
)

NUMBERS = st.floats(allow_subnormal=False) | st.just(math.nan)


def curve(rows: int = 3, **columns: Any) -> DecisionCurve:
    values: dict[str, Any] = {
        name: np.linspace(0.1, 0.9, rows) + index for index, name in enumerate(NUMERIC_COLUMNS)
    }
    return DecisionCurve(**{"kind": (FIRST_SPIKE,) * rows, **values, **columns})


@st.composite
def curves(draw: st.DrawFn) -> DecisionCurve:
    rows = draw(st.integers(0, 4))
    kinds = draw(st.tuples(*[st.sampled_from([FIRST_SPIKE, READOUT])] * rows))
    values = {
        name: np.array(draw(st.lists(NUMBERS, min_size=rows, max_size=rows)), dtype=np.float64)
        for name in NUMERIC_COLUMNS
    }
    return DecisionCurve(kind=kinds, **values)


def test_columns_are_those_of_the_curve() -> None:
    columns = {field.name for field in fields(DecisionCurve)}
    assert {"kind", "traits", ROBUST, *NUMERIC_COLUMNS} == columns
    assert set(OBJECTIVES) <= columns


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_fall_as_an_objective_improves(name: str) -> None:
    objective = OBJECTIVES[name]
    rising = np.array([0.1, 0.5, 1.0, 100.0])
    rising.setflags(write=False)
    better = np.diff(objective.losses(rising)) < 0
    assert better.all() == (objective.direction == "maximize")
    assert (~better).all() == (objective.direction == "minimize")


def test_energy_is_on_a_logarithmic_scale() -> None:
    energy = OBJECTIVES["energy"]
    assert energy.losses(np.array([1.0, 10.0, 1000.0])).tolist() == [0.0, 1.0, 3.0]
    assert np.isfinite(energy.losses(np.array([0.0])))[0]  # a network without a spike
    assert np.isnan(energy.losses(np.array([math.nan])))[0]


def test_columns_of_a_curve() -> None:
    shown = curve(rows=4)
    assert len(shown) == 4
    chosen = shown.columns(("latency", "accuracy"))
    assert chosen.shape == (4, 2)
    assert (chosen[:, 0] == shown.latency).all()
    assert (chosen[:, 1] == shown.accuracy).all()


def test_rows_of_a_curve() -> None:
    rows = list(curve(rows=2, kind=(FIRST_SPIKE, READOUT)).rows())
    assert [row["kind"] for row in rows] == [FIRST_SPIKE, READOUT]
    assert rows[1]["decision_threshold"] == pytest.approx(0.9)
    assert all(type(row["accuracy"]) is float for row in rows)


@pytest.mark.parametrize("column", ["kind", *NUMERIC_COLUMNS])
def test_columns_must_have_equal_lengths(column: str) -> None:
    wrong: Any = (FIRST_SPIKE,) * 2 if column == "kind" else np.zeros(2)
    with pytest.raises(ValueError, match="equal lengths"):
        curve(rows=3, **{column: wrong})


@given(curves())
def test_a_curve_survives_json(before: DecisionCurve) -> None:
    text = json.dumps(before.to_json(), allow_nan=False)
    after = DecisionCurve.from_json(json.loads(text))
    assert after.kind == before.kind
    for name in NUMERIC_COLUMNS:
        old, new = getattr(before, name), getattr(after, name)
        finite = np.isfinite(old)
        np.testing.assert_allclose(new[finite], old[finite], rtol=5e-6)
        missing = math.inf if name == "decision_threshold" else math.nan
        np.testing.assert_array_equal(new[~finite], np.full((~finite).sum(), missing))
        assert new.dtype == np.float64
    assert after.to_json() == before.to_json()  # writing again changes nothing


def test_traits_survive_json_and_are_the_same_in_every_row() -> None:
    before = curve(rows=2, traits={"firing_rate": 0.125, "blank_firing_rate": math.nan})
    data = json.loads(json.dumps(before.to_json(), allow_nan=False))
    after = DecisionCurve.from_json(data)
    assert after.traits["firing_rate"] == 0.125
    assert after.figures("firing_rate").tolist() == [0.125, 0.125]
    assert np.isnan(after.figures("blank_firing_rate")).all()
    assert np.isnan(after.figures("silent_neurons")).all()
    assert "traits" not in curve(rows=2).to_json()


def test_a_curve_without_rows() -> None:
    empty = curve(rows=0)
    assert len(empty) == 0
    assert list(empty.rows()) == []
    assert len(DecisionCurve.from_json(empty.to_json())) == 0


def test_a_report_survives_json() -> None:
    metrics = {"train_loss": 0.25, "gone": math.nan, "endless": math.inf}
    before = EpochReport(3, curve(), metrics, 12.3456, "trials/1/3")
    after = EpochReport.from_json(json.loads(json.dumps(before.to_json(), allow_nan=False)))
    assert (after.epoch, after.seconds, after.checkpoint) == (3, 12.346, "trials/1/3")
    assert after.metrics["train_loss"] == 0.25
    assert math.isnan(after.metrics["gone"])
    assert math.isnan(after.metrics["endless"])
    assert after.to_json() == before.to_json()


def test_a_report_without_a_checkpoint() -> None:
    before = EpochReport(1, curve(), {}, 1.0)
    assert EpochReport.from_json(before.to_json()).checkpoint is None


def test_results_are_frozen() -> None:
    point = OperatingPoint(1, 0, 3, "complete", 0.5, FIRST_SPIKE, {"accuracy": 0.9})
    with pytest.raises(FrozenInstanceError):
        point.trial = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        curve().accuracy = np.zeros(3)  # type: ignore[misc]


def test_decision_times_are_kept_where_they_are_given() -> None:
    before = EpochReport(1, curve(), {}, 1.0, decision_times=((3, 1), (0, 4)))
    assert EpochReport.from_json(json.loads(json.dumps(before.to_json()))).decision_times == (
        (3, 1),
        (0, 4),
    )
    without = EpochReport(1, curve(), {}, 1.0).to_json()
    assert "decision_times" not in without  # as earlier versions wrote it
    assert EpochReport.from_json(without).decision_times is None
