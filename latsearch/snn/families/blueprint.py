"""A network as plain data: what a family of architectures decides, and how its shapes follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latsearch.errors import UserError

Pool = Literal["max", "sum"]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution padded with zeros by ``kernel // 2``.

    Attributes:
        channels: output channels.
        kernel: width of the kernel, odd.
        stride: stride of the convolution.
        pool: 2×2 pooling of its input.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    pool: Pool | None = None


@dataclass(frozen=True, slots=True)
class Dense:
    """A fully connected layer; maps are flattened before it.

    Attributes:
        neurons: output neurons.
        pool: 2×2 pooling of its input.
    """

    neurons: int
    pool: Pool | None = None


@dataclass(frozen=True, slots=True)
class Blueprint:
    """An architecture.

    Attributes:
        stem: the encoder's convolution.
        hidden: the spiking layers after it.
        output_pool: 2×2 pooling of the output layer's input.
    """

    stem: Conv
    hidden: tuple[Conv | Dense, ...]
    output_pool: Pool | None = None


def pooled(shape: Shape, pool: Pool | None) -> Shape:
    """Shape ``(C, H, W)`` after a layer's pooling of its input.

    Raises:
        UserError: the map is too small to be halved.
    """
    if pool is None:
        return shape
    channels, height, width = shape
    if min(height, width) < 2:
        raise UserError(
            f"a map of {height}x{width} cannot be pooled: use fewer stages, a smaller stem_stride "
            "or larger images"
        )
    return channels, height // 2, width // 2


def strided(size: int, conv: Conv) -> int:
    """Positions along an axis of `size` that a convolution computes."""
    return (size + 2 * (conv.kernel // 2) - conv.kernel) // conv.stride + 1


def after(shape: Shape, layer: Conv | Dense) -> Shape:
    """Shape of a layer's neurons, from the shape of what it receives before pooling."""
    shape = pooled(shape, layer.pool)
    if isinstance(layer, Dense):
        return (layer.neurons,)
    return layer.channels, strided(shape[1], layer), strided(shape[2], layer)
