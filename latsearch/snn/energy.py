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
from latsearch.snn.encoding import Encoder
from latsearch.snn.layers import Identity, OutputLayer, Projection
from latsearch.snn.layout import is_channels_last
from latsearch.snn.networks import LatencyNetwork

NJ_PER_PJ = 1e-3
_Layer = Encoder | Projection | Identity | OutputLayer
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


def dense_operations(network: LatencyNetwork) -> tuple[float, float]:
    """Synaptic operations were no input and no weight zero; works on the meta device.

    Returns:
        Those of the stem, computed once, and those of all other layers in one timestep.
    """
    stem = dense_fan_out(network.encoder.conv, network.input_shape)
    behind = sum(
        dense_fan_out(layer.synapse, layer.synapse_shape) * layer.largest_input
        if not isinstance(layer, Identity)
        else float(math.prod(layer.input_shape)) * layer.largest_input
        for layer in (*network.projections(), network.output)
    )
    return stem, behind


def dense_energy(network: LatencyNetwork, profile: EnergyProfile) -> float:
    """Upper bound of the energy of an inference in nJ: every input spikes at every timestep.

    Works on the meta device.
    """
    stem, behind = dense_operations(network)
    per_step = network.updated_neurons() * profile.neuron
    per_step += behind * (profile.mac if network.analog else profile.ac)
    if not network.encoder.still:
        per_step += stem * profile.mac
        stem = 0.0
    return NJ_PER_PJ * (stem * profile.mac + network.timesteps * per_step)


def conventions(profile: EnergyProfile) -> str:
    """What is counted and at which prices, to print beside every figure."""
    return (
        f"{profile.name}: MAC {profile.mac:g} pJ, AC {profile.ac:g} pJ, neuron update "
        f"{profile.neuron:g} pJ ({profile.source}). Stem of a still image: its MACs once, in full, "
        "whenever it decides; event frames: at every timestep, an AC for a count of one, a MAC for "
        "more. Hidden and output layers: one AC for each spike and each nonzero synapse that it "
        "reaches, borders and strides exact, up to the decision; a pooled sum of n spikes is n "
        "ACs, a shortcut without weights one AC a spike, inputs that are no spikes are MACs. "
        "Neurons: every spiking neuron is updated at every timestep; the latency code's T "
        "comparisons are free. Batch normalisation is folded; max pooling and memory accesses are "
        "free."
    )


@dataclass(frozen=True, eq=False)
class LayerOperations:
    """Synaptic operations of one layer, sample by sample.

    Attributes:
        accumulates: ``[T, B]`` operations with spikes in each timestep; n spikes at one input
            are n accumulates.
        multiplies: ``[T, B]`` operations with real values, or with event counts above one.
    """

    accumulates: Tensor
    multiplies: Tensor

    def energy(self, profile: EnergyProfile) -> Tensor:
        """``[T, B]`` float64: nJ of each timestep."""
        priced = self.accumulates * profile.ac + self.multiplies * profile.mac
        return NJ_PER_PJ * priced


@dataclass(frozen=True, eq=False)
class EnergyReport:
    """Operations and energy of a set of inferences.

    Attributes:
        stem: the encoder's operations; once an image in the first timestep where it is still.
        hidden: operations of each hidden projection, from the input to the output.
        output: operations of the output layer.
        neurons: units that are updated at every timestep.
        profile: prices of the operations.
        firing_rates: spikes a neuron and timestep of the encoder, then of each hidden layer.
        firing_rate: spikes a neuron and timestep over all hidden layers.
    """

    stem: LayerOperations
    hidden: tuple[LayerOperations, ...]
    output: LayerOperations
    neurons: int
    profile: EnergyProfile
    firing_rates: tuple[float, ...]
    firing_rate: float

    def parts(self) -> dict[str, Tensor]:
        """``[T, B]`` float64 nJ up to and with timestep t: ``encoder``, ``hidden``, ``output``."""
        encoder = self.stem.energy(self.profile).cumsum(0)
        steps = torch.arange(1, len(encoder) + 1, device=encoder.device).double()[:, None]
        hidden = (NJ_PER_PJ * self.profile.neuron * self.neurons) * steps.expand_as(encoder)
        for layer in self.hidden:
            hidden = hidden + layer.energy(self.profile).cumsum(0)
        return {
            "encoder": encoder,
            "hidden": hidden,
            "output": self.output.energy(self.profile).cumsum(0),
        }

    def cumulative(self) -> Tensor:
        """``[T, B]`` float64: energy in nJ of an inference that decides at t."""
        return torch.stack(list(self.parts().values())).sum(0)

    def shares(self) -> dict[str, float]:
        """Fractions of the mean energy at T: ``encoder``, ``hidden``, ``output``."""
        parts = {name: float(part[-1].mean()) for name, part in self.parts().items()}
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
        self._counters: list[_Counter] = []
        self._spikes: list[Tensor] = []
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> EnergyMeter:
        network = self._network
        layers = [network.encoder, *network.projections(), network.output]
        self._counters = [_Counter(layer, network) for layer in layers]
        self._handles = [counter.attach() for counter in self._counters]
        senders = [network.encoder, *(unit for unit, _ in network.hidden_layers())]
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
        if not self._counters or not self._counters[0].counted:
            raise ValueError("nothing to report: no forward pass went through the meter")
        stem, *hidden, output = (counter.operations() for counter in self._counters)
        sent = torch.stack(self._spikes)
        hidden_sent = sent[1:].sum(0)
        return EnergyReport(
            stem=stem,
            hidden=tuple(hidden),
            output=output,
            neurons=self._network.updated_neurons(),
            profile=self._profile,
            firing_rates=tuple((sent[:, 0] / sent[:, 1]).tolist()),
            firing_rate=float(hidden_sent[0] / hidden_sent[1].clamp_min(1)),
        )


class _Counter:
    """Counts the synaptic operations of one layer from what its synapses receive.

    Args:
        layer: the layer.
        network: the network that it belongs to.
    """

    def __init__(
        self, layer: Encoder | Projection | Identity | OutputLayer, network: LatencyNetwork
    ):
        self._layer = layer
        self._timesteps = network.timesteps
        self._still = isinstance(layer, Encoder) and layer.still
        self._frames = isinstance(layer, Encoder) and not layer.still
        self._analog = network.analog and not isinstance(layer, Encoder)
        self._batches: list[tuple[Tensor, Tensor]] = []
        most = 1
        if isinstance(layer, Encoder):
            self._observed: nn.Module = layer.conv
            fan = fan_out(layer.conv, layer.input_shape)
        elif isinstance(layer, Identity):
            self._observed = layer
            fan = torch.ones(layer.input_shape)
            most = layer.largest_input
        else:
            self._observed = layer.synapse
            fan = fan_out(layer.synapse, layer.synapse_shape)
            if isinstance(layer, OutputLayer):  # centring leaves no weight at zero
                fan = torch.full_like(fan, float(network.classes))
            most = layer.largest_input
        exact = float(fan.sum()) * most < _EXACT_IN_FLOAT32
        self._fan = fan.float() if exact else fan.double()

    @property
    def counted(self) -> bool:
        """Whether a forward pass was seen."""
        return bool(self._batches)

    def attach(self) -> RemovableHandle:
        """Count from now on."""
        return self._observed.register_forward_pre_hook(self._count)

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach()
        if self._still:
            macs = torch.zeros(self._timesteps, len(x), dtype=torch.float64, device=x.device)
            macs[0] = self._fan.sum(dtype=torch.float64)
            self._batches.append((torch.zeros_like(macs), macs))
            return
        multiplied = (x != 0) if self._analog else ((x != 0) & (x != 1)) if self._frames else None
        if multiplied is None:
            accumulates = self._weighted(x.abs())
            self._batches.append((accumulates, torch.zeros_like(accumulates)))
        else:
            added = torch.zeros_like(x) if self._analog else (x == 1)
            self._batches.append((self._weighted(added), self._weighted(multiplied)))

    def _weighted(self, x: Tensor) -> Tensor:
        """``[T, B]`` float64: the inputs times their fan-out; exact, being integers in range."""
        return _weighted_sum(x, self._fan).double().view(self._timesteps, -1)

    def operations(self) -> LayerOperations:
        """All that was counted."""
        accumulates, multiplies = zip(*self._batches, strict=True)
        return LayerOperations(torch.cat(accumulates, dim=1), torch.cat(multiplies, dim=1))


def _weighted_sum(spikes: Tensor, fan: Tensor) -> Tensor:
    """``[T*B]``: each sample's spikes times their fan-out."""
    if is_channels_last(spikes):
        spikes, fan = spikes.permute(0, 2, 3, 1), fan.permute(1, 2, 0)
    flat = spikes.reshape(len(spikes), math.prod(fan.shape)).to(fan.dtype)
    return flat @ fan.reshape(-1)
