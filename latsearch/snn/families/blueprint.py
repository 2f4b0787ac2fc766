"""A network as plain data: what a family of architectures decides, and how its shapes follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from latsearch.errors import UserError

Pool = Literal["max", "sum", "global"]
Merge = Literal["current", "spikes"]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution padded with zeros by ``kernel // 2``, and its neurons.

    Attributes:
        channels: output channels.
        kernel: width of the kernel, odd.
        stride: stride of the convolution.
        pool: pooling of its input.
        neuron: neuron model; None for the network's.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    pool: Pool | None = None
    neuron: str | None = None


@dataclass(frozen=True, slots=True)
class Dense:
    """A fully connected layer; maps are flattened before it.

    Attributes:
        neurons: output neurons.
        pool: pooling of its input.
    """

    neurons: int
    pool: Pool | None = None


@dataclass(frozen=True, slots=True)
class Residual:
    """Convolutions with a shortcut around them: an identity, or a 1x1 one where the shape changes.

    Attributes:
        body: the convolutions; the first may pool or stride, the shortcut then does likewise.
        merge: ``current`` adds the shortcut to the current of the last neurons, ``spikes`` adds
            it to the spikes that they send (SEW's ADD, arXiv 2102.04159).
    """

    body: tuple[Conv, ...]
    merge: Merge = "current"


Layer = Conv | Dense | Residual


@dataclass(frozen=True, slots=True)
class Blueprint:
    """An architecture.

    Attributes:
        stem: the encoder's convolution.
        hidden: the spiking layers after it.
        output_pool: pooling of the output layer's input.
    """

    stem: Conv
    hidden: tuple[Layer, ...]
    output_pool: Pool | None = None


def pooled(shape: Shape, pool: Pool | None) -> Shape:
    """Shape ``(C, H, W)`` after a layer's pooling of its input.

    Raises:
        UserError: the map is too small to be halved.
    """
    if pool is None:
        return shape
    channels, height, width = shape
    if pool == "global":
        return channels, 1, 1
    if min(height, width) < 2:
        raise UserError(
            f"a map of {height}x{width} cannot be pooled: use fewer stages, a smaller stem_stride "
            "or larger images"
        )
    return channels, height // 2, width // 2


def pooled_positions(shape: Shape, pool: Pool | None) -> int:
    """Positions of the map whose spikes a pooling adds up; 1 where it adds none."""
    if pool == "sum":
        return 4
    return math.prod(shape[1:]) if pool == "global" else 1


def strided(size: int, conv: Conv) -> int:
    """Positions along an axis of `size` that a convolution computes."""
    return (size + 2 * (conv.kernel // 2) - conv.kernel) // conv.stride + 1


def after(shape: Shape, layer: Layer) -> Shape:
    """Shape of a layer's neurons, from the shape of what it receives before pooling."""
    if isinstance(layer, Residual):
        for conv in layer.body:
            shape = after(shape, conv)
        return shape
    shape = pooled(shape, layer.pool)
    if isinstance(layer, Dense):
        return (layer.neurons,)
    return layer.channels, strided(shape[1], layer), strided(shape[2], layer)
