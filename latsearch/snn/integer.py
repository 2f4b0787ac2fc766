"""Networks with eight-bit weights, computed as an integer chip would.

Normalisations are folded first. Each output channel c of a layer then has a step ``s_c = max |w| /
127``, its weights become ``q = round(w / s_c)`` in -127..127, its shift ``round(b / s_c)``, and its
neurons compare integer potentials with ``floor(firing_threshold / s_c)``, which for integers is
the same as with the quotient. Layers that add their currents (a residual block's) share their
steps. The output has one step for all classes, since these are compared; its potentials are
integers times that step, so that decision thresholds mean what they meant before.

The stem of a still image sees real values: its weights have eight bits, its sums are float32.
Leaks (``lif``, ``exp``) make potentials real; sums of what is integer stay exact below 2²⁴.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from latsearch.errors import UserError
from latsearch.snn.folding import Shift, folded
from latsearch.snn.layers import HiddenLayer, Identity, Projection, ResidualBlock, TimestepNorm
from latsearch.snn.networks import LatencyNetwork
from latsearch.snn.neurons import FiringRule, SpikingNeuron

LARGEST = 127  # symmetric: -128 is not used
_SMALLEST_STEP = 1e-12  # of a channel whose weights are all zero
_EXACT_IN_FLOAT32 = 2.0**24


class IntegerNeuron(nn.Module):
    """Hidden neurons whose firing threshold differs from channel to channel; inference alone.

    Args:
        neuron: the neurons before.
        thresholds: ``[C]`` firing thresholds in the channels' steps.

    Attributes:
        rule: their behaviour, its firing threshold not used.
        thresholds: as given.
    """

    thresholds: Tensor

    def __init__(self, neuron: SpikingNeuron, thresholds: Tensor):
        super().__init__()
        self.timesteps = neuron.timesteps
        self.rule: FiringRule = neuron.rule
        self.keep_logit = neuron.keep_logit
        self.register_buffer("thresholds", thresholds)

    def keep(self) -> float:
        """The fraction λ of the potential that is kept to the next timestep."""
        if self.keep_logit is None:
            return self.rule.keep
        return float(torch.sigmoid(self.keep_logit))

    def forward(self, current: Tensor) -> Tensor:
        """Spikes ``[T*B, C, ...]`` of the currents ``[T*B, C, ...]``."""
        steps = current.view(self.timesteps, -1, *current.shape[1:])
        threshold = per_channel(self.thresholds, current.ndim - 1)
        keep, spikes = self.keep(), []
        v, spent = torch.zeros_like(steps[0]), torch.zeros_like(steps[0])
        for step in steps:
            h = step + keep * v
            fired = (h > threshold).to(h.dtype)
            v = h - threshold * fired if self.rule.soft_reset else h * (1 - fired)
            if self.rule.strict:
                fired = fired * (1 - spent)
                spent = spent + fired
            spikes.append(fired)
        return torch.cat(spikes)


def per_channel(values: Tensor, axes: int) -> Tensor:
    """``[C]`` as ``[C, 1, ...]`` with so many axes in all."""
    return values.view(-1, *(1,) * (axes - 1))


class Rescale(nn.Module):
    """What is left of a folded stem: its sums in steps become strengths.

    Args:
        steps: ``[C]``.
        shift: ``[C]``, added to each channel.
    """

    steps: Tensor
    shift: Tensor

    def __init__(self, steps: Tensor, shift: Tensor):
        super().__init__()
        self.register_buffer("steps", steps)
        self.register_buffer("shift", shift)

    def forward(self, sums: Tensor) -> Tensor:
        """Strengths ``[B, C, H, W]`` of the sums ``[B, C, H, W]``."""
        steps = per_channel(self.steps, sums.ndim - 1)
        return sums * steps + per_channel(self.shift, sums.ndim - 1)


def quantised(network: LatencyNetwork) -> LatencyNetwork:
    """A copy with eight-bit weights, for inference alone.

    Works on the meta device, where it has the structure alone.

    Raises:
        UserError: the network has parts that this does not know.
    """
    _check(network)
    twin = folded(network)
    _stem(twin)
    for layer in twin.hidden:
        if isinstance(layer, HiddenLayer):
            _hidden(layer)
        else:
            assert isinstance(layer, ResidualBlock)
            _block(layer)
    _output(twin)
    return twin


def integer_state(network: LatencyNetwork) -> dict[str, Tensor]:
    """The state of a quantised network, weights as int8 and shifts as int32."""
    state = {}
    for name, value in network.state_dict().items():
        frames = name == "encoder.folded.shift" and not network.encoder.still
        if name.endswith(".weight"):
            state[name] = value.to(torch.int8)
        elif frames or name.endswith((".bias", ".norm.shift", ".shortcut.scale")):
            state[name] = value.to(torch.int32)
        else:
            state[name] = value
    return state


def exact_in_float32(network: LatencyNetwork) -> bool:
    """Whether no sum of a quantised network's can leave the integers that float32 holds."""
    synapses: list[tuple[nn.Conv2d | nn.Linear, Tensor | None, int]] = []
    for part in network.projections():
        if isinstance(part, Projection):
            shift = part.norm.shift if isinstance(part.norm, Shift) else part.synapse.bias
            synapses.append((part.synapse, shift, part.largest_input))
    output = network.output
    synapses.append((output.synapse, output.synapse.bias, output.largest_input))
    for synapse, shift, spikes in synapses:
        largest = float(synapse.weight.abs().flatten(1).sum(1).max()) * spikes
        largest += 0.0 if shift is None else float(shift.abs().max())
        # a kernel adds up the sums of all timesteps, the potential those of the kernel
        if largest * network.timesteps**2 >= _EXACT_IN_FLOAT32:
            return False
    return True


def _check(network: LatencyNetwork) -> None:
    config = network.config
    if config.neuron not in ("if", "lif") or network.encoder.analog:
        raise UserError(
            f"network.neuron {config.neuron}, network.encoder {config.encoder}: eight-bit weights "
            "are for spiking networks (neuron if or lif)"
        )
    if any(isinstance(part, TimestepNorm) for part in network.modules()):
        raise UserError(
            "network.norm timestep: its gains differ over time and the weights do not; train with "
            "network.norm pooled for eight-bit weights"
        )
    if network.output.unit is not None:
        raise UserError("the network has eight-bit weights already")


def _steps(weights: Iterable[Tensor]) -> Tensor:
    """``[C]``: what an integer weight of one is worth in each channel of all these layers."""
    largest = [weight.abs().flatten(1).amax(1) for weight in weights]
    return torch.stack(largest).amax(0).clamp_min(_SMALLEST_STEP) / LARGEST


def _round(synapse: nn.Conv2d | nn.Linear, steps: Tensor) -> None:
    weight = synapse.weight / per_channel(steps, synapse.weight.ndim)
    synapse.weight.copy_(weight.round().clamp(-LARGEST, LARGEST))
    if synapse.bias is not None:
        synapse.bias.copy_((synapse.bias / steps).round())


def _round_projection(projection: Projection, steps: Tensor) -> None:
    _round(projection.synapse, steps)
    if isinstance(projection.norm, Shift):
        projection.norm = Shift((projection.norm.shift / steps).round())


def _neuron(neuron: nn.Module | None, steps: Tensor, synapse_keep: float) -> IntegerNeuron:
    assert isinstance(neuron, SpikingNeuron)
    rule = neuron.rule
    thresholds = rule.firing_threshold / steps
    whole = rule.keep == 1.0 and neuron.keep_logit is None and synapse_keep in (0.0, 1.0)
    if whole:  # a soft reset subtracts the threshold, so that it has to be the nearest integer
        thresholds = thresholds.round() if rule.soft_reset else thresholds.floor()
    return IntegerNeuron(neuron, thresholds)


def _stem(network: LatencyNetwork) -> None:
    encoder = network.encoder
    steps = _steps([encoder.conv.weight])
    if encoder.still:
        shift = encoder.conv.bias
        assert shift is not None
        encoder.conv.bias = None
        _round(encoder.conv, steps)
        encoder.folded = Rescale(steps, shift.detach())
    else:
        assert isinstance(encoder.folded, Shift)
        _round(encoder.conv, steps)
        encoder.folded = Shift((encoder.folded.shift / steps).round())
        encoder.neuron = _neuron(encoder.neuron, steps, float(encoder.synapse_keep))  # type: ignore[arg-type]
    # folded: they have no part in inference, and their values are not kept
    encoder.norm = nn.Identity()  # type: ignore[assignment]
    encoder.register_parameter("gain", None)
    encoder.register_parameter("shift", None)


def _hidden(layer: HiddenLayer) -> None:
    steps = _steps([layer.projection.synapse.weight])
    _round_projection(layer.projection, steps)
    layer.neuron = _neuron(layer.neuron, steps, layer.projection.synapse_keep)


def _block(block: ResidualBlock) -> None:
    for layer in block.body:
        assert isinstance(layer, HiddenLayer)
        _hidden(layer)
    keep, short = block.last.synapse_keep, block.shortcut
    joined = [block.last]
    if isinstance(short, Projection):
        if block.adds_spikes:  # its own neurons receive it
            steps = _steps([short.synapse.weight])
            _round_projection(short, steps)
            block.shortcut_neuron = _neuron(block.shortcut_neuron, steps, keep)
        else:
            joined.append(short)
    steps = _steps([projection.synapse.weight for projection in joined])
    for projection in joined:
        _round_projection(projection, steps)
    if isinstance(short, Identity):
        scale = (short.scale / steps).round()
        del short.scale
        short.register_buffer("scale", per_channel(scale, 3))
    block.neuron = _neuron(block.neuron, steps, keep)


def _output(network: LatencyNetwork) -> None:
    output = network.output
    weight = output.synapse.weight
    unit = weight.abs().amax().clamp_min(_SMALLEST_STEP) / LARGEST
    _round(output.synapse, unit.expand(len(weight)))
    output.unit = unit
