"""Rate code: a feature of strength z spikes in each timestep with probability ``clip(z, 0, 1)``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


class _RateSpikes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor, noise: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return (z > noise).to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        (z,) = ctx.saved_tensors  # type: ignore[attr-defined]
        inside = (z > 0) & (z < 1)
        return grad.sum(0) * inside, None


def rate_spikes(z: Tensor, noise: Tensor) -> Tensor:
    """Spikes ``1[z > noise[t]]``; straight-through, ``∂L/∂z = 1[0 < z < 1] · Σ_t ∂L/∂s[t]``.

    Args:
        z: ``[B, ...]`` strengths.
        noise: ``[T, B, ...]`` or ``[T, 1, ...]``, uniform in 0..1.

    Returns:
        ``[T, B, ...]`` of zeros and ones in the type of `z`.
    """
    spikes: Tensor = _RateSpikes.apply(z, noise)
    return spikes
