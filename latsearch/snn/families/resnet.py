"""Families ``resnet18``, ``resnet19`` and ``sew_resnet18``: residual networks of basic blocks."""

from __future__ import annotations

from collections.abc import Sequence

from latsearch.config.trial import NetworkConfig
from latsearch.snn.families.blueprint import Blueprint, Conv, Dense, Merge, Residual

# channels as multiples of `width`, and blocks, of each stage; all but the first halve the map
_RESNET18 = ((1, 2), (2, 2), (4, 2), (8, 2))
_RESNET19 = ((1, 3), (2, 3), (4, 2))


def resnet18(config: NetworkConfig, input_shape: tuple[int, int, int]) -> Blueprint:
    """Eight basic blocks of two 3×3 convolutions (arXiv 1512.03385), shortcuts add currents."""
    return Blueprint(_stem(config), _blocks(config, _RESNET18, "current"), output_pool="global")


def sew_resnet18(config: NetworkConfig, input_shape: tuple[int, int, int]) -> Blueprint:
    """As `resnet18`, but shortcuts add spikes after the neurons (SEW's ADD, arXiv 2102.04159)."""
    return Blueprint(_stem(config), _blocks(config, _RESNET18, "spikes"), output_pool="global")


def resnet19(config: NetworkConfig, input_shape: tuple[int, int, int]) -> Blueprint:
    """Three stages of 3, 3 and 2 basic blocks, and a dense layer of 2·`width` (arXiv 2011.05280).

    `width` is 128 there.
    """
    blocks = _blocks(config, _RESNET19, "current")
    return Blueprint(_stem(config), (*blocks, Dense(2 * config.width, pool="global")))


def _stem(config: NetworkConfig) -> Conv:
    return Conv(config.stem_channels or config.width, config.stem_kernel, config.stem_stride)


def _blocks(
    config: NetworkConfig, stages: Sequence[tuple[int, int]], merge: Merge
) -> tuple[Residual, ...]:
    """The blocks of all stages; a stage after the first begins with a stride of two."""
    blocks = []
    for index, (multiple, count) in enumerate(stages):
        channels = config.width * multiple
        for block in range(count):
            stride = 2 if index > 0 and block == 0 else 1
            blocks.append(Residual((Conv(channels, stride=stride), Conv(channels)), merge))
    return tuple(blocks)
