"""Family ``lenet``: LeNet-5 with the encoder as its first convolution."""

from __future__ import annotations

from latsearch.config.trial import NetworkConfig
from latsearch.snn.families.blueprint import Blueprint, Conv, Dense


def lenet(config: NetworkConfig, input_shape: tuple[int, int, int]) -> Blueprint:
    """Encoder, pool, 5×5 convolution of 2·`width` channels, pool, dense layer of `hidden`.

    With ``downsampling: stride`` both convolutions stride by two instead of being pooled.
    """
    strides = config.downsampling == "stride"
    pool = None if config.downsampling == "stride" else config.downsampling
    factor = 2 if strides else 1
    return Blueprint(
        Conv(config.stem_channels or config.width, config.stem_kernel, config.stem_stride * factor),
        (Conv(2 * config.width, kernel=5, stride=factor, pool=pool), Dense(config.hidden, pool)),
    )
