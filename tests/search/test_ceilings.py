"""The most that a configuration allows: closed forms, and what it costs to know it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latsearch.config import PROFILES, parse_study
from latsearch.errors import LatsearchError
from latsearch.search.ceilings import Ceilings
from latsearch.snn.energy import dense_energy
from latsearch.snn.networks import build_network

TEXT = """
version: 1
study: ceilings
data: {name: digits}
network:
  family: mlp
  width: {low: 2, high: 8}
  hidden: 10
  timesteps: {low: 1, high: 4}
"""
VALUES = {"network.width": 4, "network.timesteps": 3}


def ceilings(text: str = TEXT, **more: Any) -> Ceilings:
    return Ceilings(parse_study(text), (1, 8, 8), 5, **more)


def test_latency_is_all_timesteps_and_energy_that_of_a_network_that_always_spikes() -> None:
    network = build_network(parse_study(TEXT).space.trial(VALUES).network, (1, 8, 8), 5)
    energy = dense_energy(network, PROFILES["horowitz-45nm-fp32"])
    assert ceilings()(VALUES) == {"latency": 3.0, "energy": pytest.approx(energy)}


def test_layers_that_delay_spikes_delay_the_last_decision() -> None:
    delayed = TEXT.replace("  hidden: 10\n", "  hidden: 10\n  delay: layer\n")
    deep = delayed.replace("  hidden: 10\n", "  hidden: 10\n  hidden_layers: 3\n")
    found = [ceilings(text)(VALUES)["latency"] for text in (delayed, deep)]
    assert found[0] > 3
    assert found[1] == found[0] + 2


def test_latency_of_recordings_is_their_duration() -> None:
    of_events = ceilings(duration_ms=300.0)
    assert of_events(VALUES)["latency"] == pytest.approx(300.0)
    assert of_events({**VALUES, "network.timesteps": 4})["latency"] == pytest.approx(300.0)


def test_only_what_is_an_objective_is_computed() -> None:
    accuracy = TEXT + "objectives: {accuracy: maximize}\n"
    latency = TEXT + "objectives: {accuracy: maximize, latency: minimize}\n"
    assert ceilings(accuracy)(VALUES) == {}
    assert set(ceilings(latency)(VALUES)) == {"latency"}


def test_a_network_that_does_not_fit_has_none() -> None:
    pooled = TEXT.replace("family: mlp", "family: lenet\n  stem_stride: 4\n  downsampling: max")
    with pytest.raises(LatsearchError, match="cannot be pooled"):
        Ceilings(parse_study(pooled), (1, 4, 4), 5)(VALUES)


def test_no_weights_are_drawn() -> None:
    before = torch.random.get_rng_state()
    assert ceilings()(VALUES)["energy"] > 0
    assert torch.equal(torch.random.get_rng_state(), before)
