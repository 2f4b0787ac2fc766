"""The computed cost of a training: a closed form, and what it must and must not depend on."""

from __future__ import annotations

import pytest

from latsearch.config import parse_study
from latsearch.search.cost import LAYER, NEURON, TrainingCost

TEXT = """
version: 1
study: cost
data: {name: digits}
network:
  family: mlp
  width: {low: 2, high: 8}
  hidden: 10
  timesteps: {low: 1, high: 4}
train: {epochs: 3, batch_size: 50, lr: {low: 1e-3, high: 1e-1, log: true}}
"""


def cost(text: str = TEXT, samples: int = 120) -> TrainingCost:
    return TrainingCost(parse_study(text).space, (1, 8, 8), 5, samples)


def test_it_is_that_of_the_formula() -> None:
    values = {"network.width": 4, "network.timesteps": 3, "train.lr": 0.01}
    # a 3 x 3 convolution over 8 x 8 pixels without the taps beyond its borders; then two dense
    # layers, the first of which takes all of its maps
    stem, behind = 4 * (3 * 8 - 2) ** 2, 4 * 64 * 10 + 10 * 5
    macs, updates, steps, layers = stem + 3 * behind, 3 * 10, 120 // 50, 3
    expected = 3 * (120 * (macs + NEURON * updates) + steps * layers * LAYER)
    assert cost()(values) == pytest.approx(expected)


def test_it_does_not_depend_on_what_costs_nothing() -> None:
    values = {"network.width": 4, "network.timesteps": 3}
    asked = cost()
    assert asked({**values, "train.lr": 0.01}) == asked({**values, "train.lr": 0.1})


@pytest.mark.parametrize(
    "change",
    [("epochs: 3", "epochs: 4"), ("epochs: 3", "epochs: 3, relu_epochs: 1"),
     ("hidden: 10", "hidden: 20"), ("batch_size: 50", "batch_size: 10")],
)  # fmt: skip
def test_more_work_costs_more(change: tuple[str, str]) -> None:
    values = {"network.width": 4, "network.timesteps": 3, "train.lr": 0.01}
    assert cost(TEXT.replace(*change))(values) > cost()(values)
    assert cost(samples=240)(values) > cost()(values)
    assert cost()({**values, "network.timesteps": 4}) > cost()(values)
