"""Family ``stages``: stages of equal width, described one by one in the configuration."""

from __future__ import annotations

from latsearch.config.trial import NetworkConfig, StageConfig
from latsearch.errors import UserError
from latsearch.snn.families.blueprint import Blueprint, Conv, Layer, Pool, Residual


def stages(config: NetworkConfig, input_shape: tuple[int, int, int]) -> Blueprint:
    """Encoder, then the blocks of the first `depth` stages, each stage downsampled at its end.

    A `plain` block is one convolution, a `residual` one two of them with a shortcut around them.

    Raises:
        UserError: there is no stage, or fewer than `depth`.
    """
    depth = len(config.stages) if config.depth is None else config.depth
    if not config.stages:
        raise UserError("network.stages is empty: family `stages` needs one stage at least")
    if depth > len(config.stages):
        raise UserError(
            f"network.depth is {depth}, but network.stages has {len(config.stages)} stages"
        )
    layers: list[Layer] = []
    pool: Pool | None = None
    for stage in config.stages[:depth]:
        for block in range(stage.blocks):
            stride = 2 if block == 0 and stage.downsampling == "stride" else 1
            layers.append(_block(stage, stride, pool))
            pool = None
        if stage.downsampling == "max" or stage.downsampling == "sum":
            pool = stage.downsampling
    stem_channels = config.stem_channels or config.stages[0].channels
    stem = Conv(stem_channels, config.stem_kernel, config.stem_stride)
    return Blueprint(stem, tuple(layers), output_pool=pool)


def _block(stage: StageConfig, stride: int, pool: Pool | None) -> Layer:
    neuron = None if stage.neuron == "network" else stage.neuron
    first = Conv(stage.channels, stage.kernel, stride, pool, neuron)
    if stage.block == "plain":
        return first
    return Residual((first, Conv(stage.channels, stage.kernel, neuron=neuron)))
