"""Losses in relation to ceilings: a few are computed, and explain what few trials do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from latsearch.config import Value, parse_study
from latsearch.errors import UserError
from latsearch.search.curve_sampler import _CurveModel
from latsearch.search.observations import Observation, Stage
from latsearch.search.points import random_point
from latsearch.search.scales import Scales

CONFIG = parse_study("""
version: 1
study: scales
data: {name: digits}
network:
  family: {choices: [mlp, lenet]}
  timesteps: {low: 1, high: 8}
  width: {low: 2, high: 64, log: true}
  hidden: {low: 8, high: 64, log: true, when: {network.family: mlp}}
train: {lr: {low: 1e-4, high: 1e-1, log: true}}
""")
OBJECTIVES = ("accuracy", "latency", "energy")
Values = Mapping[str, Value]


def made_up(values: Values) -> dict[str, float]:
    steps, width = float(values["network.timesteps"]), float(values["network.width"])
    family = 3.0 if values["network.family"] == "mlp" else 1.0
    return {"latency": steps, "energy": family * steps * width**1.5}


def nothing(values: Values) -> dict[str, float]:
    return {}


def scales(ceilings: Callable[[Values], Mapping[str, float]], seed: int = 0) -> Scales:
    return Scales(CONFIG.space, OBJECTIVES, ceilings, seed)


def points(count: int, seed: int) -> list[dict[str, Value]]:
    generator = np.random.default_rng(seed)
    return [random_point(CONFIG.space, generator) for _ in range(count)]


def test_ceilings_of_any_point_are_estimated_from_those_of_a_few() -> None:
    asked: list[Values] = []

    def counted(values: Values) -> dict[str, float]:
        asked.append(values)
        return made_up(values)

    made = scales(counted)
    new = points(300, 1)
    offset, factor = made.of(new)
    assert len(asked) <= 96
    true = [made_up(values) for values in new]
    assert offset.shape == factor.shape == (300, 1, 3)
    off = offset[:, 0, 2] - np.log10([one["energy"] for one in true])
    assert np.sqrt((off**2).mean()) < 0.05
    share = factor[:, 0, 1] / [one["latency"] for one in true]
    assert np.abs(share - 1).max() < 0.1
    assert np.all(offset[:, :, :2] == 0)
    assert np.all(factor[:, :, [0, 2]] == 1)


def test_it_is_the_same_in_every_run() -> None:
    new = points(20, 1)
    for one, other in zip(scales(made_up).of(new), scales(made_up).of(new), strict=True):
        assert np.array_equal(one, other)


def refused(values: Values) -> dict[str, float]:
    raise UserError("no image is that small")


@pytest.mark.parametrize("ceilings", [nothing, refused])
def test_without_a_ceiling_losses_stay_as_they_are(ceilings: Callable[[Values], dict]) -> None:
    offset, factor = scales(ceilings).of(points(5, 1))
    assert np.all(offset == 0)
    assert np.all(factor == 1)


def test_points_without_a_network_cost_the_others_nothing() -> None:
    def sometimes(values: Values) -> dict[str, float]:
        return refused(values) if values["network.family"] == "lenet" else made_up(values)

    _, factor = scales(sometimes).of(
        [one for one in points(40, 1) if one["network.family"] == "mlp"]
    )
    assert np.isfinite(factor).all()
    assert factor[:, 0, 1].max() > 6


def test_free_operations_are_no_obstacle() -> None:
    offset, factor = scales(lambda values: {**made_up(values), "energy": 0.0}).of(points(5, 1))
    assert np.isfinite(offset).all()
    assert np.isfinite(factor).all()


def _model(ceilings: Callable[[Values], Mapping[str, float]], measured: int) -> _CurveModel:
    """A model of trainings that reach half of their ceilings, and better ones where T is large."""
    history = []
    for values in points(measured, 2):
        losses = np.array([_losses(values)])
        history.append(Observation(values, losses, 0.0, (Stage(1.0, 1.0, losses, 0.0),)))
    return _CurveModel(CONFIG.space, history, [], lambda values: 1.0, scales(ceilings))


def _losses(values: Values) -> list[float]:
    most = made_up(values)
    return [-0.5 - 0.05 * most["latency"], most["latency"] / 2, np.log10(most["energy"] / 2)]


def test_few_trials_teach_what_ceilings_explain() -> None:
    new = points(200, 3)
    true = np.array([_losses(values) for values in new])

    def errors(ceilings: Callable[[Values], Mapping[str, float]]) -> np.ndarray:
        mean, deviation, _ = _model(ceilings, 5).predict(new)
        assert deviation.shape == mean.shape
        return np.abs(mean[:, 0] - true).mean(axis=0)

    with_ceilings, without = errors(made_up), errors(nothing)
    assert with_ceilings[1] < without[1] / 5
    assert with_ceilings[2] < without[2] / 5
    assert with_ceilings[0] == pytest.approx(without[0])
