"""Family ``mlp``: the encoder's features, flattened, then dense layers."""

from __future__ import annotations

from latsearch.config.trial import NetworkConfig
from latsearch.snn.families.blueprint import Blueprint, Conv, Dense


def mlp(config: NetworkConfig, input_shape: tuple[int, int, int]) -> Blueprint:
    """Encoder, then `hidden_layers` dense layers of `hidden` neurons."""
    stem = Conv(config.stem_channels or config.width, config.stem_kernel, config.stem_stride)
    return Blueprint(stem, (Dense(config.hidden),) * config.hidden_layers)
