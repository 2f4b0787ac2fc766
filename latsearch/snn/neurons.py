"""Hidden neurons over all timesteps at once: IF and LIF with hand-written backward.

``h[t] = λ v[t-1] + I[t]``, ``s[t] = 1[h[t] > firing_threshold]``, then hard reset ``v = h (1 - s)``
or soft reset ``v = h - firing_threshold · s``, with s detached in the reset. λ = 1 for IF and
``1 - 1/tau_mem`` for LIF. A `strict` neuron spikes once at most: ``s[t] · Π_{t'<t} (1 - s[t'])``
with the product detached. Potentials are in the units of the firing threshold, times in timesteps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from latsearch.config.trial import NetworkConfig
from latsearch.snn.kernels import Scans, kept_potentials, scans
from latsearch.snn.layout import by_time, from_time, is_channels_last

_LEAST_KEEP = 0.01  # a learned λ starts inside 0..1, where its logit is finite


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


def firing_rule(config: NetworkConfig, neuron: str | None = None) -> FiringRule:
    """The hidden neurons' behaviour in a configuration; `neuron` in place of its own model."""
    return FiringRule(
        keep=1.0 if (neuron or config.neuron) == "if" else 1.0 - 1.0 / config.tau_mem,
        firing_threshold=config.firing_threshold,
        soft_reset=config.reset == "soft",
        strict=config.spiking == "strict",
        surrogate=config.surrogate,
        surrogate_width=config.surrogate_width,
    )


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        current: Tensor,
        learned_keep: Tensor | None,
        timesteps: int,
        rule: FiringRule,
        kernels: Scans,
    ) -> Tensor:
        channels_last = is_channels_last(current)
        flat = by_time(current, timesteps, channels_last=channels_last)
        keep = rule.keep if learned_keep is None else learned_keep.to(flat.dtype)
        spikes, potentials = kernels.fire(
            flat, keep, rule.firing_threshold, rule.soft_reset, rule.strict
        )
        ctx.save_for_backward(potentials, spikes, learned_keep)  # type: ignore[arg-type]
        ctx.settings = (timesteps, rule, kernels, channels_last)  # type: ignore[attr-defined]
        return from_time(spikes, current.shape, channels_last=channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        potentials, spikes, learned_keep = ctx.saved_tensors  # type: ignore[attr-defined]
        timesteps, rule, kernels, channels_last = ctx.settings  # type: ignore[attr-defined]
        flat = by_time(grad, timesteps, channels_last=channels_last)
        keep = rule.keep if learned_keep is None else learned_keep.to(flat.dtype)
        current_grad = kernels.fire_backward(
            flat,
            potentials,
            spikes,
            keep,
            rule.firing_threshold,
            rule.soft_reset,
            rule.surrogate,
            rule.surrogate_width * rule.firing_threshold,
        )
        keep_grad = None
        if learned_keep is not None:
            kept = kept_potentials(
                potentials[:-1], spikes[:-1], rule.firing_threshold, rule.soft_reset
            )
            products = torch.mul(current_grad[1:], kept)
            keep_grad = products.sum(dtype=learned_keep.dtype)
        folded = from_time(current_grad, grad.shape, channels_last=channels_last)
        return folded, keep_grad, None, None, None


def fire(
    current: Tensor,
    timesteps: int,
    rule: FiringRule,
    *,
    keep: Tensor | None = None,
    compiled: bool = False,
) -> Tensor:
    """Spikes of neurons that receive `current`.

    Args:
        current: ``[T*B, ...]``, time folded into the batch with t as the slow index.
        timesteps: T.
        rule: the neurons' behaviour.
        keep: λ as a scalar tensor that is learned; None for the rule's.
        compiled: whether to use compiled kernels where the machine can compile.

    Returns:
        Zeros and ones in the shape, type and memory format of `current`.
    """
    spikes: Tensor = _Fire.apply(current, keep, timesteps, rule, scans(compiled))
    return spikes


class SpikingNeuron(nn.Module):
    """A layer of hidden neurons, `fire` as a module.

    Args:
        timesteps: T.
        rule: the neurons' behaviour.
        learn_keep: whether λ is learned, one number a layer, ``λ = σ(keep_logit)`` (parametric LIF,
            arXiv 2007.05785).

    Attributes:
        compiled: whether compiled kernels are used; `LatencyNetwork.use_compiled_kernels` sets it.
    """

    def __init__(self, timesteps: int, rule: FiringRule, *, learn_keep: bool = False):
        super().__init__()
        self.timesteps = timesteps
        self.rule = rule
        self.compiled = False
        self.keep_logit: nn.Parameter | None = None
        if learn_keep:
            start = min(max(rule.keep, _LEAST_KEEP), 1.0 - _LEAST_KEEP)
            self.keep_logit = nn.Parameter(torch.tensor(math.log(start / (1.0 - start))))

    def keep(self) -> Tensor | None:
        """The learned λ, a scalar; None where it is the rule's."""
        return None if self.keep_logit is None else torch.sigmoid(self.keep_logit)

    def forward(self, current: Tensor) -> Tensor:
        """Spikes ``[T*B, ...]`` of the currents ``[T*B, ...]``."""
        return fire(current, self.timesteps, self.rule, keep=self.keep(), compiled=self.compiled)


class ReluNeuron(nn.Module):
    """An ordinary network's unit, ``max(0, x)``, in place of a spiking one."""

    def forward(self, current: Tensor) -> Tensor:
        """Activations in the shape of `current`."""
        return torch.relu(current)


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        signs: Tensor = torch.where(x > 0, 1.0, -1.0).to(x.dtype)
        return signs

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad.mul(x.abs() <= 1)


class SignNeuron(nn.Module):
    """A 1-bit activation, +1 above zero and -1 else; straight-through where ``|x| <= 1``.

    The straight-through estimator of binarised networks (arXiv 1602.02830).
    """

    def forward(self, current: Tensor) -> Tensor:
        """Plus or minus one in the shape of `current`."""
        signs: Tensor = _Sign.apply(current)
        return signs


# units without a state over time: their networks run in one timestep
STATELESS: Mapping[str, type[nn.Module]] = {"relu": ReluNeuron, "sign": SignNeuron}


def initial_gain(config: NetworkConfig) -> float:
    """γ of the normalisation before hidden units at the start: the firing threshold, if any."""
    return 1.0 if config.neuron in STATELESS else config.firing_threshold


def build_neuron(config: NetworkConfig, timesteps: int, neuron: str | None = None) -> nn.Module:
    """A layer of hidden neurons.

    Args:
        config: the network's configuration.
        timesteps: T.
        neuron: ``if`` or ``lif`` in place of the network's spiking model.
    """
    if config.neuron in STATELESS:
        return STATELESS[config.neuron]()
    model = neuron or config.neuron
    learn = model == "lif" and config.learn_tau_mem
    return SpikingNeuron(timesteps, firing_rule(config, model), learn_keep=learn)
