"""In float32 a spike differs from float64's only where a potential is all but at its threshold."""

from __future__ import annotations

import copy

import pytest
import torch

from latsearch.config.trial import NetworkConfig, StageConfig
from latsearch.snn.encoding import levels
from latsearch.snn.kernels import fire_scan
from latsearch.snn.layers import HiddenLayer
from latsearch.snn.networks import build_network

TOLERANCE = 1e-5
STAGES = (StageConfig(channels=8, blocks=2), StageConfig(channels=16, blocks=2))
SWITCHES = [
    {},
    {"neuron": "lif", "tau_mem": 1.7, "reset": "soft"},
    {"neuron": "lif", "learn_tau_mem": True, "synapse": "exp", "tau_syn": 3.3},
    {"synapse": "delta", "spiking": "strict"},
    {"norm": "timestep", "firing_threshold": 0.7},
    {"encoder": "direct", "reset": "soft", "spiking": "strict"},
    {"encoder_map": "log", "timesteps": 7, "synapse": "exp", "tau_syn": 1.3},
]


def trained_statistics(config: NetworkConfig):
    """A network whose normalisations have seen data, with affines that are not 1 and 0."""
    torch.manual_seed(0)
    network = build_network(config, (3, 16, 16), 10)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    for _ in range(3):
        network(torch.randn(32, 3, 16, 16))
    return network.eval()


def first_differences(
    single: torch.Tensor, double: torch.Tensor, distance: torch.Tensor
) -> torch.Tensor:
    """Distances to the threshold where trains of spikes ``[T, N]`` first differ.

    What follows in that neuron follows from it.
    """
    differs = single.double() != double
    first = differs & (differs.cumsum(0) == 1)
    return distance[first]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@torch.no_grad()
def test_differing_spikes_of_hidden_layers_are_counted_and_all_but_ties(switches):
    network = trained_statistics(NetworkConfig(family="stages", stages=STAGES, **switches))
    received: dict[HiddenLayer, tuple[torch.Tensor, torch.Tensor]] = {}
    for layer in network.hidden:
        assert isinstance(layer, HiddenLayer)
        layer.register_forward_hook(
            lambda module, inputs, out: received.update({module: (inputs[0], out)})
        )
    network(torch.randn(64, 3, 16, 16))
    spikes, different = 0, []
    for layer, (inputs, sent) in received.items():
        exact = copy.deepcopy(layer).double()
        current = exact.projection(inputs.double()).reshape(network.timesteps, -1)
        rule, learned = layer.neuron.rule, exact.neuron.keep()
        keep = rule.keep if learned is None else learned
        expected, potentials = fire_scan(
            current, keep, rule.firing_threshold, rule.soft_reset, rule.strict
        )
        distance = (potentials - rule.firing_threshold).abs()
        got = sent.reshape(network.timesteps, -1)
        different.append(first_differences(got, expected, distance))
        spikes += int(got.sum())
    distances = torch.cat(different)
    assert spikes > 10_000
    assert len(distances) < 1e-4 * spikes
    assert (distances < TOLERANCE).all(), distances.max()


@pytest.mark.parametrize("spacing", ["linear", "log"])
@torch.no_grad()
def test_differing_spikes_of_the_latency_code_are_all_but_ties(spacing):
    network = trained_statistics(NetworkConfig(encoder_map=spacing, timesteps=5))
    images = torch.randn(256, 3, 16, 16)
    exact = copy.deepcopy(network.encoder).double()
    z = exact.strength(images.double())
    level = levels(5, device=z.device, dtype=torch.float64, spacing=spacing)
    distance = (z.reshape(1, -1) - level[:, None]).abs()
    single = network.encoder(images).reshape(5, -1)
    double = exact(images.double()).reshape(5, -1)
    differs = single.double() != double
    assert single.sum() > 10_000
    assert differs.sum() < 1e-4 * single.sum()
    # a spike that comes a step sooner or later passed the level in between
    assert (distance.min(0).values[differs.any(0)] < TOLERANCE).all()


@torch.no_grad()
def test_the_check_sees_a_spike_that_is_no_tie():
    single, double = torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.float64)
    single[1, 0] = 1
    single[2, 0] = 1
    distance = torch.tensor([[0.5, 0.5], [0.25, 0.5], [0.1, 0.5]])
    assert first_differences(single, double, distance).tolist() == [0.25]
