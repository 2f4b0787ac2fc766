from __future__ import annotations

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from latsearch.config.trial import NetworkConfig, StageConfig
from latsearch.errors import LatsearchError
from latsearch.snn.energy import dense_operations
from latsearch.snn.families import FAMILIES, Blueprint, Conv, Dense, Residual, after
from latsearch.snn.networks import build_network


def blueprint(input_shape=(1, 28, 28), **settings) -> Blueprint:
    config = NetworkConfig(**settings)
    return FAMILIES[config.family](config, input_shape)


def test_mlp():
    plan = blueprint(family="mlp", width=6, hidden=20, hidden_layers=3)
    assert plan == Blueprint(Conv(6), (Dense(20), Dense(20), Dense(20)))


def test_lenet():
    assert blueprint(family="lenet", width=6, hidden=20, downsampling="max") == Blueprint(
        Conv(6), (Conv(12, kernel=5, pool="max"), Dense(20, pool="max"))
    )
    assert blueprint(family="lenet", width=6, hidden=20, downsampling="stride") == Blueprint(
        Conv(6, stride=2), (Conv(12, kernel=5, stride=2), Dense(20))
    )


@pytest.mark.parametrize("downsampling", ["max", "sum", "stride"])
def test_vgg11_on_its_usual_images(downsampling):
    plan = blueprint((3, 32, 32), family="vgg11", width=4, downsampling=downsampling)
    convs = (plan.stem, *plan.hidden)
    assert [conv.channels for conv in convs] == [4, 8, 16, 16, 32, 32, 32, 32]
    shape, sizes = (3, 32, 32), []
    for conv in convs:
        shape = after(shape, conv)
        sizes.append(shape[1])
    if downsampling == "stride":
        assert sizes == [16, 8, 8, 4, 4, 2, 2, 1]
        assert plan.output_pool is None
    else:
        assert sizes == [32, 16, 8, 8, 4, 4, 2, 2]
        assert plan.output_pool == downsampling
        pools = [conv.pool for conv in convs]
        assert pools == [None, *[downsampling] * 2, None, downsampling, None, downsampling, None]


@pytest.mark.parametrize("size", [1, 2, 7, 8, 28, 32])
@pytest.mark.parametrize("downsampling", ["max", "sum", "stride"])
@pytest.mark.parametrize("family", ["vgg11", "vgg16"])
def test_vgg_fits_any_image(family, size, downsampling):
    config = NetworkConfig(family=family, width=2, downsampling=downsampling)
    network = build_network(config, (1, size, size), 10, meta=True)
    assert network.output.synapse.in_features == 16


def test_stages():
    stages = (
        StageConfig(channels=8, blocks=2, kernel=5, downsampling="max"),
        StageConfig(channels=16, blocks=1, downsampling="stride"),
        StageConfig(channels=24, blocks=1, downsampling="sum"),
    )
    plan = blueprint(family="stages", stages=stages)
    assert plan == Blueprint(
        Conv(8),
        (Conv(8, 5), Conv(8, 5), Conv(16, 3, stride=2, pool="max"), Conv(24, 3)),
        output_pool="sum",
    )
    shallow = blueprint(family="stages", stages=stages, depth=1, stem_channels=3)
    assert shallow == Blueprint(Conv(3), (Conv(8, 5), Conv(8, 5)), output_pool="max")


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"family": "stages"}, (1, 8, 8), "stages is empty"),
        (
            {"family": "stages", "stages": (StageConfig(),), "depth": 2},
            (1, 8, 8),
            "depth is 2, but network.stages has 1",
        ),
        (
            {"family": "stages", "stages": (StageConfig(channels=2),) * 4},
            (1, 8, 8),
            "map of 1x1 cannot be pooled",
        ),
        ({"family": "lenet"}, (1, 2, 8), "map of 1x4 cannot be pooled"),
        ({"family": "lenet", "stem_stride": 4}, (1, 8, 8), "map of 1x1 cannot be pooled"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(settings, shape, message):
    with pytest.raises(LatsearchError, match=message) as caught:
        build_network(NetworkConfig(**settings), shape, 10)
    assert "\n" not in str(caught.value)


def convolutions(network: torch.nn.Module) -> list[tuple[int, ...]]:
    """Weights' shapes and strides of all convolutions, in the order of their use."""
    convs = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    return [(*conv.weight.shape, *conv.stride) for conv in convs]


@pytest.mark.parametrize(
    ("family", "theirs"),
    [
        ("vgg11", torchvision.models.vgg11_bn),
        ("vgg16", torchvision.models.vgg16_bn),
        ("resnet18", torchvision.models.resnet18),
        ("sew_resnet18", torchvision.models.resnet18),
    ],
)
def test_convolutions_are_torchvisions(family, theirs):
    config = NetworkConfig(family=family, width=64)
    ours = build_network(config, (3, 32, 32), 10, meta=True)
    with torch.device("meta"):
        original = convolutions(theirs())
    if "resnet" in family:  # the stem for small images is 3x3 and does not stride
        original[0] = (64, 3, 3, 3, 1, 1)
    assert sorted(convolutions(ours)) == sorted(original)
    assert ours.output.synapse.weight.shape == (10, 512)


def test_resnet19():
    plan = blueprint((3, 32, 32), family="resnet19", width=128)
    assert [block.body[0].channels for block in plan.hidden[:-1]] == [128] * 3 + [256] * 3 + [
        512
    ] * 2
    assert [block.body[0].stride for block in plan.hidden[:-1]] == [1, 1, 1, 2, 1, 1, 2, 1]
    assert plan.hidden[-1] == Dense(256, pool="global")
    network = build_network(NetworkConfig(family="resnet19", width=128), (3, 32, 32), 10, meta=True)
    assert network.parameter_count() == pytest.approx(12.6e6, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"family": "vgg11", "width": 8, "stem_kernel": 1}, (3, 32, 32)),
        ({"family": "vgg16", "width": 4, "downsampling": "stride"}, (1, 28, 28)),
        ({"family": "resnet18", "width": 4}, (3, 32, 32)),
        ({"family": "sew_resnet18", "width": 4}, (3, 16, 16)),
        ({"family": "resnet19", "width": 4}, (3, 32, 32)),
        ({"family": "lenet", "width": 3, "hidden": 20}, (1, 28, 28)),
        ({"family": "mlp", "width": 3, "hidden": 20, "hidden_layers": 2}, (1, 8, 8)),
    ],
)
def test_the_equal_shape_relu_network_has_the_flops_that_pytorch_counts(settings, shape):
    """PyTorch counts the zeros of padded borders too, our operations do not."""
    network = build_network(
        NetworkConfig(**settings, neuron="relu", encoder="analog"), shape, 10
    ).eval()
    network.to(memory_format=torch.contiguous_format)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.rand(1, *shape))
    expected = counter.get_total_flops() / 2
    positions = {}

    def remember(module, inputs, output):
        positions[module] = output[0, 0].numel() if output.ndim == 4 else 1

    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    handles = [layer.register_forward_hook(remember) for layer in layers]
    network(torch.rand(1, *shape))
    for handle in handles:
        handle.remove()
    weights = sum(layer.weight.numel() * positions[layer] for layer in layers)
    assert weights == expected
    stem, behind = dense_operations(network)
    assert stem + behind <= expected * max(1, *(p.largest_input for p in network.projections()))


def test_sums_of_spikes_grow_along_sew_blocks():
    network = build_network(NetworkConfig(family="sew_resnet18", width=2), (1, 16, 16), 10)
    assert [block.largest_output for block in network.hidden] == [2, 3, 2, 3, 2, 3, 2, 3]
    sent = []
    for block in network.hidden:
        block.register_forward_hook(lambda module, inputs, out: sent.append(out.max().item()))
    network(torch.randn(8, 1, 16, 16))
    assert all(
        most <= block.largest_output for most, block in zip(sent, network.hidden, strict=True)
    )
    assert max(sent) > 1


def test_stages_of_residual_blocks_with_neurons_of_their_own():
    stages = (
        StageConfig(channels=4, blocks=2, block="residual", downsampling="max", neuron="lif"),
        StageConfig(channels=8, block="residual", downsampling="stride"),
    )
    plan = blueprint(family="stages", stages=stages)
    lif = Conv(4, neuron="lif")
    assert plan.hidden == (
        Residual((lif, lif)),
        Residual((lif, lif)),
        Residual((Conv(8, stride=2, pool="max"), Conv(8))),
    )
    network = build_network(NetworkConfig(family="stages", stages=stages), (1, 16, 16), 10)
    keeps = [unit.rule.keep for unit, _ in network.hidden_layers()]
    assert keeps == [0.5] * 4 + [1.0] * 2
