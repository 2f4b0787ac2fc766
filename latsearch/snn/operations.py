"""Counted operations of inferences, and their energy at a profile's prices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latsearch.config.energy import EnergyProfile, LayerMemory, Prices

NJ_PER_PJ = 1e-3


@dataclass(frozen=True, eq=False)
class LayerOperations:
    """Synaptic operations of one layer, sample by sample.

    Attributes:
        accumulates: ``[T, B]`` operations with spikes in each timestep; n spikes at one input
            are n accumulates.
        multiplies: ``[T, B]`` operations with real values, or with event counts above one.
        memory: what it reads and writes.
        lead: timesteps by which the layer is ahead of a decision, 0 without delays.
    """

    accumulates: Tensor
    multiplies: Tensor
    memory: LayerMemory
    lead: int = 0

    def energy(self, profile: EnergyProfile) -> Tensor:
        """``[T, B]`` float64: nJ of each timestep."""
        prices = profile.prices(self.memory)
        priced = self.accumulates * prices.ac + self.multiplies * prices.mac
        return NJ_PER_PJ * priced

    def spent(self, profile: EnergyProfile) -> Tensor:
        """``[T, B]`` float64: nJ of an inference that decides at t."""
        return ahead(self.energy(profile).cumsum(0), self.lead)


@dataclass(frozen=True, slots=True)
class NeuronUpdates:
    """Units that are updated at every timestep.

    Attributes:
        count: how many.
        lead: timesteps by which they are ahead of a decision, 0 without delays.
    """

    count: int
    lead: int = 0

    def spent(self, prices: Prices, steps: Tensor) -> Tensor:
        """``[T, 1]`` float64: nJ of an inference that decides at t, of the steps ``[T, 1]``."""
        return (NJ_PER_PJ * prices.neuron * self.count) * ahead(steps, self.lead)

    @property
    def memory(self) -> LayerMemory:
        """What an update reads and writes."""
        return LayerMemory(weights=0, potentials=4 * self.count, inputs=0)


def ahead(total: Tensor, lead: int) -> Tensor:
    """``total[min(t + lead, T)]`` at each t, of totals ``[T, ...]``: no timestep is after T."""
    if lead == 0:
        return total
    index = torch.arange(len(total), device=total.device) + lead
    return total[index.clamp_max(len(total) - 1)]


@dataclass(frozen=True, eq=False)
class EnergyReport:
    """Operations and energy of a set of inferences.

    Attributes:
        stem: the encoder's operations; once an image in the first timestep where it is still.
        hidden: operations of each hidden projection, from the input to the output.
        output: operations of the output layer.
        updates: layers of units that are updated at every timestep.
        profile: prices of the operations.
        firing_rates: spikes a neuron and timestep of the encoder, then of each hidden layer.
        firing_rate: spikes a neuron and timestep over all hidden layers.
    """

    stem: LayerOperations
    hidden: tuple[LayerOperations, ...]
    output: LayerOperations
    updates: tuple[NeuronUpdates, ...]
    profile: EnergyProfile
    firing_rates: tuple[float, ...]
    firing_rate: float

    def parts(self) -> dict[str, Tensor]:
        """``[T, B]`` float64 nJ of an inference that decides at t, by part.

        ``encoder``, ``hidden`` and ``output`` are synaptic operations, ``neurons`` the updates.
        """
        encoder = self.stem.spent(self.profile)
        steps = torch.arange(1, len(encoder) + 1, device=encoder.device).double()[:, None]
        neurons = torch.zeros_like(steps)
        for layer in self.updates:
            neurons = neurons + layer.spent(self.profile.prices(layer.memory), steps)
        hidden = torch.zeros_like(encoder)
        for operations in self.hidden:
            hidden = hidden + operations.spent(self.profile)
        return {
            "encoder": encoder,
            "hidden": hidden,
            "neurons": neurons.expand_as(encoder),
            "output": self.output.spent(self.profile),
        }

    def cumulative(self) -> Tensor:
        """``[T, B]`` float64: energy in nJ of an inference that decides at t."""
        return torch.stack(list(self.parts().values())).sum(0)

    def shares(self) -> dict[str, float]:
        """Fractions of the mean energy at T, by part as in `parts`."""
        parts = {name: float(part[-1].mean()) for name, part in self.parts().items()}
        total = sum(parts.values())
        return {name: part / total if total else 0.0 for name, part in parts.items()}

    def synaptic_operations(self) -> Tensor:
        """``[T, B]`` float64: operations behind the encoder of an inference that decides at t."""
        layers = (*self.hidden, self.output)
        counted = [ahead((x.accumulates + x.multiplies).cumsum(0), x.lead) for x in layers]
        return torch.stack(counted).sum(0)
