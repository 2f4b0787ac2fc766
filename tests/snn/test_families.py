from __future__ import annotations

import pytest

from latsearch.config.trial import NetworkConfig, StageConfig
from latsearch.errors import LatsearchError
from latsearch.snn.families import FAMILIES, Blueprint, Conv, Dense, after
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
def test_vgg11_fits_any_image(size, downsampling):
    config = NetworkConfig(family="vgg11", width=2, downsampling=downsampling)
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
