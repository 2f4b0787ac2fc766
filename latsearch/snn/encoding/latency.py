"""Latency encoder: images become at most one spike a feature, stronger means earlier.

With ``z = softplus(g) · BN(conv x) + β`` a feature's thermometer code is ``C[t] = 1[z > θ_t]`` at
falling levels θ_1..θ_T = 0 and its spikes are ``s[t] = C[t] - C[t-1]``, ``C[0] = 0``: T + 1 codes,
"never" among them. The levels are ``1 - t/T`` (map ``linear``), or halve with every timestep,
``(2^-t - 2^-T) / (1 - 2^-T)`` (map ``log``). See docs/method.md.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from latsearch.snn.layout import by_time, from_time, is_channels_last
from latsearch.snn.surrogate import triangle


def levels(
    timesteps: int, *, device: torch.device, dtype: torch.dtype, spacing: str = "linear"
) -> Tensor:
    """``[T]``: the falling levels θ_t of the thermometer code, the last one 0.

    Example:
        >>> levels(4, device=torch.device("cpu"), dtype=torch.float32)
        tensor([0.7500, 0.5000, 0.2500, 0.0000])
    """
    steps = torch.arange(1, timesteps + 1, device=device, dtype=torch.float64)
    if spacing == "log":
        last = 2.0**-timesteps
        return ((torch.exp2(-steps) - last) / (1.0 - last)).to(dtype)
    return (1.0 - steps / timesteps).to(dtype)


class _LatencySpikes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor, timesteps: int, width: float, spacing: str) -> Tensor:
        channels_last = is_channels_last(z)
        flat = by_time(z, 1, channels_last=channels_last)
        spikes = flat.new_empty(timesteps, flat.shape[1])
        # in place of a boolean code: arithmetic on floats is several times faster on a CPU
        level = levels(timesteps, device=z.device, dtype=z.dtype, spacing=spacing)
        torch.gt(flat, level[:, None], out=spikes)
        for t in range(timesteps - 1, 0, -1):
            spikes[t] -= spikes[t - 1]
        ctx.save_for_backward(flat, level)
        ctx.settings = (timesteps, width, channels_last)  # type: ignore[attr-defined]
        folded = torch.Size((timesteps * z.shape[0], *z.shape[1:]))
        return from_time(spikes, folded, channels_last=channels_last).view(timesteps, *z.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        flat, level = ctx.saved_tensors  # type: ignore[attr-defined]
        timesteps, width, channels_last = ctx.settings  # type: ignore[attr-defined]
        shape = grad.shape[1:]
        by_step = by_time(grad.flatten(0, 1), timesteps, channels_last=channels_last)
        z_grad = torch.zeros_like(flat)
        for t in range(timesteps):
            code_grad = by_step[t] - by_step[t + 1] if t + 1 < timesteps else by_step[t]
            z_grad.addcmul_(triangle(flat - level[t], width), code_grad)
        return from_time(z_grad, shape, channels_last=channels_last), None, None, None


def latency_spikes(z: Tensor, timesteps: int, width: float, spacing: str = "linear") -> Tensor:
    """Spikes of the strengths `z`, one at most a feature, the stronger the earlier.

    The gradient is straight-through on the thermometer code: with ``G[t] = ∂L/∂s[t]`` and
    ``G[T+1] = 0`` it is ``∂L/∂z = Σ_t (G[t] - G[t+1]) · κ(z - θ_t)`` with the kernel
    ``κ(x) = max(0, 1 - |x|/w) / w``.

    Args:
        z: ``[B, ...]`` strengths; a spike at t = 1 above θ_1, none at all up to 0.
        timesteps: T.
        width: width w of the straight-through kernel.
        spacing: of the levels, ``linear`` or ``log``.

    Returns:
        ``[T, B, ...]`` of zeros and ones in the type and memory format of `z`.

    Example:
        >>> latency_spikes(torch.tensor([[0.9, 0.3, -0.1]]), 2, 1.0).squeeze(1)
        tensor([[1., 0., 0.],
                [0., 1., 0.]])
    """
    spikes: Tensor = _LatencySpikes.apply(z, timesteps, width, spacing)
    return spikes
