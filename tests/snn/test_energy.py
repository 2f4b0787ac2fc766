from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from latsearch.config.energy import PROFILES, EnergyProfile
from latsearch.config.trial import NetworkConfig
from latsearch.snn.energy import (
    EnergyMeter,
    conventions,
    dense_energy,
    dense_fan_out,
    fan_out,
    ordinary_energy,
)
from latsearch.snn.families import Conv
from latsearch.snn.layers import Identity
from latsearch.snn.networks import build_network
from tests.snn import reference
from tests.snn.test_networks import inputs, networks

PROFILE = EnergyProfile("test", mac=5.0, ac=1.0, neuron=0.25, source="made up")


@pytest.mark.parametrize(
    ("kernel", "stride", "height", "width"),
    list(itertools.product([1, 3, 5], [1, 2, 3], [4, 5], [3, 7])),
)
def test_fan_out_equals_counting_one_by_one(kernel, stride, height, width):
    torch.manual_seed(0)
    layer = Conv(3, kernel, stride)
    conv = torch.nn.Conv2d(2, 3, kernel, stride=stride, padding=kernel // 2, bias=False)
    full = reference.synapses(layer, 2, height, width, conv.weight)
    assert dense_fan_out(conv, (2, height, width)) == full.sum()
    with torch.no_grad():
        conv.weight[torch.rand_like(conv.weight) < 0.3] = 0
    expected = reference.synapses(layer, 2, height, width, conv.weight)
    assert np.array_equal(fan_out(conv, (2, height, width)).numpy(), expected)


def test_fan_out_of_a_dense_layer():
    linear = torch.nn.Linear(6, 4, bias=False)
    with torch.no_grad():
        linear.weight[1:3, 0] = 0
    assert fan_out(linear, (3, 2)).flatten().tolist() == [2, 4, 4, 4, 4, 4]
    assert dense_fan_out(linear, (3, 2)) == 24


def watch(network, x) -> list[torch.Tensor]:
    """What each layer's synapses, or a shortcut without any, receive, ``[T, B, ...]``."""
    received = {}
    layers = [*network.projections(), network.output]
    handles = [
        getattr(layer, "synapse", layer).register_forward_pre_hook(
            lambda _, inputs, layer=layer: received.update({layer: inputs[0]})
        )
        for layer in layers
    ]
    with torch.no_grad():
        network(x)
    for handle in handles:
        handle.remove()
    every = [received[layer] for layer in layers]
    return [x.reshape(network.timesteps, -1, *x.shape[1:]) for x in every]


def fan_by_counting(layer, shape) -> torch.Tensor:
    if isinstance(layer, Identity):
        return torch.ones(shape)
    weight = layer.synapse.weight
    if isinstance(layer.synapse, torch.nn.Linear):
        return (weight != 0).sum(0).double()
    like = Conv(weight.shape[0], weight.shape[-1], layer.synapse.stride[0])
    return torch.from_numpy(reference.synapses(like, *shape, weight))


@settings(max_examples=25)
@given(networks())
def test_energy_equals_counting_one_by_one(config):
    torch.manual_seed(0)
    network = build_network(config, (1, 8, 8), 3).eval()
    x = inputs(network, 2)
    with EnergyMeter(network, PROFILE) as meter, torch.no_grad():
        network(x)
    energy = meter.report()
    received = watch(network, x)
    timesteps = network.timesteps
    analog = config.neuron == "relu" or config.encoder == "analog"
    spent = np.zeros((timesteps, 2))
    for layer, sent in zip(network.projections(), received, strict=False):
        operations = sent != 0 if analog else sent.abs()
        fan = fan_by_counting(layer, sent.shape[2:])
        price = PROFILE.mac if analog else PROFILE.ac
        spent += (operations * fan).flatten(2).sum(-1).numpy() * price
    steps = np.arange(1, timesteps + 1)[:, None]
    neurons = network.updated_neurons() * steps * np.full((1, 2), 0.25)
    last = received[-1].flatten(2)
    output = (last != 0 if analog else last.abs()).sum(-1).double().numpy().cumsum(0) * 3
    output *= PROFILE.mac if analog else PROFILE.ac
    parts = {name: part.numpy() for name, part in energy.parts().items()}
    np.testing.assert_allclose(parts["hidden"], spent.cumsum(0) * 1e-3, rtol=1e-12)
    np.testing.assert_allclose(parts["neurons"], neurons * 1e-3, rtol=1e-12)
    np.testing.assert_allclose(parts["output"], output * 1e-3, rtol=1e-12)
    stem = network.encoder.conv
    like = Conv(stem.out_channels, stem.kernel_size[0], stem.stride[0])
    fan = reference.synapses(like, 1, 8, 8, stem.weight)
    if network.encoder.still:
        encoder = np.full((timesteps, 2), fan.sum() * 5.0)
    else:
        frames = x.transpose(0, 1).numpy()
        encoder = (np.where(frames > 1, 5.0, frames) * fan).sum((2, 3, 4)).cumsum(0)
    np.testing.assert_allclose(parts["encoder"], encoder * 1e-3, rtol=1e-12)
    total = energy.cumulative()
    assert (total.diff(dim=0) >= 0).all()
    assert total.max() <= dense_energy(network, PROFILE) * (1 + 1e-12)
    assert sum(energy.shares().values()) == pytest.approx(1)


def test_every_input_spiking_reaches_the_dense_bound():
    config = NetworkConfig(family="lenet", width=2, hidden=3, timesteps=2, downsampling="sum")
    network = build_network(config, (1, 8, 8), 3).eval()
    for module in [network.encoder, *(unit for unit, _ in network.hidden_layers())]:
        module.register_forward_hook(lambda module, inputs, spikes: torch.ones_like(spikes))
    with EnergyMeter(network, PROFILE) as meter, torch.no_grad():
        network(torch.randn(2, 1, 8, 8))
    energy = meter.report().cumulative()[-1]
    assert energy.tolist() == pytest.approx([dense_energy(network, PROFILE)] * 2)


@pytest.mark.parametrize("name", list(PROFILES))
def test_conventions_say_what_a_profile_does(name):
    profile, text = PROFILES[name], conventions(PROFILES[name])
    assert profile.source in text
    assert ("Memory accesses are free" in text) == (not profile.sram)
    assert ("MACs run on a host" in text) == profile.host_mac
    assert ("as NeuroBench counts" in text) == profile.pooled_mac


def test_an_ordinary_network_pays_for_memory_too():
    """One hidden layer of 5: 9·64·2 taps less the borders in the stem, 128·5 and 5·3 synapses."""
    config = NetworkConfig(family="mlp", width=2, hidden=5)
    network = build_network(config, (1, 8, 8), 3, meta=True)
    stem = (36 * 9 + 24 * 6 + 4 * 4) * 2
    macs = stem + 128 * 5 + 5 * 3
    assert ordinary_energy(network, PROFILE) == pytest.approx(1e-3 * 5.0 * macs)
    memory = PROFILES["memory-45nm-fp32"]  # each of these memories is below 8 kB
    assert ordinary_energy(network, memory) == pytest.approx(1e-3 * (4.6 + 4 * 10) * macs)


def test_the_bound_needs_no_weights():
    config = NetworkConfig(family="vgg11", width=2)
    meta = build_network(config, (3, 32, 32), 10, meta=True)
    real = build_network(config, (3, 32, 32), 10)
    assert dense_energy(meta, PROFILE) == dense_energy(real, PROFILE) > 0


def test_batches_are_put_side_by_side():
    network = build_network(NetworkConfig(width=2, hidden=4), (1, 8, 8), 3).eval()
    images = torch.randn(5, 1, 8, 8)
    reports = []
    for sizes in ([5], [2, 3]):
        with EnergyMeter(network, PROFILE) as meter, torch.no_grad():
            for batch in images.split(sizes):
                network(batch)
        reports.append(meter.report())
    assert torch.equal(reports[0].cumulative(), reports[1].cumulative())
    assert reports[0].firing_rates == reports[1].firing_rates
    with torch.no_grad():
        network(images)  # no longer counted
    assert meter.report().cumulative().shape == (4, 5)


def test_firing_rates_are_spikes_a_neuron_and_timestep():
    network = build_network(NetworkConfig(width=2, hidden=4), (1, 8, 8), 3).eval()
    sent = []
    for module in [network.encoder, *(unit for unit, _ in network.hidden_layers())]:
        module.register_forward_hook(lambda module, inputs, out: sent.append(out.mean().item()))
    with EnergyMeter(network, PROFILE) as meter, torch.no_grad():
        network(torch.randn(6, 1, 8, 8))
    assert meter.report().firing_rates == pytest.approx(sent)


def test_a_meter_without_samples_has_nothing_to_report():
    network = build_network(NetworkConfig(width=2, hidden=4), (1, 8, 8), 3)
    with EnergyMeter(network, PROFILE) as meter:
        pass
    with pytest.raises(ValueError, match="nothing to report"):
        meter.report()


def test_conventions_name_prices_and_source():
    profile = PROFILES["horowitz-45nm-fp32"]
    text = conventions(profile)
    for part in ("4.6 pJ", "0.9 pJ", "Horowitz", "once, in full", profile.name):
        assert part in text
