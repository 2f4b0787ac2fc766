"""Energy of an inference up to its decision, from the spikes that a network really sends.

``E[t] = MAC_enc · e_mac + Σ_{t' ≤ t} (Σ_l Σ_i s_i[t'] · fanout_l(i)) · e_ac + N · t · e_neuron``:
the encoder's multiply-accumulates once and in full, then each spike of each layer times its exact
fan-out (borders, strides, and weights of zero excluded), and N hidden neurons updated every step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import TracebackType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from latsearch.config.energy import EnergyProfile
from latsearch.snn.layers import OutputLayer, SpikingLayer
from latsearch.snn.layout import is_channels_last
from latsearch.snn.networks import LatencyNetwork

NJ_PER_PJ = 1e-3
_EXACT_IN_FLOAT32 = 2.0**24


def fan_out(synapse: nn.Conv2d | nn.Linear, shape: tuple[int, ...]) -> Tensor:
    """Number of nonzero synapses that leave each input of a layer.

    Args:
        synapse: the layer's weights.
        shape: shape of its input, without the batch; for a linear layer any that flattens to it.

    Returns:
        Float32 in that shape.
    """
    present = (synapse.weight.detach() != 0).float()
    if isinstance(synapse, nn.Linear):
        return present.sum(0).view(shape)
    return _conv_fan_out(present, shape, synapse)


def _conv_fan_out(present: Tensor, shape: tuple[int, ...], conv: nn.Conv2d) -> Tensor:
    """Sum over the outputs that each input reaches: a transposed convolution of ones."""
    kernel, stride, pad = conv.kernel_size[0], conv.stride[0], conv.kernel_size[0] // 2
    steps = [(size + 2 * pad - kernel) // stride + 1 for size in shape[1:]]
    unreached = [
        size - ((count - 1) * stride - 2 * pad + kernel)
        for size, count in zip(shape[1:], steps, strict=True)
    ]
    ones = torch.ones(1, present.shape[0], *steps, device=present.device)
    reached = F.conv_transpose2d(
        ones, present, stride=stride, padding=pad, output_padding=unreached
    )
    return reached[0].round()


def dense_fan_out(synapse: nn.Conv2d | nn.Linear, shape: tuple[int, ...]) -> float:
    """Number of synapses of a layer were no weight zero; needs no weights (meta device)."""
    if isinstance(synapse, nn.Linear):
        return float(synapse.in_features * synapse.out_features)
    one = torch.ones(1, 1, *synapse.kernel_size, device="cpu")
    taps = _conv_fan_out(one, (1, *shape[1:]), synapse).sum().item()
    return taps * synapse.in_channels * synapse.out_channels


def dense_energy(network: LatencyNetwork, profile: EnergyProfile) -> float:
    """Upper bound of the energy of an inference in nJ: every input spikes at every timestep.

    Works on the meta device.
    """
    layers: list[SpikingLayer | OutputLayer] = [*network.layers(), network.output]
    operations = sum(
        dense_fan_out(layer.synapse, layer.synapse_shape) * layer.largest_input for layer in layers
    )
    macs = dense_fan_out(network.encoder.conv, network.input_shape)
    per_step = operations * profile.ac + network.hidden_neurons() * profile.neuron
    return NJ_PER_PJ * (macs * profile.mac + network.timesteps * per_step)


def conventions(profile: EnergyProfile) -> str:
    """What is counted and at which prices, to print beside every figure."""
    return (
        f"{profile.name}: MAC {profile.mac:g} pJ, AC {profile.ac:g} pJ, neuron update "
        f"{profile.neuron:g} pJ ({profile.source}). Encoder: its MACs once an image, in full, "
        "whenever it decides; its T comparisons are free. Hidden and output layers: one AC for "
        "each spike and each nonzero synapse it reaches, borders and strides exact, up to the "
        "decision; a sum-pooled input of n spikes is n ACs. Neurons: every hidden neuron is "
        "updated at every timestep. Batch normalisation is folded, max pooling and memory "
        "accesses are free."
    )


@dataclass(frozen=True, eq=False)
class EnergyReport:
    """Energy of a set of inferences.

    Attributes:
        encoder: nJ of the encoder, the same for all.
        hidden: ``[T, B]`` nJ of the hidden layers up to and with timestep t, neurons included.
        output: ``[T, B]`` nJ of the output layer up to and with timestep t.
        firing_rates: spikes a neuron and timestep of the encoder, then of each hidden layer.
        firing_rate: spikes a neuron and timestep over all hidden layers.
    """

    encoder: float
    hidden: Tensor
    output: Tensor
    firing_rates: tuple[float, ...]
    firing_rate: float

    def cumulative(self) -> Tensor:
        """``[T, B]`` float64: energy in nJ of an inference that decides at t."""
        return self.encoder + self.hidden + self.output

    def shares(self) -> dict[str, float]:
        """Fractions of the mean energy at T: ``encoder``, ``hidden``, ``output``."""
        parts = {
            "encoder": self.encoder,
            "hidden": float(self.hidden[-1].mean()),
            "output": float(self.output[-1].mean()),
        }
        total = sum(parts.values())
        return {name: part / total if total else 0.0 for name, part in parts.items()}


class EnergyMeter:
    """Counts the operations of a network's forward passes while it is entered.

    Args:
        network: the network, in evaluation mode; its weights must not change meanwhile.
        profile: the prices.

    Example:
        ``with EnergyMeter(network, profile) as meter: network(images)``, then ``meter.report()``.
    """

    def __init__(self, network: LatencyNetwork, profile: EnergyProfile):
        self._network = network
        self._profile = profile
        self._counts: list[list[Tensor]] = []
        self._spikes: list[Tensor] = []
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> EnergyMeter:
        hidden = self._network.layers()
        layers: list[SpikingLayer | OutputLayer] = [*hidden, self._network.output]
        self._handles = [self._count(layer) for layer in layers]
        senders = [self._network.encoder, *(layer.neuron for layer in hidden)]
        self._handles += [self._watch(sender) for sender in senders]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _count(self, layer: SpikingLayer | OutputLayer) -> RemovableHandle:
        """Count the synaptic operations of the layer's inputs."""
        if isinstance(layer, OutputLayer):
            fan = torch.full(
                layer.synapse_shape,
                float(self._network.classes),
                device=layer.synapse.weight.device,
            )
        else:
            fan = fan_out(layer.synapse, layer.synapse_shape)
        most = float(fan.sum()) * layer.largest_input
        exact = fan.float() if most < _EXACT_IN_FLOAT32 else fan.double()
        batches: list[Tensor] = []
        self._counts.append(batches)

        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            operations = _weighted_sum(inputs[0].detach(), exact)
            batches.append(operations.double().view(self._network.timesteps, -1))

        return layer.synapse.register_forward_pre_hook(hook)

    def _watch(self, module: nn.Module) -> RemovableHandle:
        """Sum the spikes that the module sends."""
        total = torch.zeros(2, dtype=torch.float64)
        self._spikes.append(total)

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
            total[0] += spikes.detach().sum(dtype=torch.float32).item()
            total[1] += spikes.numel()

        return module.register_forward_hook(hook)

    def report(self) -> EnergyReport:
        """The energy of all samples since the meter was made, in their order.

        Raises:
            ValueError: no sample went through the network.
        """
        if not self._counts or not self._counts[0]:
            raise ValueError("nothing to report: no forward pass went through the meter")
        per_layer = [torch.cat(batches, dim=1).cumsum(0) for batches in self._counts]
        steps = torch.arange(1, self._network.timesteps + 1, device=per_layer[0].device)
        updates = self._network.hidden_neurons() * steps.double()[:, None]
        none = torch.zeros_like(per_layer[-1])
        operations = sum(per_layer[:-1], none)
        profile = self._profile
        sent = torch.stack(self._spikes)
        hidden_sent = sent[1:].sum(0)
        macs = float(fan_out(self._network.encoder.conv, self._network.input_shape).double().sum())
        return EnergyReport(
            encoder=NJ_PER_PJ * macs * profile.mac,
            hidden=NJ_PER_PJ * (operations * profile.ac + updates * profile.neuron),
            output=NJ_PER_PJ * per_layer[-1] * profile.ac,
            firing_rates=tuple((sent[:, 0] / sent[:, 1]).tolist()),
            firing_rate=float(hidden_sent[0] / hidden_sent[1].clamp_min(1)),
        )


def _weighted_sum(spikes: Tensor, fan: Tensor) -> Tensor:
    """``[T*B]``: each sample's spikes times their fan-out; exact, being integers in range."""
    if is_channels_last(spikes):
        spikes, fan = spikes.permute(0, 2, 3, 1), fan.permute(1, 2, 0)
    flat = spikes.reshape(len(spikes), math.prod(fan.shape)).to(fan.dtype)
    return flat @ fan.reshape(-1)
