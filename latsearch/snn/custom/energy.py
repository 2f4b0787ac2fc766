"""Operations of the user's network, counted through hooks on its layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from latsearch.config.energy import EnergyProfile, LayerMemory
from latsearch.errors import UserError
from latsearch.snn.custom.layers import CountedLayer
from latsearch.snn.custom.network import CustomNetwork
from latsearch.snn.hooks import Watching
from latsearch.snn.operations import NJ_PER_PJ, EnergyReport, LayerOperations, NeuronUpdates

CUSTOM_CONVENTIONS = (
    "The network is the user's own code: its linear layers and convolutions are counted as they "
    "are called. One that is called once for a batch of images: its MACs once, in full. One that "
    "is called for every timestep: ACs where its inputs were all whole numbers, else a MAC for "
    "each input that is not zero. Neurons are the modules with `spiking = True` and those of "
    "latsearch, SpikingJelly and snnTorch; where there are none, one neuron for each output of a "
    "layer, the last and one that is called once left out. What is computed by other means is free."
)


class CustomMeter(Watching):
    """Counts the operations of a network's forward passes while it is entered.

    Args:
        network: the network, in evaluation mode; its weights must not change meanwhile.
        profile: the prices.
    """

    def __init__(self, network: CustomNetwork, profile: EnergyProfile):
        self._network = network
        self._profile = profile
        self._counters: list[_Counter] = []
        self._sent: list[Tensor] = []
        self._batches: list[int] = []

    def _attach(self) -> list[RemovableHandle]:
        network = self._network
        self._counters = [_Counter(layer, network) for layer in network.layers]
        taps = [network.encoded()[0], *(tap for tap, _ in network.hidden_layers())]
        return [
            network.register_forward_pre_hook(self._begin),
            *(counter.attach() for counter in self._counters),
            *(self._watch(tap) for tap in taps),
        ]

    def _begin(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._batches.append(len(inputs[0]))
        for counter in self._counters:
            counter.begin(len(inputs[0]))

    def _watch(self, tap: nn.Module) -> RemovableHandle:
        total = torch.zeros(2, dtype=torch.float64)
        self._sent.append(total)

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
            total[0] += spikes.detach().sum(dtype=torch.float32).item()
            total[1] += spikes.numel()

        return tap.register_forward_hook(hook)

    def report(self) -> EnergyReport:
        """The energy of all samples since the meter was made, in their order.

        NaN throughout where the network has parts that cannot be counted.

        Raises:
            ValueError: no sample went through the network.
        """
        if not self._batches:
            raise ValueError("nothing to report: no forward pass went through the meter")
        network, profile = self._network, self._profile
        none = torch.zeros(network.timesteps, sum(self._batches), dtype=torch.float64)
        free = LayerOperations(none, none, LayerMemory(0, 0, 0))
        operations = [counter.operations(profile) for counter in self._counters]
        if network.uncounted:
            operations = [free, LayerOperations(none + math.nan, none, LayerMemory(0, 0, 0))]
        stem, *rest = operations
        sent = torch.stack(self._sent)
        hidden = sent[1:].sum(0)
        return EnergyReport(
            stem=stem,
            hidden=tuple(rest[:-1]),
            output=rest[-1] if rest else free,
            updates=tuple(NeuronUpdates(count) for count in network.updates()),
            profile=profile,
            firing_rates=tuple((sent[:, 0] / sent[:, 1].clamp_min(1)).tolist()),
            firing_rate=float(hidden[0] / hidden[1].clamp_min(1)),
        )


class _Counter:
    """Counts the synaptic operations of one layer from what it receives.

    Args:
        layer: the layer.
        network: the network that it belongs to.
    """

    def __init__(self, layer: CountedLayer, network: CustomNetwork):
        self._layer = layer
        self._network = network
        self._frames = layer.first and network.config.encoder == "frames"
        self._fan = layer.fan_out()
        self._batch = 0
        self._steps: list[tuple[Tensor, Tensor, Tensor]] = []  # of the batch, [rows] each
        self._batches: list[list[tuple[Tensor, Tensor, Tensor]]] = []
        self._whole = True
        self._largest = 0.0

    def begin(self, batch: int) -> None:
        """A forward pass of so many samples begins."""
        self._batch = batch
        self._steps = []
        self._batches.append(self._steps)

    def attach(self) -> RemovableHandle:
        """Count from now on."""
        return self._layer.module.register_forward_pre_hook(self._count)

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = self._layer.rows(inputs[0].detach())
        self._whole = self._whole and bool((x == x.round()).all())
        self._largest = max(self._largest, float(x.abs().max()))
        self._steps.append(tuple(map(self._weighted, (x.abs(), x != 0, x == 1))))  # type: ignore[arg-type]

    def _weighted(self, x: Tensor) -> Tensor:
        """``[rows]`` float64: the inputs times their fan-out."""
        return x.flatten(1).double() @ self._fan.flatten()

    def operations(self, profile: EnergyProfile) -> LayerOperations:
        """All that was counted."""
        added, multiplied = zip(*(self._of_batch(b, profile) for b in self._batches), strict=True)
        memory = self._layer.memory
        return LayerOperations(torch.cat(added, 1), torch.cat(multiplied, 1), memory)

    def _of_batch(
        self, steps: list[tuple[Tensor, Tensor, Tensor]], profile: EnergyProfile
    ) -> tuple[Tensor, Tensor]:
        """Accumulates and multiplies of one forward pass, ``[T, B]`` each."""
        layer, timesteps = self._layer, self._network.timesteps
        sums, active, ones = (torch.cat(parts) for parts in zip(*steps, strict=True))
        if layer.rhythm == "once":
            samples = len(sums)
            multiplies = torch.zeros(timesteps, samples, dtype=torch.float64, device=sums.device)
            multiplies[0] = self._fan.sum()
            return torch.zeros_like(multiplies), multiplies
        if len(sums) % timesteps:
            raise UserError(
                f"network.function = {self._network.config.function}: {layer.name} received "
                f"{len(sums)} rows for T = {timesteps}; call it as often for every batch"
            )
        sums, active, ones = (x.view(timesteps, -1) for x in (sums, active, ones))
        if self._frames:
            return ones, active - ones
        if self._whole and not (profile.pooled_mac and self._largest > 1):
            return sums, torch.zeros_like(sums)
        return torch.zeros_like(active), active


def refuse_uncounted(network: CustomNetwork) -> None:
    """Refuse a network whose energy is asked for, but cannot be counted.

    Raises:
        UserError: the network has such parts.
    """
    if network.uncounted:
        raise UserError(
            f"network.function = {network.config.function}: cannot count the operations of "
            f"{', '.join(network.uncounted)}; counted are Linear and convolutions that are called "
            "as modules, once a batch or once a timestep; use those, or leave energy and macs out "
            "of objectives and constraints"
        )


def dense_operations(network: CustomNetwork) -> tuple[float, float]:
    """Synaptic operations were no input and no weight zero: once an image, and a timestep."""
    refuse_uncounted(network)
    once = step = 0.0
    for layer in network.layers:
        taps = float(layer.fan_out(dense=True).sum())
        if layer.rhythm == "once":
            once += taps
        else:
            step += taps * _most(layer)
    return once, step


def dense_energy(network: CustomNetwork, profile: EnergyProfile) -> float:
    """Energy of an inference in nJ were every input to spike at every timestep."""
    refuse_uncounted(network)
    once = step = 0.0
    for layer in network.layers:
        taps, prices = float(layer.fan_out(dense=True).sum()), profile.prices(layer.memory)
        if layer.rhythm == "once":
            once += taps * prices.mac
        elif layer.largest is None or layer.first or (profile.pooled_mac and layer.largest > 1):
            step += taps * prices.mac
        else:
            step += taps * prices.ac * _most(layer)
    for count in network.updates():
        step += count * profile.prices(NeuronUpdates(count).memory).neuron
    return NJ_PER_PJ * (once + network.timesteps * step)


def ordinary_energy(network: CustomNetwork, profile: EnergyProfile) -> float:
    """Energy in nJ of an ordinary network with the same layers: one MAC for each synapse."""
    refuse_uncounted(network)
    total = 0.0
    for layer in network.layers:
        total += float(layer.fan_out(dense=True).sum()) * profile.prices(layer.memory).mac
    return NJ_PER_PJ * total


def _most(layer: CountedLayer) -> float:
    """Spikes that one input sends in one timestep, as many as were seen in a first look."""
    return max(1.0, layer.largest or 1.0)
