"""Architecture families: each turns a configuration into a `Blueprint`, one file a family."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from latsearch.config.trial import NetworkConfig
from latsearch.snn.families.blueprint import (
    Blueprint,
    Conv,
    Dense,
    Layer,
    Pool,
    Residual,
    Shape,
    after,
    pooled,
    pooled_positions,
)
from latsearch.snn.families.lenet import lenet
from latsearch.snn.families.mlp import mlp
from latsearch.snn.families.resnet import resnet18, resnet19, sew_resnet18
from latsearch.snn.families.stages import stages
from latsearch.snn.families.vgg import vgg11, vgg16

FAMILIES: Mapping[str, Callable[[NetworkConfig, tuple[int, int, int]], Blueprint]] = {
    "mlp": mlp,
    "lenet": lenet,
    "vgg11": vgg11,
    "vgg16": vgg16,
    "resnet18": resnet18,
    "resnet19": resnet19,
    "sew_resnet18": sew_resnet18,
    "stages": stages,
}

__all__ = [
    "FAMILIES",
    "Blueprint",
    "Conv",
    "Dense",
    "Layer",
    "Pool",
    "Residual",
    "Shape",
    "after",
    "pooled",
    "pooled_positions",
]
