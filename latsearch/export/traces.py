"""What a network did, spike by spike, and where rounding may change it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latsearch.snn.decoding import Decision, decide
from latsearch.snn.encoding import Encoder, LatencyEncoder, RateEncoder, levels
from latsearch.snn.networks import LatencyNetwork
from latsearch.snn.neurons import SpikingNeuron

TOLERANCE = 1e-5  # of a potential's distance to a threshold; of thresholds above one, as a part


@dataclass(frozen=True, eq=False)
class Trace:
    """What a network did with a batch.

    Attributes:
        layers: spikes of the encoder and of each hidden layer, ``[T, B, ...]`` booleans, or their
            number, ``[T, B]``; of units that do not spike, those above zero.
        potentials: ``[T, B, K]`` of the output.
        decision: what it decided.
    """

    layers: Sequence[Tensor]
    potentials: Tensor
    decision: Decision


@dataclass(frozen=True, eq=False)
class Reference(Trace):
    """What our own network did.

    Attributes:
        distances: by layer, ``[T, B, ...]``: how far a potential was from the threshold that
            decided on a spike, relative to thresholds above one.
    """

    distances: Sequence[Tensor]


def layer_names(network: LatencyNetwork) -> list[str]:
    """Names of the layers of a trace."""
    return ["encoder", *(f"layer{i}" for i, _ in enumerate(network.hidden_layers(), start=1))]


@torch.inference_mode()
def reference(network: LatencyNetwork, images: Tensor, decision_threshold: float) -> Reference:
    """Run a network in evaluation mode, its batch normalisations as they were trained.

    Args:
        network: the network.
        images: normalised, ``[B, C, H, W]``, or event frames ``[B, T, P, H, W]``.
        decision_threshold: potential above which a class spikes.
    """
    units = [unit for unit, _ in network.hidden_layers()]
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        seen[module] = (inputs[0], out)

    watched = [
        network.encoder,
        *units,
        *([network.encoder.neuron] if network.encoder.neuron else []),
    ]
    handles = [module.register_forward_hook(hook) for module in watched]
    try:
        potentials = network(images)
    finally:
        for handle in handles:
            handle.remove()
    of = [_unit_distances(unit, *seen[unit], network.timesteps) for unit in units]
    spikes = [by_step(seen[unit][1], network.timesteps) > 0 for unit in units]
    first = _encoder_distances(network.encoder, images, seen)
    return Reference(
        [seen[network.encoder][1] > 0, *spikes],
        potentials,
        decide(potentials, decision_threshold, network.config.decision),
        [first, *of],
    )


def by_step(x: Tensor, timesteps: int) -> Tensor:
    """``[T, B, ...]`` of ``[T*B, ...]``."""
    return x.reshape(timesteps, -1, *x.shape[1:])


def _unit_distances(unit: nn.Module, current: Tensor, out: Tensor, timesteps: int) -> Tensor:
    """``[T, B, ...]`` of hidden units that received a current and sent `out`."""
    currents, sent = by_step(current, timesteps), by_step(out, timesteps)
    if not isinstance(unit, SpikingNeuron):
        return currents.abs()
    rule, learned = unit.rule, unit.keep()
    keep = rule.keep if learned is None else float(learned)
    v, spent, found = torch.zeros_like(currents[0]), torch.zeros_like(currents[0]), []
    for current_now, spikes in zip(currents, sent, strict=True):
        h = keep * v + current_now
        distance = _distance(h, rule.firing_threshold)
        if rule.strict:
            distance = torch.where(spent > 0, torch.inf, distance)
            spent = spent + spikes
        v = h - rule.firing_threshold * spikes if rule.soft_reset else h * (1.0 - spikes)
        found.append(distance)
    return torch.stack(found)


def _distance(potential: Tensor, threshold: float) -> Tensor:
    return (potential - threshold).abs() / max(1.0, abs(threshold))


def _encoder_distances(
    encoder: Encoder, images: Tensor, seen: dict[nn.Module, tuple[Tensor, Tensor]]
) -> Tensor:
    if encoder.neuron is not None:
        return _unit_distances(encoder.neuron, *seen[encoder.neuron], encoder.timesteps)
    z = encoder.strength(images)
    if isinstance(encoder, LatencyEncoder):
        marks = levels(encoder.timesteps, device=z.device, dtype=z.dtype, spacing=encoder.spacing)
        at = torch.stack([(z - mark).abs() for mark in marks])
        # a spike at t says z > θ_t and z <= θ_{t-1}
        return torch.cat([at[:1], torch.minimum(at[1:], at[:-1])])
    if isinstance(encoder, RateEncoder):
        noise = encoder.noise.view(encoder.timesteps, 1, *encoder.output_shape)
        return (z - noise).abs()
    return z.abs().expand(encoder.timesteps, *z.shape)


Runner = Callable[[Tensor], Trace]
"""Runs an exported file on pixels ``[B, ...]`` uint8."""
