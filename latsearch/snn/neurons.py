"""Hidden neurons over all timesteps at once: IF and LIF with hand-written backward.

``h[t] = λ v[t-1] + I[t]``, ``s[t] = 1[h[t] > firing_threshold]``, then hard reset ``v = h (1 - s)``
or soft reset ``v = h - firing_threshold · s``, with s detached in the reset. λ = 1 for IF and
``1 - 1/tau_mem`` for LIF. A `strict` neuron spikes once at most: ``s[t] · Π_{t'<t} (1 - s[t'])``
with the product detached. Potentials are in the units of the firing threshold, times in timesteps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from latsearch.snn.kernels import Scans, scans
from latsearch.snn.layout import by_time, from_time, is_channels_last


@dataclass(frozen=True, slots=True)
class FiringRule:
    """What a hidden neuron does in a timestep.

    Attributes:
        keep: fraction λ of the membrane potential that is kept to the next timestep.
        firing_threshold: membrane potential above which the neuron spikes.
        soft_reset: whether a spike subtracts the firing threshold; else it sets to zero.
        strict: whether the neuron spikes once at most.
        surrogate: name of the surrogate derivative.
        surrogate_width: width of the surrogate relative to the firing threshold.
    """

    keep: float = 1.0
    firing_threshold: float = 1.0
    soft_reset: bool = False
    strict: bool = False
    surrogate: str = "triangle"
    surrogate_width: float = 1.0


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, current: Tensor, timesteps: int, rule: FiringRule, kernels: Scans
    ) -> Tensor:
        channels_last = is_channels_last(current)
        flat = by_time(current, timesteps, channels_last=channels_last)
        spikes, potentials = kernels.fire(
            flat, rule.keep, rule.firing_threshold, rule.soft_reset, rule.strict
        )
        ctx.save_for_backward(potentials, spikes)
        ctx.settings = (timesteps, rule, kernels, channels_last)  # type: ignore[attr-defined]
        return from_time(spikes, current.shape, channels_last=channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        potentials, spikes = ctx.saved_tensors  # type: ignore[attr-defined]
        timesteps, rule, kernels, channels_last = ctx.settings  # type: ignore[attr-defined]
        flat = by_time(grad, timesteps, channels_last=channels_last)
        current_grad = kernels.fire_backward(
            flat,
            potentials,
            spikes,
            rule.keep,
            rule.firing_threshold,
            rule.soft_reset,
            rule.surrogate,
            rule.surrogate_width * rule.firing_threshold,
        )
        return from_time(current_grad, grad.shape, channels_last=channels_last), None, None, None


def fire(current: Tensor, timesteps: int, rule: FiringRule, *, compiled: bool = False) -> Tensor:
    """Spikes of neurons that receive `current`.

    Args:
        current: ``[T*B, ...]``, time folded into the batch with t as the slow index.
        timesteps: T.
        rule: the neurons' behaviour.
        compiled: whether to use compiled kernels where the machine can compile.

    Returns:
        Zeros and ones in the shape, type and memory format of `current`.
    """
    spikes: Tensor = _Fire.apply(current, timesteps, rule, scans(compiled))
    return spikes


class SpikingNeuron(nn.Module):
    """A layer of hidden neurons, `fire` as a module.

    Args:
        timesteps: T.
        rule: the neurons' behaviour.

    Attributes:
        compiled: whether compiled kernels are used; `LatencyNetwork.use_compiled_kernels` sets it.
    """

    def __init__(self, timesteps: int, rule: FiringRule):
        super().__init__()
        self.timesteps = timesteps
        self.rule = rule
        self.compiled = False

    def forward(self, current: Tensor) -> Tensor:
        """Spikes ``[T*B, ...]`` of the currents ``[T*B, ...]``."""
        return fire(current, self.timesteps, self.rule, compiled=self.compiled)
