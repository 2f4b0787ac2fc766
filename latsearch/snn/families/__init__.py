"""Architecture families: each turns a configuration into a `Blueprint`, one file a family."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from latsearch.config.trial import NetworkConfig
from latsearch.snn.families.blueprint import Blueprint, Conv, Dense, Pool, Shape, after, pooled
from latsearch.snn.families.lenet import lenet
from latsearch.snn.families.mlp import mlp
from latsearch.snn.families.stages import stages
from latsearch.snn.families.vgg import vgg11

FAMILIES: Mapping[str, Callable[[NetworkConfig, tuple[int, int, int]], Blueprint]] = {
    "mlp": mlp,
    "lenet": lenet,
    "vgg11": vgg11,
    "stages": stages,
}

__all__ = ["FAMILIES", "Blueprint", "Conv", "Dense", "Pool", "Shape", "after", "pooled"]
