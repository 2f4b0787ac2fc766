"""Families ``vgg11`` and ``vgg16``: VGG's convolutions, the encoder being the first."""

from __future__ import annotations

from collections.abc import Sequence

from latsearch.config.trial import NetworkConfig
from latsearch.snn.families.blueprint import Blueprint, Conv, Pool, Shape, after

# channels as multiples of `width`, and whether VGG halves the map after the convolution
_VGG11 = (
    (1, True),
    (2, True),
    (4, False),
    (4, True),
    (8, False),
    (8, True),
    (8, False),
    (8, True),
)
_VGG16 = (
    (1, False),
    (1, True),
    (2, False),
    (2, True),
    (4, False),
    (4, False),
    (4, True),
    (8, False),
    (8, False),
    (8, True),
    (8, False),
    (8, False),
    (8, True),
)


def vgg11(config: NetworkConfig, input_shape: tuple[int, int, int]) -> Blueprint:
    """Eight 3×3 convolutions and the output layer (configuration A of arXiv 1409.1556)."""
    return _vgg(config, input_shape, _VGG11)


def vgg16(config: NetworkConfig, input_shape: tuple[int, int, int]) -> Blueprint:
    """Thirteen 3×3 convolutions and the output layer (configuration D of arXiv 1409.1556)."""
    return _vgg(config, input_shape, _VGG16)


def _vgg(
    config: NetworkConfig, input_shape: tuple[int, int, int], layers: Sequence[tuple[int, bool]]
) -> Blueprint:
    """The convolutions of `layers`, then the output layer alone.

    A pooling is left out where the map is a single position high or wide already, so that 8×8
    images work. With ``downsampling: stride`` a convolution strides by two instead.
    """
    strides = config.downsampling == "stride"
    shape: Shape = input_shape
    convs: list[Conv] = []
    pool: Pool | None = None
    for index, (multiple, halves) in enumerate(layers):
        channels, kernel, stride = config.width * multiple, 3, 1
        if index == 0:
            channels = config.stem_channels or channels
            kernel, stride = config.stem_kernel, config.stem_stride
        conv = Conv(channels, kernel, stride, pool)
        halves = halves and min(after(shape, conv)[1:]) > 1
        if halves and strides:
            conv = Conv(channels, kernel, 2 * stride, pool)
        pool = "sum" if config.downsampling == "sum" else "max"
        pool = pool if halves and not strides else None
        shape = after(shape, conv)
        convs.append(conv)
    return Blueprint(convs[0], tuple(convs[1:]), output_pool=pool)
