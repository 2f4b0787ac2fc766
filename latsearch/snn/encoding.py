"""Latency encoder: images become at most one spike a feature, stronger means earlier.

With ``z = softplus(g) · BN(conv x) + β`` a feature's thermometer code is ``C[t] = 1[z > θ_t]`` at
the levels ``θ_t = 1 - t/T``, t = 1..T, and its spikes are ``s[t] = C[t] - C[t-1]``, ``C[0] = 0``:
T + 1 codes, "never" among them. See docs/method.md.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from latsearch.snn.layout import by_time, from_time, is_channels_last
from latsearch.snn.surrogate import triangle

INITIAL_SCALE = 0.3
INITIAL_SHIFT = 0.5


def levels(timesteps: int, *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """``[T]``: the levels ``θ_t = 1 - t/T`` of the thermometer code."""
    steps = torch.arange(1, timesteps + 1, device=device, dtype=torch.float64)
    return (1.0 - steps / timesteps).to(dtype)


class _LatencySpikes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor, timesteps: int, width: float) -> Tensor:
        channels_last = is_channels_last(z)
        flat = by_time(z, 1, channels_last=channels_last)
        spikes = flat.new_empty(timesteps, flat.shape[1])
        # in place of a boolean code: arithmetic on floats is several times faster on a CPU
        torch.gt(flat, levels(timesteps, device=z.device, dtype=z.dtype)[:, None], out=spikes)
        for t in range(timesteps - 1, 0, -1):
            spikes[t] -= spikes[t - 1]
        ctx.save_for_backward(flat)
        ctx.settings = (timesteps, width, channels_last)  # type: ignore[attr-defined]
        folded = torch.Size((timesteps * z.shape[0], *z.shape[1:]))
        return from_time(spikes, folded, channels_last=channels_last).view(timesteps, *z.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        (flat,) = ctx.saved_tensors  # type: ignore[attr-defined]
        timesteps, width, channels_last = ctx.settings  # type: ignore[attr-defined]
        shape = grad.shape[1:]
        by_step = by_time(grad.flatten(0, 1), timesteps, channels_last=channels_last)
        z_grad = torch.zeros_like(flat)
        level = levels(timesteps, device=flat.device, dtype=flat.dtype)
        for t in range(timesteps):
            code_grad = by_step[t] - by_step[t + 1] if t + 1 < timesteps else by_step[t]
            z_grad.addcmul_(triangle(flat - level[t], width), code_grad)
        return from_time(z_grad, shape, channels_last=channels_last), None, None


def latency_spikes(z: Tensor, timesteps: int, width: float) -> Tensor:
    """Spikes of the strengths `z`, one at most a feature, the stronger the earlier.

    The gradient is straight-through on the thermometer code: with ``G[t] = ∂L/∂s[t]`` and
    ``G[T+1] = 0`` it is ``∂L/∂z = Σ_t (G[t] - G[t+1]) · κ(z - θ_t)`` with the kernel
    ``κ(x) = max(0, 1 - |x|/w) / w``.

    Args:
        z: ``[B, ...]`` strengths; a spike at t = 1 above 1 - 1/T, none at all up to 0.
        timesteps: T.
        width: width w of the straight-through kernel.

    Returns:
        ``[T, B, ...]`` of zeros and ones in the type and memory format of `z`.

    Example:
        >>> latency_spikes(torch.tensor([[0.9, 0.3, -0.1]]), 2, 1.0).squeeze(1)
        tensor([[1., 0., 0.],
                [0., 1., 0.]])
    """
    spikes: Tensor = _LatencySpikes.apply(z, timesteps, width)
    return spikes


class LatencyEncoder(nn.Module):
    """Feature extraction and latency code of a still image, computed once an image.

    Args:
        in_channels: channels of the image.
        channels: features at each position.
        kernel: width of the convolution's kernel, odd; borders are padded with zeros.
        stride: stride of the convolution.
        timesteps: T.
        width: width of the straight-through kernel.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        kernel: int,
        stride: int,
        timesteps: int,
        width: float,
    ):
        super().__init__()
        self.timesteps = timesteps
        self.width = width
        self.conv = nn.Conv2d(
            in_channels, channels, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Parameter(torch.full((channels,), math.log(math.expm1(INITIAL_SCALE))))
        self.shift = nn.Parameter(torch.full((channels,), INITIAL_SHIFT))

    def strength(self, images: Tensor) -> Tensor:
        """The strengths z of the features, ``[B, C, H, W]`` float32, of images ``[B, C, H, W]``."""
        features = self.conv(images).to(self.gain.dtype)  # not in a lower precision
        # batch_norm's own affine step applies softplus(g) and β in the same pass
        return F.batch_norm(
            features,
            self.norm.running_mean,
            self.norm.running_var,
            F.softplus(self.gain),
            self.shift,
            self.training,
            self.norm.momentum or 0.0,
            self.norm.eps,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Spikes ``[T, B, C, H, W]`` of the images ``[B, C, H, W]``."""
        return latency_spikes(self.strength(images), self.timesteps, self.width)
