"""The flat search space: conditions, defaults, and trials that are always valid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latsearch.config import Parameter, Space, TrialConfig, Value, load_study
from latsearch.config.describe import combinations
from tests.config.spaces import BUNDLED, FOLDER, draw, study

SPACES = {name: load_study(FOLDER / name).space for name in BUNDLED}


@pytest.mark.parametrize("name", BUNDLED)
@given(data=st.data())
def test_any_point_is_a_valid_trial(name: str, data: st.DataObject) -> None:
    space = SPACES[name]
    values = space.ask(lambda parameter: draw(data, parameter))
    trial = space.trial(values)
    assert TrialConfig.from_json(trial.to_json()) == trial
    for parameter in space.parameters:
        active = parameter.name in values
        full = {**space.fixed, **{p.name: p.default for p in space.parameters}, **values}
        assert active == all(full[c.name] in c.values for c in parameter.conditions)
        if active:
            assert parameter.searches(values[parameter.name])
    depth = trial.network.depth
    used = space.stages if depth is None else depth
    assert len(trial.network.stages) == used


@pytest.mark.parametrize("name", BUNDLED)
def test_conditions_come_first(name: str) -> None:
    seen = set(SPACES[name].fixed)
    for parameter in SPACES[name].parameters:
        assert {condition.name for condition in parameter.conditions} <= seen
        seen.add(parameter.name)


def test_a_trial_has_its_values_and_defaults_elsewhere() -> None:
    space = study(
        "network: {family: {choices: [mlp, vgg11]}, hidden: {low: 200, high: 300}, width: 24}\n"
        "train: {epochs: 7}\n"
    ).space
    wide = space.trial({"network.family": "mlp", "network.hidden": 250})
    assert (wide.network.family, wide.network.hidden, wide.network.width) == ("mlp", 250, 24)
    assert wide.train.epochs == 7
    assert space.trial({"network.family": "vgg11"}).network.hidden == 128


def test_when() -> None:
    space = study(
        "network:\n"
        "  hidden: {low: 8, high: 9, when: {network.timesteps: [3, 4], network.neuron: lif}}\n"
        "  timesteps: {low: 1, high: 4}\n"
        "  neuron: {choices: [if, lif]}\n"
        "train: {lr: {choices: [0.1, 0.2], when: {network.hidden: 8}}}\n"
    ).space

    def active(**values: Value) -> set[str]:
        return set(space.ask(lambda parameter: values[parameter.name.split(".")[1]]))

    always = {"network.timesteps", "network.neuron"}
    assert active(timesteps=2, neuron="lif") == always
    assert active(timesteps=3, neuron="if") == always
    assert active(timesteps=3, neuron="lif", hidden=9) == always | {"network.hidden"}
    assert active(timesteps=4, neuron="lif", hidden=8, lr=0.1) == always | {
        "network.hidden",
        "train.lr",
    }


def test_when_may_name_the_default_of_a_field_that_is_not_always_searched() -> None:
    space = study(
        "network: {neuron: {choices: [if, lif]}, tau_mem: {choices: [3.0, 4.0]}}\n"
        "train: {lr: {choices: [0.1, 0.2], when: {network.tau_mem: 2.0}}}\n"
    ).space
    assert "train.lr" in space.ask(lambda p: "if" if p.name == "network.neuron" else p.choices[0])


def test_when_may_name_a_stage() -> None:
    space = study(
        "network:\n"
        "  family: stages\n"
        "  stages: [{kernel: {choices: [1, 3]}}, {channels: {low: 4, high: 8}}]\n"
        "  timesteps: {low: 1, high: 2, when: {network.stages.0.kernel: 3}}\n"
    ).space
    names = [parameter.name for parameter in space.parameters]
    assert names.index("network.stages.0.kernel") < names.index("network.timesteps")
    assert set(space.ask(lambda p: p.choices[0] if p.choices else 4)) == {
        "network.stages.0.kernel",
        "network.stages.1.channels",
    }


def test_depth() -> None:
    space = study(
        "network:\n"
        "  family: {choices: [stages, lenet]}\n"
        "  depth: {low: 1, high: 3}\n"
        "  stages: [{channels: 8}, {channels: {low: 1, high: 4}}, {channels: {low: 5, high: 9}}]\n"
    ).space
    values = space.ask(lambda p: {"network.family": "stages", "network.depth": 2}.get(p.name, 3))
    assert values == {
        "network.family": "stages",
        "network.depth": 2,
        "network.stages.1.channels": 3,
    }
    trial = space.trial(values)
    assert [stage.channels for stage in trial.network.stages] == [8, 3]


@pytest.mark.parametrize(
    "text",
    [
        "network: {timesteps: {low: 1, high: 4}, width: {choices: [1, 2]}}",
        "network: {neuron: {choices: [if, lif]}, tau_mem: {choices: [1.0, 2.0, 3.0]}}",
        "network: {family: {choices: [mlp, vgg11]}, hidden: {low: 1, high: 4},"
        " width: {low: 1, high: 9, step: 4, when: {network.hidden: [1, 4]}}}",
        "network: {family: {choices: [stages, lenet]}, depth: {low: 1, high: 2},"
        " stages: [{channels: {low: 1, high: 2}}, {blocks: {low: 1, high: 3}}]}",
        "network: {timesteps: {low: 1, high: 9, step: 4},"
        " hidden: {low: 1, high: 3, when: {network.timesteps: 5}}}",
    ],
)
def test_combinations_are_counted(text: str) -> None:
    space = study(text).space
    assert combinations(space) == len(set(every(space)))
    assert combinations(space) <= space.size


def every(space: Space) -> Iterator[tuple[tuple[str, Value], ...]]:
    """Every point of a small space, by brute force."""
    domains = [list(_domain(parameter)) for parameter in space.parameters]
    names = [parameter.name for parameter in space.parameters]
    for point in itertools.product(*domains):
        values = dict(zip(names, point, strict=True))
        yield tuple(space.ask(lambda p, values=values: values[p.name]).items())


def _domain(parameter: Parameter) -> Iterator[Value]:
    if parameter.kind == "categorical":
        yield from parameter.choices
        return
    assert parameter.low is not None
    for index in range(int(parameter.size)):
        yield parameter.low + index * (parameter.step or 0)


def test_continuous_spaces_are_infinite() -> None:
    space = study("train: {lr: {low: 0.1, high: 0.2}}").space
    assert space.size == math.inf == combinations(space)


def test_has() -> None:
    space = study(
        "network: {neuron: {choices: [if, lif]}, tau_mem: {low: 3, high: 5, step: 0.5}}"
    ).space
    tau = next(p for p in space.parameters if p.name == "network.tau_mem")
    assert [tau.searches(value) for value in (3, 3.5, 3.6, 2.0, 5.0, 5.5, None, "3")] == [
        True,
        True,
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    assert tau.has(2.0)  # its default, where the neuron is not lif
