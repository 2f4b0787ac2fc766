"""Synaptic kernels: how long a spike's current lasts, as a leaky sum over time.

``I[t] = α I[t-1] + W s[t]``: α = 0 for ``delta`` (the current of the timestep alone), 1 for
``step`` (early spikes count T - t + 1 times), ``1 - 1/tau_syn`` for ``exp``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from latsearch.snn.kernels import leaky_sum_backward_scan, leaky_sum_scan
from latsearch.snn.layout import by_time, from_time, is_channels_last


def synapse_keep(synapse: str, tau_syn: float) -> float:
    """The fraction α of the synaptic current that is kept to the next timestep."""
    return {"delta": 0.0, "step": 1.0, "exp": 1.0 - 1.0 / tau_syn}[synapse]


class _LeakySum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, timesteps: int, keep: float) -> Tensor:
        channels_last = is_channels_last(x)
        ctx.settings = (timesteps, keep, channels_last)  # type: ignore[attr-defined]
        sums = leaky_sum_scan(by_time(x, timesteps, channels_last=channels_last), keep)
        return from_time(sums, x.shape, channels_last=channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        timesteps, keep, channels_last = ctx.settings  # type: ignore[attr-defined]
        flat = by_time(grad, timesteps, channels_last=channels_last)
        x_grad = leaky_sum_backward_scan(flat, keep)
        return from_time(x_grad, grad.shape, channels_last=channels_last), None, None


def leaky_sum(x: Tensor, timesteps: int, keep: float) -> Tensor:
    """``y[t] = keep · y[t-1] + x[t]``.

    Args:
        x: ``[T*B, ...]``, time folded into the batch with t as the slow index.
        timesteps: T.
        keep: fraction kept to the next timestep, 0..1.

    Returns:
        ``[T*B, ...]``; `x` itself where nothing is kept.
    """
    if keep == 0.0 or timesteps == 1:
        return x
    sums: Tensor = _LeakySum.apply(x, timesteps, keep)
    return sums
