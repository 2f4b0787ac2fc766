"""What tells a healthy network from one that only seems to work.

Silent neurons waste a network, saturated ones carry no time, spikes on a blank input are made by
biases and fake a low latency, and gradients that vanish show in their norms by layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from latsearch.snn.hooks import Watching
from latsearch.snn.networks import Network
from latsearch.snn.neurons import SpikingNeuron

SATURATED = 0.99  # share of all timesteps and samples from which on a neuron counts as saturated


class NeuronActivity(Watching):
    """How often each hidden neuron is active in the forward passes while this is entered.

    A unit of an ordinary network is active where it sends more than zero.

    Args:
        network: the network.
    """

    def __init__(self, network: Network):
        self._units = [unit for unit, _ in network.hidden_layers()]
        self._active: dict[nn.Module, Tensor] = {}
        self._seen = 0

    def _attach(self) -> list[RemovableHandle]:
        return [unit.register_forward_hook(self._count) for unit in self._units]

    def _count(self, unit: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        if isinstance(unit, SpikingNeuron):
            active = out.sum(0, dtype=torch.float32).double()
        else:
            active = (out > 0).sum(0).double()
        before = self._active.get(unit)
        self._active[unit] = active if before is None else before + active
        if unit is self._units[0]:
            self._seen += len(out)

    def firing_rate(self) -> float:
        """Share of neurons, timesteps and samples that are active; 0 without hidden neurons."""
        rates = self._rates()
        return float(rates.mean()) if len(rates) else 0.0

    def silent(self) -> float:
        """Fraction of the hidden neurons that were never active."""
        rates = self._rates()
        return float((rates == 0).double().mean()) if len(rates) else 0.0

    def saturated(self) -> float:
        """Fraction of the hidden neurons that were active nearly always."""
        rates = self._rates()
        return float((rates >= SATURATED).double().mean()) if len(rates) else 0.0

    def _rates(self) -> Tensor:
        """``[N]`` of all hidden neurons."""
        if not self._seen:
            return torch.zeros(0)
        counts = [active.flatten() for active in self._active.values()]
        return torch.cat(counts) / self._seen


def blank_firing_rate(network: Network, blank: Tensor) -> float:
    """Spikes a hidden neuron and timestep on an input without content.

    Args:
        network: the network, in evaluation mode.
        blank: a normalised image ``[1, C, H, W]`` that was black, or frames without events.
    """
    with torch.inference_mode(), NeuronActivity(network) as activity:
        network(blank)
    return activity.firing_rate()


class GradientNorms:
    """Norms of the gradients of each layer's synapses.

    Args:
        network: the network.

    Attributes:
        names: ``grad_norm_encoder``, ``grad_norm_layer1``, …, ``grad_norm_output``; shortcuts with
            weights are counted among the layers.
    """

    def __init__(self, network: Network):
        named = network.layer_weights()
        self._weights = [weight for _, weight in named]
        self.names = [f"grad_norm_{name}" for name, _ in named]

    def read(self) -> Tensor:
        """``[L]``: the norms after a backward pass; zero where a weight has no gradient."""
        norms = [
            torch.zeros((), device=w.device) if w.grad is None else w.grad.norm().float()
            for w in self._weights
        ]
        return torch.stack(norms) if norms else torch.zeros(0)
