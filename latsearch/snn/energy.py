"""Energy of an inference up to its decision, from the spikes that a network really sends.

``E[t] = MAC_enc · e_mac + Σ_{t' ≤ t} (Σ_l Σ_i s_i[t'] · fanout_l(i)) · e_ac + N · t · e_neuron``:
the encoder's multiply-accumulates once and in full, then each spike of each layer times its exact
fan-out (borders, strides, and weights of zero excluded), and N hidden neurons updated every step.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from latsearch.config.energy import EnergyProfile, LayerMemory
from latsearch.snn.custom import CUSTOM_CONVENTIONS, CustomMeter, CustomNetwork
from latsearch.snn.custom import energy as custom
from latsearch.snn.encoding import Encoder
from latsearch.snn.hooks import Watching
from latsearch.snn.layers import Identity, OutputLayer, Projection
from latsearch.snn.layout import is_channels_last
from latsearch.snn.networks import LatencyNetwork, Network
from latsearch.snn.operations import NJ_PER_PJ, EnergyReport, LayerOperations, NeuronUpdates
from latsearch.snn.pipeline import Pipeline

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


def dense_operations(network: Network) -> tuple[float, float]:
    """Synaptic operations were no input and no weight zero; works on the meta device.

    Returns:
        Those of the stem, computed once, and those of all other layers in one timestep.

    Raises:
        UserError: it is the user's own, and has parts that cannot be counted.
    """
    if isinstance(network, CustomNetwork):
        return custom.dense_operations(network)
    stem = dense_fan_out(network.encoder.conv, network.input_shape)
    behind = sum(
        dense_fan_out(layer.synapse, layer.synapse_shape) * layer.largest_input
        if not isinstance(layer, Identity)
        else float(math.prod(layer.input_shape)) * layer.largest_input
        for layer in (*network.projections(), network.output)
    )
    return stem, behind


def dense_energy(network: Network, profile: EnergyProfile) -> float:
    """Upper bound of the energy of an inference in nJ: every input spikes at every timestep.

    Works on the meta device.

    Raises:
        UserError: it is the user's own, and has parts that cannot be counted.
    """
    if isinstance(network, CustomNetwork):
        return custom.dense_energy(network, profile)
    stem = dense_fan_out(network.encoder.conv, network.input_shape)
    stem *= profile.prices(layer_memory(network.encoder)).mac
    per_step = 0.0 if network.encoder.still else stem
    for count in _updated(network):
        updates = NeuronUpdates(count)
        per_step += count * profile.prices(updates.memory).neuron
    for layer in (*network.projections(), network.output):
        prices, most = profile.prices(layer_memory(layer)), layer.largest_input
        if isinstance(layer, Identity):
            synapses = float(math.prod(layer.input_shape))
        else:
            synapses = dense_fan_out(layer.synapse, layer.synapse_shape)
        multiplies = network.analog or _pooled_multiplies(layer, profile)
        per_step += synapses * (prices.mac if multiplies else most * prices.ac)
    return NJ_PER_PJ * (stem * network.encoder.still + network.timesteps * per_step)


def ordinary_energy(network: Network, profile: EnergyProfile) -> float:
    """Energy in nJ of an ordinary network with the same layers: one MAC for each synapse.

    Works on the meta device.

    Raises:
        UserError: it is the user's own, and has parts that cannot be counted.
    """
    if isinstance(network, CustomNetwork):
        return custom.ordinary_energy(network, profile)
    stem = dense_fan_out(network.encoder.conv, network.input_shape)
    energy = stem * profile.prices(layer_memory(network.encoder)).mac
    for layer in synapses_of(network):
        macs = dense_fan_out(layer.synapse, layer.synapse_shape)
        energy += macs * profile.prices(layer_memory(layer)).mac
    return NJ_PER_PJ * energy


def synapses_of(network: LatencyNetwork) -> list[Projection | OutputLayer]:
    """The layers with weights behind the stem."""
    layers = (*network.projections(), network.output)
    return [layer for layer in layers if not isinstance(layer, Identity)]


def layer_memory(layer: _Layer) -> LayerMemory:
    """What a layer reads and writes; works on the meta device."""
    if isinstance(layer, Identity):
        size = 4 * math.prod(layer.input_shape)
        return LayerMemory(weights=0, potentials=size, inputs=size)
    if isinstance(layer, Encoder):
        synapse: nn.Conv2d | nn.Linear = layer.conv
        received, sent = layer.input_shape, layer.output_shape
    else:
        synapse, received = layer.synapse, layer.synapse_shape
        sent = (layer.synapse.out_features,) if isinstance(layer, OutputLayer) else ()
        sent = layer.output_shape if isinstance(layer, Projection) else sent
    return LayerMemory(
        weights=4 * synapse.weight.numel(),
        potentials=4 * math.prod(sent),
        inputs=4 * math.prod(received),
    )


def _updated(network: LatencyNetwork) -> list[int]:
    """Units of each layer that are updated at every timestep: the encoder's neurons first."""
    encoder = network.encoder
    hidden = [math.prod(shape) for _, shape in network.hidden_layers()]
    return [0 if encoder.neuron is None else math.prod(encoder.output_shape), *hidden]


def _pooled_multiplies(layer: _Layer, profile: EnergyProfile) -> bool:
    """Whether the layer's inputs are sums of spikes, and those are priced as real values."""
    if isinstance(layer, Encoder | Identity):
        return False
    return profile.pooled_mac and layer.largest_input > 1


def energy_meter(network: Network, profile: EnergyProfile) -> EnergyMeter | CustomMeter:
    """What counts a network's operations."""
    if isinstance(network, CustomNetwork):
        return CustomMeter(network, profile)
    return EnergyMeter(network, profile)


def ordinary_macs(network: Network, *, stem: bool = True) -> float:
    """MACs of an ordinary network with the same layers, with its first one or not.

    Works on the meta device.
    """
    if isinstance(network, CustomNetwork):
        layers = network.layers if stem else network.layers[1:]
        return sum(float(layer.fan_out(dense=True).sum()) for layer in layers)
    first = dense_fan_out(network.encoder.conv, network.input_shape) if stem else 0.0
    return first + sum(dense_fan_out(x.synapse, x.synapse_shape) for x in synapses_of(network))


def conventions(profile: EnergyProfile, *, own_code: bool = False) -> str:
    """What is counted and at which prices, to print beside every figure.

    Args:
        profile: the prices.
        own_code: whether there are networks that are the user's code.
    """
    return f"{priced(profile)} {counted(profile, own_code=own_code)}"


def priced(profile: EnergyProfile) -> str:
    """A profile's prices in words."""
    host = " MACs run on a host at 45 nm, fp32." if profile.host_mac else ""
    return (
        f"{profile.name}: MAC {profile.mac:g} pJ, AC {profile.ac:g} pJ, neuron update "
        f"{profile.neuron:g} pJ ({profile.source}).{host}"
    )


def counted(profile: EnergyProfile, *, own_code: bool = False) -> str:
    """What is counted under a profile, in words.

    Args:
        profile: the profile.
        own_code: whether there are networks that are the user's code.
    """
    pooled = (
        "an input that sums spikes is a MAC a synapse (as NeuroBench counts)"
        if profile.pooled_mac
        else "a pooled sum of n spikes is n ACs"
    )
    memory = (
        "Memory accesses are priced by the size of each layer's weights, potentials and inputs: "
        "three an AC, four a MAC, two a neuron update. "
        if profile.sram
        else "Memory accesses are free. "
    )
    text = (
        f"{memory}Stem of a still image: its MACs once, in full, "
        "whenever it decides; event frames: at every timestep, an AC for a count of one, a MAC for "
        "more. Hidden and output layers: one AC for each spike and each nonzero synapse that it "
        f"reaches, borders and strides exact, up to the decision; {pooled}, "
        "a shortcut without weights one AC a spike, inputs that are no spikes are MACs. "
        "Neurons: every spiking neuron is updated at every timestep; the latency code's T "
        "comparisons are free. Batch normalisation is folded; max pooling is free."
    )
    return f"{text} {CUSTOM_CONVENTIONS}" if own_code else text


class EnergyMeter(Watching):
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

    def _attach(self) -> list[RemovableHandle]:
        network = self._network
        layers = [network.encoder, *network.projections(), network.output]
        self._counters = [_Counter(layer, network, self._profile) for layer in layers]
        senders = [network.encoder, *(unit for unit, _ in network.hidden_layers())]
        counting = [counter.attach() for counter in self._counters]
        return [*counting, *(self._watch(sender) for sender in senders)]

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
        network = self._network
        pipeline = Pipeline.of(network)
        positions = (1, *pipeline.projections, pipeline.depth)
        leads = [pipeline.depth - at if network.config.delay == "layer" else 0 for at in positions]
        stem, *hidden, output = (
            counter.operations(lead) for counter, lead in zip(self._counters, leads, strict=True)
        )
        updates = tuple(
            NeuronUpdates(count, pipeline.depth - at if network.config.delay == "layer" else 0)
            for count, at in zip(_updated(network), (1, *pipeline.units), strict=True)
        )
        sent = torch.stack(self._spikes)
        hidden_sent = sent[1:].sum(0)
        return EnergyReport(
            stem=stem,
            hidden=tuple(hidden),
            output=output,
            updates=updates,
            profile=self._profile,
            firing_rates=tuple((sent[:, 0] / sent[:, 1]).tolist()),
            firing_rate=float(hidden_sent[0] / hidden_sent[1].clamp_min(1)),
        )


class _Counter:
    """Counts the synaptic operations of one layer from what its synapses receive.

    Args:
        layer: the layer.
        network: the network that it belongs to.
        profile: the conventions.
    """

    def __init__(self, layer: _Layer, network: LatencyNetwork, profile: EnergyProfile):
        self._layer = layer
        self._timesteps = network.timesteps
        self._still = isinstance(layer, Encoder) and layer.still
        self._frames = isinstance(layer, Encoder) and not layer.still
        self._analog = not isinstance(layer, Encoder) and (
            network.analog or _pooled_multiplies(layer, profile)
        )
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
        return weighted_sum(x, self._fan).double().view(self._timesteps, -1)

    def operations(self, lead: int) -> LayerOperations:
        """All that was counted, of a layer that is ahead of a decision by `lead` timesteps."""
        accumulates, multiplies = zip(*self._batches, strict=True)
        return LayerOperations(
            torch.cat(accumulates, dim=1),
            torch.cat(multiplies, dim=1),
            layer_memory(self._layer),
            lead,
        )


def weighted_sum(spikes: Tensor, fan: Tensor) -> Tensor:
    """``[T*B]``: each sample's spikes times their fan-out."""
    if is_channels_last(spikes):
        spikes, fan = spikes.permute(0, 2, 3, 1), fan.permute(1, 2, 0)
    flat = spikes.reshape(len(spikes), math.prod(fan.shape)).to(fan.dtype)
    return flat @ fan.reshape(-1)
