"""Points of a space: places of the unit cube, and every point once."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latsearch.config import Parameter, Space, load_study
from latsearch.config.describe import combinations
from latsearch.search.points import identity, value_at, walk
from tests.config.spaces import BUNDLED, FOLDER, study

DISCRETE = [
    "network: {timesteps: {low: 1, high: 4}, width: {choices: [8, 16, 32]}}",
    "network: {family: {choices: [mlp, lenet, vgg11]}, hidden: {low: 8, high: 64, step: 8}}",
    "network: {neuron: {choices: [if, lif]}, tau_mem: {low: 1, high: 2, step: 0.1}}",
    "network: {family: stages, depth: {choices: [null, 1]}, "
    "stages: [{channels: 8}, {channels: {choices: [8, 16]}, kernel: {choices: [1, 3]}}]}",
    "train: {horizontal_flip: {choices: [true, false]}, "
    "crop_padding: {low: 0, high: 3, when: {train.horizontal_flip: true}}}",
]


@pytest.mark.parametrize("text", DISCRETE)
def test_a_walk_visits_every_point_once(text: str) -> None:
    space = study(text).space
    points = list(walk(space, np.random.default_rng(0)))
    assert len({identity(values) for values in points}) == len(points) == combinations(space)
    for values in points:
        space.trial(values)
        assert list(space.ask(lambda p, v=values: v[p.name])) == list(values)  # type: ignore[misc]
    other = list(walk(space, np.random.default_rng(1)))
    assert other != points
    assert {identity(values) for values in other} == {identity(values) for values in points}


@pytest.mark.parametrize("name", BUNDLED)
def test_the_first_points_of_a_large_space_cost_nothing(name: str) -> None:
    space = load_study(FOLDER / name).space
    for values in islice(walk(space, np.random.default_rng(0)), 5):
        space.trial(values)


@pytest.mark.parametrize("name", BUNDLED)
@given(data=st.data())
def test_any_place_of_the_cube_is_a_point_of_the_space(name: str, data: st.DataObject) -> None:
    space: Space = load_study(FOLDER / name).space
    unit = st.floats(0, 1, exclude_max=True)
    for parameter in space.parameters:
        assert parameter.searches(value_at(parameter, data.draw(unit)))


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (Parameter("x", "categorical", choices=("a", "b", "c")), ["a"] * 3 + ["b"] * 3 + ["c"] * 3),
        (Parameter("x", "int", low=2, high=4, step=1), [2] * 3 + [3] * 3 + [4] * 3),
        (Parameter("x", "int", low=2, high=7, step=2), [2] * 3 + [4] * 3 + [6] * 3),
        (Parameter("x", "float", low=0.5, high=1.5, step=0.5), [0.5] * 3 + [1.0] * 3 + [1.5] * 3),
    ],
)
def test_values_have_equal_shares(parameter: Parameter, expected: list[object]) -> None:
    assert [value_at(parameter, (i + 0.5) / 9) for i in range(9)] == expected


def test_logarithmic_scales() -> None:
    rate = Parameter("x", "float", low=1e-4, high=1.0, log=True)
    assert [value_at(rate, unit) for unit in (0, 0.25, 0.5)] == pytest.approx([1e-4, 1e-3, 1e-2])
    width = Parameter("x", "int", low=1, high=64, log=True, step=1)
    values = [value_at(width, (i + 0.5) / 700) for i in range(700)]
    assert values.count(1) > 10 * values.count(40) > 0
    assert set(values) == set(range(1, 65))


def test_identity_forgets_the_last_digits_and_nothing_else() -> None:
    assert identity({"a": 0.1 + 0.2, "b": "x"}) == identity({"b": "x", "a": 0.3})
    assert identity({"a": 0.3}) != identity({"a": 0.3001})
    assert identity({"a": None}) != identity({})
