from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from latsearch.config.energy import DEFAULT_PROFILE
from latsearch.config.trial import NetworkConfig
from latsearch.evaluation import measure
from latsearch.snn.diagnostics import GradientNorms, NeuronActivity, blank_firing_rate
from latsearch.snn.images import Normalization
from latsearch.snn.networks import build_network
from tests.snn.test_folding import worn
from tests.snn.test_networks import inputs, networks


@settings(max_examples=20, deadline=None)
@given(networks())
def test_counts_neuron_by_neuron(config):
    torch.manual_seed(0)
    network = worn(config)
    images = inputs(network, 5)
    sent: dict[torch.nn.Module, list[torch.Tensor]] = {}
    for unit, _ in network.hidden_layers():
        unit.register_forward_hook(
            lambda unit, _, out: sent.setdefault(unit, []).append(out.flatten(1))
        )
    with NeuronActivity(network) as activity, torch.no_grad():
        for batch in images.split(2):
            network(batch)
    rates = torch.cat([(torch.cat(parts) > 0).double().mean(0) for parts in sent.values()])
    assert activity.silent() == pytest.approx(float((rates == 0).double().mean()))
    assert activity.saturated() == pytest.approx(float((rates >= 0.99).double().mean()))
    assert activity.firing_rate() == pytest.approx(float(rates.mean()))


def test_biases_that_fire_on_a_blank_input_are_found():
    config = NetworkConfig(family="mlp", width=2, hidden=10, hidden_layers=1, synapse="delta")
    network = build_network(config, (1, 8, 8), 3).eval()
    network.encoder.shift.data.fill_(-1.0)  # a blank image makes no spike in the encoder
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    normalize = Normalization((0.0,), (1.0,), "cpu")
    assert blank_firing_rate(network, normalize(images[:1])) == 0.0
    norm = network.hidden[0].projection.norm
    norm.bias.data[:5] = 1.5  # above the firing threshold at every timestep
    norm.bias.data[5] = 0.4  # above it at the third of four
    measured = measure(network, images, normalize, DEFAULT_PROFILE)
    assert measured.activity["blank_firing_rate"] == pytest.approx((5 * 4 + 1) / (10 * 4))
    assert measured.activity["saturated_neurons"] == 0.5
    assert measured.activity["silent_neurons"] == 0.4
    curve = measured.curve(torch.zeros(4, dtype=torch.int64).numpy())
    assert curve.traits == {
        "firing_rate": pytest.approx(21 / 40),
        **measured.activity,
    }


def test_norms_of_gradients_by_layer():
    network = build_network(NetworkConfig(family="resnet18", width=2), (1, 32, 32), 3)
    norms = GradientNorms(network)
    assert not norms.read().any()
    network(torch.randn(3, 1, 32, 32))[..., 0].sum().backward()
    found = dict(zip(norms.names, norms.read().tolist(), strict=True))
    assert len(found) == 1 + 16 + 3 + 1  # three shortcuts have weights
    assert found["grad_norm_encoder"] == pytest.approx(
        float(network.encoder.conv.weight.grad.norm())
    )
    assert found["grad_norm_output"] == pytest.approx(
        float(network.output.synapse.weight.grad.norm())
    )
    assert all(value > 0 for value in found.values())
