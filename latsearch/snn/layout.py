"""Views of folded activations as ``[T, N]`` without copies, whatever their memory format."""

from __future__ import annotations

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    """Whether a 4-d tensor lies in memory as ``[B, H, W, C]`` and not as ``[B, C, H, W]``."""
    return (
        x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    )


def by_time(x: Tensor, timesteps: int, *, channels_last: bool) -> Tensor:
    """A tensor of folded time as ``[T, N]`` in the order of its memory.

    Args:
        x: ``[T*B, ...]``, t the slow index.
        timesteps: T.
        channels_last: the memory format to read `x` in; no copy where `x` has it already.
    """
    if channels_last:
        x = x.permute(0, 2, 3, 1)
    return x.reshape(timesteps, -1)


def from_time(flat: Tensor, shape: torch.Size, *, channels_last: bool) -> Tensor:
    """The inverse of `by_time`: ``[T, N]`` as a tensor of `shape`, always a view."""
    if channels_last:
        batch, channels, height, width = shape
        return flat.view(batch, height, width, channels).permute(0, 3, 1, 2)
    return flat.view(shape)
