from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from latsearch.config.trial import NetworkConfig
from latsearch.snn.folding import Shift, folded
from latsearch.snn.networks import build_network
from tests.snn.test_networks import inputs, networks


def worn(config: NetworkConfig, shape=(2, 8, 8), classes=3, dtype=torch.float32):
    """A network in evaluation mode whose normalisations have seen data and have learned."""
    network = build_network(config, shape, classes).to(dtype)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.05, 1.5)
            if module.affine:
                nn.init.uniform_(module.bias, -0.3, 0.6)
                with torch.no_grad():
                    module.weight.mul_(torch.rand_like(module.weight) + 0.5)
    if config.output_bias:
        nn.init.normal_(network.output.synapse.bias)
    return network.eval()


@settings(max_examples=40, deadline=None)
@given(networks(), st.integers(0, 1000))
def test_a_folded_network_is_the_same_function(config, seed):
    torch.manual_seed(seed)
    network = worn(config, dtype=torch.float64)
    images = inputs(network, 3, torch.float64)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        torch.testing.assert_close(folded(network)(images), network(images), rtol=1e-9, atol=1e-9)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_no_pooled_normalisation_is_left():
    network = folded(worn(NetworkConfig(family="lenet", width=2, hidden=4, synapse="delta")))
    kinds = {type(module) for module in network.hidden.modules()}
    assert not kinds & {nn.BatchNorm1d, nn.BatchNorm2d, Shift}
    kept = folded(worn(NetworkConfig(family="lenet", width=2, hidden=4, synapse="step")))
    assert sum(isinstance(module, Shift) for module in kept.modules()) == 2
