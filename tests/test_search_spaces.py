"""The search spaces that ship: valid, and every network of theirs can be built."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from latsearch.config import Parameter, Value, load_study
from latsearch.data import catalogue
from latsearch.snn.networks import build_network
from latsearch.spaces import bundled_spaces

SPACES = bundled_spaces()
POINTS = 25
RUN = 2  # of them also compute


def test_the_named_ones_ship() -> None:
    assert {"digits", "fashion_mnist", "cifar10", "cifar100", "nmnist", "shd"} <= set(SPACES)


@pytest.mark.parametrize("space", SPACES.values(), ids=lambda file: file.stem)
def test_networks_can_be_built_at_random_points(space: Path) -> None:
    study = load_study(space)
    (info,) = (info for info in catalogue() if info.name == study.data.name)
    shape, generator = info.shape, random.Random(0)
    if study.data.events is not None:
        pixels = study.data.events.downsample
        shape = (shape[0], -(-shape[1] // pixels), -(-shape[2] // pixels))

    def suggest(parameter: Parameter) -> Value:
        if parameter.kind == "categorical":
            return generator.choice(parameter.choices)
        assert parameter.low is not None
        assert parameter.high is not None
        if parameter.kind == "int":
            step = int(parameter.step or 1)
            return generator.randrange(int(parameter.low), int(parameter.high) + 1, step)
        return generator.uniform(parameter.low, parameter.high)

    for point in range(POINTS):
        trial = study.space.trial(study.space.ask(suggest))
        network = build_network(trial.network, shape, info.classes, meta=point >= RUN)
        assert network.parameter_count() > 0
        if point < RUN:
            frames = (trial.network.timesteps,) if study.events else ()
            potentials = network(torch.zeros(2, *frames, *shape))
            assert potentials.shape == (trial.network.timesteps, 2, info.classes)
