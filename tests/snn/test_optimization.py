from __future__ import annotations

import itertools

import pytest
import torch

from latsearch.config.trial import NetworkConfig, TrainConfig
from latsearch.snn.networks import build_network
from latsearch.snn.optimization import (
    SpikeRate,
    autocast_type,
    build_optimizer,
    compile_kernels,
    epoch_generator,
    learning_rate,
    seeded_network,
)

SMALL = NetworkConfig(width=2, hidden=4, timesteps=2)


def test_learning_rate_warms_up_then_follows_a_cosine():
    train = TrainConfig(epochs=10, lr=0.4, warmup_epochs=1)
    rates = [learning_rate(train, step, 8) for step in range(80)]
    assert rates[:8] == pytest.approx([0.05 * n for n in range(1, 9)])
    assert rates[8] == pytest.approx(0.4)
    assert rates[8 + 36] == pytest.approx(0.2)
    assert all(a >= b for a, b in itertools.pairwise(rates[8:]))
    assert 0 < rates[-1] < 0.001


def test_learning_rate_without_warm_up_and_with_nothing_else():
    assert learning_rate(TrainConfig(epochs=1, lr=1.0, warmup_epochs=0), 0, 5) == 1.0
    only = TrainConfig(epochs=1, lr=1.0, warmup_epochs=5)
    assert [learning_rate(only, step, 4) for step in range(4)] == pytest.approx(
        [0.05, 0.1, 0.15, 0.2]
    )


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_scalars_of_channels_do_not_decay(optimizer, momentum):
    network = build_network(SMALL, (1, 8, 8), 3)
    train = TrainConfig(optimizer=optimizer, weight_decay=0.1, momentum=momentum)
    decayed, kept = build_optimizer(network, train).param_groups
    assert decayed["weight_decay"] == 0.1
    assert kept["weight_decay"] == 0
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert {names[id(p)] for p in kept["params"]} == {
        name for name in names.values() if "norm" in name or name.endswith(("gain", "shift"))
    }
    assert len(decayed["params"]) + len(kept["params"]) == len(names)


def test_weights_come_from_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b, c = (seeded_network(SMALL, (1, 8, 8), 3, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(a.output.synapse.weight, b.output.synapse.weight)
    assert not torch.equal(a.output.synapse.weight, c.output.synapse.weight)


def test_epochs_differ_and_repeat():
    draws = {
        (seed, epoch): torch.rand(1, generator=epoch_generator(seed, epoch)).item()
        for seed in range(3)
        for epoch in range(4)
    }
    assert len(set(draws.values())) == 12
    assert torch.rand(1, generator=epoch_generator(2, 3)).item() == draws[2, 3]


def test_spike_rate_has_the_mean_and_a_gradient():
    network = build_network(SMALL, (1, 8, 8), 3)
    sent = []
    units = [unit for unit, _ in network.hidden_layers()]
    for unit in units:
        unit.register_forward_hook(lambda module, inputs, out: sent.append(out))
    with SpikeRate(network, enabled=True) as rate:
        network(torch.randn(5, 1, 8, 8))
    network(torch.randn(5, 1, 8, 8))  # not watched any more
    spikes = torch.cat([out.flatten() for out in sent[: len(units)]])
    assert rate.mean().item() == pytest.approx(spikes.mean().item())
    rate.mean().backward()
    assert network.projections()[0].synapse.weight.grad.abs().sum() > 0


def test_compiling_is_decided_from_sizes_alone():
    small = build_network(SMALL, (1, 8, 8), 3, meta=True)
    large = build_network(NetworkConfig(family="vgg11", width=64), (3, 32, 32), 10, meta=True)
    assert not compile_kernels(TrainConfig(epochs=40), small, 1000)
    assert compile_kernels(TrainConfig(epochs=100), large, 50_000)
    assert compile_kernels(TrainConfig(compile="always"), small, 1)
    assert not compile_kernels(TrainConfig(compile="never", epochs=100), large, 50_000)


def test_precision():
    cpu = torch.device("cpu")
    assert autocast_type("fp32", cpu) is None
    assert autocast_type("bf16", cpu) is torch.bfloat16
    assert autocast_type("auto", cpu) in (None, torch.bfloat16)
