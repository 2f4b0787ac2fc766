"""Which layers of the user's network are counted, and what is known of each from a first look."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latsearch.config.energy import LayerMemory
from latsearch.snn.neurons import SpikingNeuron

COUNTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

Rhythm = Literal["once", "folded", "stepwise"]

# neurons of other libraries, by the module and name of their base class
_NEURONS = (("spikingjelly", "BaseNode"), ("snntorch", "SpikingNeuron"))


@dataclass(frozen=True, eq=False)
class CountedLayer:
    """A layer with weights, as the user's forward pass calls it.

    Attributes:
        name: its name in the user's module.
        module: the layer.
        first: whether it is the first one called: it receives the images or frames.
        rhythm: called ``once`` with the batch, once with time ``folded`` into the batch (t the slow
            index), or T times, ``stepwise``.
        apart: whether time is a dimension of its own, ``[T, B, ...]``.
        input_shape: of one sample and timestep.
        output_shape: of one sample and timestep.
        largest: the largest input seen in a first look; None where inputs are no whole numbers.
    """

    name: str
    module: nn.Module
    first: bool
    rhythm: Rhythm
    apart: bool
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    largest: float | None

    @property
    def weight(self) -> Tensor:
        """The layer's weights."""
        weight: Tensor = self.module.weight  # type: ignore[assignment]
        return weight

    @property
    def memory(self) -> LayerMemory:
        """What it reads and writes."""
        return LayerMemory(
            weights=4 * self.weight.numel(),
            potentials=4 * math.prod(self.output_shape),
            inputs=4 * math.prod(self.input_shape),
        )

    def fan_out(self, *, dense: bool = False) -> Tensor:
        """Number of nonzero synapses that leave each input, float64 in the input's shape.

        Args:
            dense: whether weights of zero are counted too.
        """
        weight = self.weight.detach()
        present = torch.ones_like(weight) if dense else (weight != 0)
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.zeros(
                1, *self.input_shape, dtype=torch.float64, device=weight.device, requires_grad=True
            )
            reached = _apply(self.module, x, present.double().clone())
            (fan,) = torch.autograd.grad(reached.sum(), x)
        return fan[0].round()

    def rows(self, x: Tensor) -> Tensor:
        """An input with one row a sample and timestep."""
        return x.flatten(0, 1) if self.apart else x


def _apply(module: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """The layer with other weights and no bias."""
    if isinstance(module, nn.Linear):
        return F.linear(x, weight)
    assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    out: Tensor = module._conv_forward(x, weight, None)
    return out


class Tap(nn.Module):
    """Passes on what neurons send, one row a sample and timestep, for whoever watches it."""

    def forward(self, spikes: Tensor) -> Tensor:
        """The spikes as they are."""
        return spikes


def is_spiking(module: nn.Module) -> bool:
    """Whether a module's output are spikes: it says so, or is a neuron of a known library."""
    if isinstance(module, SpikingNeuron) or getattr(module, "spiking", False) is True:
        return True
    return any(
        kind.__name__ == name and kind.__module__.startswith(f"{library}.")
        for kind in type(module).__mro__
        for library, name in _NEURONS
    )


def uncounted_weights(network: nn.Module, called: set[nn.Module]) -> list[str]:
    """Modules with matrices of weights that no counted layer applies, in words."""
    found = []
    for name, module in network.named_modules():
        own = [p for p in module.parameters(recurse=False) if p.ndim >= 2]
        if own and module not in called:
            kind = type(module).__name__
            found.append(f"{name} ({kind})" if name else f"the weights of {kind} itself")
    return found
