from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latsearch.config.trial import NetworkConfig, StageConfig
from latsearch.errors import LatsearchError
from latsearch.snn.networks import build_network
from tests.snn import reference

STAGES = (
    StageConfig(channels=3, kernel=3, downsampling="max"),
    StageConfig(channels=4, blocks=2, kernel=5, downsampling="stride"),
)
RESIDUAL = (
    StageConfig(channels=3, blocks=2, block="residual", downsampling="sum"),
    StageConfig(channels=4, blocks=2, block="residual", downsampling="stride"),
)
FAMILIES = ["mlp", "lenet", "vgg11", "vgg16", "resnet18", "resnet19", "sew_resnet18", "stages"]


def networks(
    encoders=("latency", "rate", "direct", "analog", "frames"),
) -> st.SearchStrategy[NetworkConfig]:
    """Any small network."""
    return st.builds(
        NetworkConfig,
        family=st.sampled_from(FAMILIES),
        timesteps=st.integers(1, 5),
        encoder_surrogate_width=st.floats(0.2, 2),
        stem_channels=st.none() | st.integers(1, 4),
        stem_kernel=st.sampled_from([1, 3, 5, 7]),
        stem_stride=st.integers(1, 2),
        width=st.integers(1, 4),
        hidden=st.integers(1, 9),
        hidden_layers=st.integers(1, 3),
        downsampling=st.sampled_from(["max", "sum", "stride"]),
        depth=st.none() | st.integers(1, 2),
        stages=st.sampled_from([STAGES, RESIDUAL]),
        encoder=st.sampled_from(encoders),
        encoder_map=st.sampled_from(["linear", "log"]),
        neuron=st.sampled_from(["if", "lif", "relu", "sign"]),
        tau_mem=st.floats(1, 10),
        learn_tau_mem=st.booleans(),
        firing_threshold=st.floats(0.1, 4),
        reset=st.sampled_from(["hard", "soft"]),
        spiking=st.sampled_from(["relaxed", "strict"]),
        synapse=st.sampled_from(["delta", "step", "exp"]),
        tau_syn=st.floats(1, 10),
        surrogate=st.sampled_from(["triangle", "rectangle", "sigmoid", "arctan"]),
        surrogate_width=st.floats(0.2, 3),
        output_tau_mem=st.none() | st.floats(1, 10),
        norm=st.sampled_from(["pooled", "timestep"]),
        output_centred=st.booleans(),
        output_bias=st.booleans(),
    )


def inputs(network, batch: int, dtype=torch.float32) -> torch.Tensor:
    """Images, or event frames where the network takes those."""
    if network.encoder.still:
        return torch.rand(batch, *network.input_shape, dtype=dtype)
    counts = torch.rand(batch, network.timesteps, *network.input_shape, dtype=dtype)
    return (counts * 3).floor()


@given(networks(), st.sampled_from([(1, 8, 8), (3, 9, 11)]), st.integers(2, 5))
def test_any_network_runs_forward_and_backward(config, shape, classes):
    network = build_network(config, shape, classes)
    potentials = network(inputs(network, 3))
    assert potentials.shape == (network.timesteps, 3, classes)
    assert network.timesteps == (1 if config.neuron in ("relu", "sign") else config.timesteps)
    assert potentials.dtype == torch.float32
    if config.output_centred:
        assert potentials.sum(-1).abs().max() < 1e-3 * potentials.abs().max().clamp_min(1)
    potentials.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    on_meta = build_network(config, shape, classes, meta=True)
    assert on_meta.parameter_count() == network.parameter_count()
    assert on_meta.hidden_neurons() == network.hidden_neurons()


@settings(max_examples=60)
@given(networks(("latency", "direct", "analog", "frames")), st.integers(0, 1000))
def test_equals_the_plain_loop(config, seed):
    torch.manual_seed(seed)
    network = build_network(config, (2, 8, 8), 3).double()
    images = inputs(network, 3, torch.float64)
    grad = torch.randn(network.timesteps, 3, 3, dtype=torch.float64)
    outcomes = []
    for forward in (network, lambda x: reference.forward(network, x)):
        network.zero_grad()
        potentials = forward(images)
        potentials.backward(grad)
        outcomes.append((potentials.detach(), [p.grad.clone() for p in network.parameters()]))
    torch.testing.assert_close(*(v for v, _ in outcomes), rtol=1e-9, atol=1e-9)
    for got, expected in zip(*(grads for _, grads in outcomes), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8)


def dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + 2 * outputs  # weights, and γ and β of the normalisation


def conv(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel**2 + 2 * outputs


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            NetworkConfig(family="mlp", width=5, hidden=7, hidden_layers=2),
            (9 * 3 * 5 + 2 * 5) + dense(5 * 64, 7) + dense(7, 7) + 7 * 10,
        ),
        (
            NetworkConfig(family="lenet", width=5, hidden=7, stem_channels=4, stem_kernel=5),
            (25 * 3 * 4 + 2 * 4) + conv(4, 10, 5) + dense(10 * 4, 7) + 7 * 10,
        ),
        (
            NetworkConfig(family="vgg11", width=2),
            (9 * 3 * 2 + 2 * 2)
            + sum(conv(a, b, 3) for a, b in itertools.pairwise([2, 4, 8, 8, 16, 16, 16, 16]))
            + 16 * 10,
        ),
        (
            NetworkConfig(family="stages", stages=STAGES),
            (9 * 3 * 3 + 2 * 3) + conv(3, 3, 3) + conv(3, 4, 5) + conv(4, 4, 5) + 4 * 4 * 10,
        ),
    ],
)
def test_parameter_counts(config, expected):
    assert build_network(config, (3, 8, 8), 10, meta=True).parameter_count() == expected


def test_hidden_neurons_and_initial_normalisation():
    config = NetworkConfig(family="lenet", width=5, hidden=7, firing_threshold=2.5)
    network = build_network(config, (1, 8, 8), 10)
    assert network.hidden_neurons() == 10 * 4 * 4 + 7
    for layer in network.projections():
        assert (layer.norm.weight == 2.5).all()


def test_images_are_left_as_they_were():
    network = build_network(NetworkConfig(width=2, hidden=4), (1, 8, 8), 3)
    images = torch.rand(4, 1, 8, 8)
    before = images.clone()
    network(images)
    assert torch.equal(images, before)


def test_a_single_class_is_refused():
    with pytest.raises(LatsearchError, match="two classes"):
        build_network(NetworkConfig(), (1, 8, 8), 1)


@pytest.mark.parametrize("family", ["vgg11", "sew_resnet18", "resnet19", "mlp"])
def test_recomputed_activations_change_nothing(family):
    config = NetworkConfig(family=family, width=2, hidden=5, synapse="exp", norm="timestep")
    outcomes = []
    for recompute in (False, True):
        torch.manual_seed(0)
        network = build_network(config, (1, 16, 16), 3)
        network.recompute = recompute
        potentials = network(torch.rand(4, 1, 16, 16))
        potentials.square().sum().backward()
        grads = [parameter.grad for parameter in network.parameters()]
        outcomes.append((potentials.detach(), grads, list(network.buffers())))
    torch.testing.assert_close(*outcomes, rtol=0, atol=0)
