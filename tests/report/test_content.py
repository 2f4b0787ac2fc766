"""What a report takes from a study."""

from __future__ import annotations

import math

import pytest

from latsearch.config import DataConfig, Parameter
from latsearch.data import load
from latsearch.report.content import Knee, gather, standard_error, validation_samples
from latsearch.report.importance import FEWEST_TRIALS, importance
from latsearch.reporting import study_front
from tests.report.conftest import NewStudy, filled

RATE = Parameter("train.lr", "float", low=0.0, high=1.0)
SIZE = Parameter("network.width", "int", low=1, high=8, step=1)


@pytest.mark.parametrize("part", [0.2, 0.25, 100])
def test_samples_as_the_data_are_really_split(part: float) -> None:
    config = DataConfig(name="digits", validation=part)
    assert validation_samples(config) == len(load(config).validation)


def test_standard_error() -> None:
    assert standard_error(0.9, 100) == pytest.approx(0.03)
    assert standard_error(1.0, 100) == 0.0


def test_points_front_and_recommendations(new_study: NewStudy) -> None:
    study = filled(new_study()).study
    content = gather(study)
    assert list(content.front) == study_front(study, study.trials())
    assert not set(map(id, content.points)) & set(map(id, content.front))
    assert len(content.knees) == 14
    assert [entry.step for entry in content.progress] == list(range(1, 17))
    rules = [rule for choice in content.recommended for rule in choice.rules]
    assert sorted(rules) == ["fastest", "knee", "least-energy", "most-accurate"]
    by_rule = {rule: choice.point for choice in content.recommended for rule in choice.rules}
    assert by_rule["most-accurate"].metrics["accuracy"] == max(
        point.metrics["accuracy"] for point in content.front
    )
    assert all(choice.weights for choice in content.recommended)


def knees(count: int) -> list[Knee]:
    """Of trials whose accuracy is their learning rate, whose latency is always the same."""
    return [
        Knee(
            number,
            {"accuracy": number / count, "latency": 1.0},
            {"train.lr": number / count, "network.width": 1 + number % 8},
        )
        for number in range(count)
    ]


def test_the_parameter_that_matters_is_found() -> None:
    found = importance(knees(40), (RATE, SIZE), ("accuracy",))
    assert found.missing == []
    assert sum(found.shares["accuracy"].values()) == pytest.approx(1)
    assert found.shares["accuracy"]["train.lr"] > 0.8


def test_why_importance_is_missing() -> None:
    few = importance(knees(FEWEST_TRIALS - 1), (RATE, SIZE), ("accuracy",))
    assert few.shares == {}
    assert few.missing == ["Importance needs at least 10 complete trials; there are 9."]
    same = importance(knees(12), (RATE, SIZE), ("accuracy", "latency"))
    assert set(same.shares) == {"accuracy"}
    assert "latency" in same.missing[0]


def test_a_parameter_that_some_trials_lack_is_told() -> None:
    some = knees(20)
    some[3] = Knee(3, some[3].metrics, {"train.lr": 0.5})
    found = importance(some, (RATE, SIZE), ("accuracy",))
    assert set(found.shares["accuracy"]) == {"train.lr", "network.width"}
    assert found.missing == [
        "network.width is searched in some of the trials only: its share is less certain."
    ]


@pytest.mark.parametrize("accuracies", [[0.5] * 12, [math.nan] * 12, [math.nan] * 11 + [0.5]])
def test_trials_that_do_not_differ(accuracies: list[float]) -> None:
    same = [
        Knee(number, {"accuracy": value}, {"train.lr": number / 12})
        for number, value in enumerate(accuracies)
    ]
    assert importance(same, (RATE,), ("accuracy",)).shares == {}
