"""The layers of a folded network one timestep at a time, with their state in reused memory.

Each stage is called once a timestep, t = 0..T-1, with what the layer before it sends, ``[n, ...]``,
and keeps the state of its n samples to the next timestep. `Stage.keep` drops samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latsearch.snn.encoding import Encoder, LatencyEncoder, RateEncoder, levels
from latsearch.snn.folding import Shift, affine
from latsearch.snn.integer import IntegerNeuron, per_channel
from latsearch.snn.layers import (
    HiddenLayer,
    Identity,
    OutputLayer,
    Projection,
    ResidualBlock,
    TimestepNorm,
    pool_spikes,
)
from latsearch.snn.layout import by_time, is_channels_last
from latsearch.snn.neurons import SpikingNeuron

_SPENT = -1e30  # added to a potential that no current shall lift above a threshold again


class Stage:
    """A part of the network with its state.

    Attributes:
        states: what is carried to the next timestep, by name, each ``[n, ...]``.
    """

    def __init__(self) -> None:
        self.states: dict[str, Tensor] = {}
        self._memory: dict[str, Tensor] = {}

    def parts(self) -> Iterator[Stage]:
        """This stage and those inside it."""
        yield self

    def keep(self, holes: Tensor, movers: Tensor, left: int) -> None:
        """Go on with `left` samples: those at `movers` take the places `holes` below `left`.

        At most half of the samples have to be moved, and none of the others copied.
        """
        for name, state in self.states.items():
            if len(holes):
                last = is_channels_last(state)
                # where it can be in the order of memory, in which a sample is one piece
                dense = last or state.is_contiguous()
                rows = by_time(state, len(state), channels_last=last) if dense else state
                rows.index_copy_(0, holes, rows.index_select(0, movers))
            self.states[name] = state[:left]

    def room(self, name: str, like: Tensor) -> Tensor:
        """Memory in the shape and format of `like`, the same for each timestep and batch."""
        memory = self._memory.get(name)
        if memory is None or len(memory) < len(like) or not _alike(memory, like):
            memory = self._memory[name] = torch.empty_like(like)
        return memory[: len(like)]


def _alike(memory: Tensor, like: Tensor) -> bool:
    return (
        memory.shape[1:] == like.shape[1:]
        and memory.stride()[1:] == like.stride()[1:]
        and memory.dtype == like.dtype
        and memory.device == like.device
    )


class NeuronStage(Stage):
    """Hidden neurons: currents to spikes; stateless units are applied as they are.

    Args:
        neuron: the neurons.
    """

    def __init__(self, neuron: nn.Module):
        super().__init__()
        self._unit = neuron
        self._spiking = isinstance(neuron, SpikingNeuron | IntegerNeuron)
        if isinstance(neuron, SpikingNeuron | IntegerNeuron):
            self._rule = neuron.rule
            learned = neuron.keep()
            self._keep = neuron.rule.keep if learned is None else float(learned)
            self._thresholds = neuron.thresholds if isinstance(neuron, IntegerNeuron) else None

    def __call__(self, current: Tensor, t: int) -> Tensor:
        """Spikes ``[n, ...]``, valid until the next timestep; the current is left as it is."""
        if not self._spiking:
            out: Tensor = self._unit(current)
            return out
        v = self.room("v", current)
        if t == 0:
            h = current
        else:
            h = torch.add(current, self.states["v"], alpha=self._keep, out=v)
            if self._rule.strict:
                h.add_(self.states["spent"], alpha=_SPENT)
        threshold = self._threshold(current)
        spikes = torch.gt(h, threshold, out=self.room("spikes", current))
        if self._rule.strict:
            self._spend(h, spikes, t)
        elif self._rule.soft_reset:
            if isinstance(threshold, Tensor):
                torch.addcmul(h, spikes, threshold, value=-1.0, out=v)
            else:
                torch.add(h, spikes, alpha=-threshold, out=v)
        else:
            torch.addcmul(h, h, spikes, value=-1.0, out=v)
        self.states["v"] = v
        return spikes

    def _threshold(self, current: Tensor) -> Tensor | float:
        """The firing threshold, where channels differ as a view that fits to the current."""
        if self._thresholds is None:
            return self._rule.firing_threshold
        return per_channel(self._thresholds, current.ndim - 1)

    def _spend(self, h: Tensor, spikes: Tensor, t: int) -> None:
        """A strict neuron needs no reset: once it has spiked nothing lifts it again."""
        if t == 0:
            self.room("v", h).copy_(h)
            self.states["spent"] = self.room("spent", spikes).copy_(spikes)
        else:
            self.states["spent"].add_(spikes)


class CurrentStage(Stage):
    """Pooling, synapses, synaptic kernel and what is left of the normalisation.

    Args:
        projection: a projection of a folded network.
        timesteps: T.
    """

    def __init__(self, projection: Projection, timesteps: int):
        super().__init__()
        self._pool = projection.pool
        self._synapse = projection.synapse
        self._keep = projection.synapse_keep if timesteps > 1 else 0.0
        self._affine: list[tuple[Tensor, Tensor]] = []
        first = later = projection.synapse.bias
        norm = projection.norm
        if isinstance(norm, Shift):
            # the kernel's sum with its shift is a sum itself: I'[t] = α I'[t-1] + W s[t] + (1-α) b
            first, later = norm.shift, norm.shift * (1.0 - projection.synapse_keep)
            later = None if projection.synapse_keep == 1.0 else later
        elif isinstance(norm, TimestepNorm):
            shape = (-1, *(1,) * (len(projection.output_shape) - 1))
            pairs = [affine(step) for step in norm.norms]  # type: ignore[arg-type]
            self._affine = [(gain.view(shape), shift.view(shape)) for gain, shift in pairs]
        self._biases = (first, later)

    def __call__(self, spikes: Tensor, t: int) -> Tensor:
        """Currents ``[n, ...]`` of the spikes ``[n, ...]``; not to be written to."""
        current = self._synaptic(pool_spikes(spikes, self._pool), self._biases[t > 0])
        if self._keep != 0.0:
            if t > 0:
                state = self.states["current"]
                current = torch.add(current, state, alpha=self._keep, out=state)
            self.states["current"] = current
        if self._affine:
            gain, shift = self._affine[t]
            return torch.addcmul(shift, current, gain)
        return current

    def _synaptic(self, x: Tensor, bias: Tensor | None) -> Tensor:
        synapse = self._synapse
        if isinstance(synapse, nn.Linear):
            return F.linear(x.flatten(1), synapse.weight, bias)
        return F.conv2d(x, synapse.weight, bias, synapse.stride, synapse.padding)


class ShortcutStage(Stage):
    """A shortcut without weights, added to a current.

    Args:
        identity: the shortcut.
        timesteps: T.
    """

    def __init__(self, identity: Identity, timesteps: int):
        super().__init__()
        self._scale = identity.scale
        self._keep = identity.synapse_keep if timesteps > 1 else 0.0

    def __call__(self, current: Tensor, spikes: Tensor, t: int) -> Tensor:
        """Currents ``[n, ...]`` of the block's last neurons."""
        if self._keep != 0.0:
            total = self.room("total", spikes)
            if t == 0:
                total.copy_(spikes)
            else:
                torch.add(spikes, self.states["total"], alpha=self._keep, out=total)
            self.states["total"] = spikes = total
        room = self.room("sum", current)
        if isinstance(self._scale, Tensor):
            return torch.addcmul(current, spikes, self._scale, out=room)
        return torch.add(current, spikes, alpha=self._scale, out=room)


class LayerStage(Stage):
    """A hidden layer.

    Args:
        layer: a hidden layer of a folded network.
    """

    def __init__(self, layer: HiddenLayer):
        super().__init__()
        self.current = CurrentStage(layer.projection, layer.projection.timesteps)
        self.neuron = NeuronStage(layer.neuron)

    def parts(self) -> Iterator[Stage]:
        """This stage and those inside it."""
        yield from (self.current, self.neuron)

    def __call__(self, spikes: Tensor, t: int) -> Tensor:
        """Spikes ``[n, ...]`` of the spikes ``[n, ...]``."""
        return self.neuron(self.current(spikes, t), t)


class BlockStage(Stage):
    """A residual block.

    Args:
        block: a residual block of a folded network.
    """

    def __init__(self, block: ResidualBlock):
        super().__init__()
        timesteps = block.last.timesteps
        self._body = [LayerStage(layer) for layer in block.body]  # type: ignore[arg-type]
        self._last = CurrentStage(block.last, timesteps)
        self.neuron = NeuronStage(block.neuron)
        self._adds_spikes = block.adds_spikes
        self._short: CurrentStage | ShortcutStage | None = None
        if isinstance(block.shortcut, Projection):
            self._short = CurrentStage(block.shortcut, timesteps)
        elif isinstance(block.shortcut, Identity):
            self._short = ShortcutStage(block.shortcut, timesteps)
        unit = block.shortcut_neuron
        self.short_neuron = None if unit is None else NeuronStage(unit)

    def parts(self) -> Iterator[Stage]:
        """This stage and those inside it."""
        for layer in self._body:
            yield from layer.parts()
        yield from (self, self._last, self.neuron)
        yield from (part for part in (self._short, self.short_neuron) if part is not None)

    def __call__(self, spikes: Tensor, t: int) -> Tensor:
        """Spikes ``[n, ...]`` of the spikes ``[n, ...]``."""
        inner = spikes
        for layer in self._body:
            inner = layer(inner, t)
        current = self._last(inner, t)
        if isinstance(self._short, ShortcutStage):
            return self.neuron(self._short(current, spikes, t), t)
        short = spikes if self._short is None else self._short(spikes, t)
        if not self._adds_spikes:
            total = torch.add(current, short, out=self.room("sum", current))
            return self.neuron(total, t)
        if self.short_neuron is not None:
            short = self.short_neuron(short, t)
        out = self.neuron(current, t)
        return torch.add(out, short, out=self.room("out", out))


class EncoderStage(Stage):
    """The encoder: its stem once a batch of images, or at each timestep on event frames.

    Args:
        encoder: the encoder of a folded network.
    """

    def __init__(self, encoder: Encoder):
        super().__init__()
        self._encoder = encoder
        self._neuron = None if encoder.neuron is None else NeuronStage(encoder.neuron)
        self._keep = getattr(encoder, "synapse_keep", 0.0)
        self._rows: Tensor | None = None
        self._frames = torch.empty(0)
        self._z = torch.empty(0)
        weight = encoder.conv.weight
        if isinstance(encoder, LatencyEncoder):
            marks = levels(
                encoder.timesteps,
                device=weight.device,
                dtype=torch.float64,
                spacing=encoder.spacing,
            )
            self._levels = marks.to(weight.dtype).tolist()

    def parts(self) -> Iterator[Stage]:
        """This stage and those inside it."""
        yield self
        if self._neuron is not None:
            yield self._neuron

    def begin(self, images: Tensor) -> None:
        """Take a batch of images, or of event frames, which is never written to."""
        self._rows = None
        if self._encoder.still:
            z = self._encoder.strength(images)
            self.states = {"z": torch.relu_(z) if self._encoder.analog else z}
        else:
            self.states = {}
            self._frames = images

    def keep(self, holes: Tensor, movers: Tensor, left: int) -> None:
        """Go on with `left` samples; frames stay where they are."""
        super().keep(holes, movers, left)
        if not self._encoder.still:
            rows = self._rows
            if rows is None:
                rows = torch.arange(len(self._frames), device=self._frames.device)
            rows.index_copy_(0, holes, rows.index_select(0, movers))
            self._rows = rows[:left]

    def __call__(self, t: int) -> Tensor:
        """What is sent at t, ``[n, C, H, W]``."""
        encoder = self._encoder
        if not encoder.still:
            return self._of_frame(t)
        z = self.states["z"]
        if isinstance(encoder, LatencyEncoder):
            spikes = torch.gt(z, self._levels[t], out=self.room("spikes", z))
            if t + 1 < encoder.timesteps:
                z.add_(spikes, alpha=_SPENT)
            return spikes
        if isinstance(encoder, RateEncoder):
            noise = encoder.noise[t].view(1, *encoder.output_shape)
            return torch.gt(z, noise, out=self.room("spikes", z))
        return z if self._neuron is None else self._neuron(z, t)

    def _of_frame(self, t: int) -> Tensor:
        frame = self._frames[:, t]
        if self._rows is not None:
            frame = frame.index_select(0, self._rows)
        current = self._encoder.conv(frame)
        if self._keep != 0.0:
            if t > 0:
                state = self.states["current"]
                current = torch.add(current, state, alpha=self._keep, out=state)
            self.states["current"] = current
        assert self._encoder.folded is not None
        assert self._neuron is not None
        return self._neuron(self._encoder.folded(current), t)


class OutputStage(Stage):
    """The output's potentials.

    Args:
        output: the output layer of a folded network.
    """

    def __init__(self, output: OutputLayer):
        super().__init__()
        self._pool = output.pool
        self._weight = output.synapse.weight.t()
        self._bias = output.synapse.bias
        self._keep = output.keep
        self._unit = output.unit

    def __call__(self, spikes: Tensor, t: int) -> Tensor:
        """Potentials ``[n, K]`` of the spikes ``[n, ...]``; not to be written to."""
        x = pool_spikes(spikes, self._pool).flatten(1)
        if t == 0:
            v = torch.mm(x, self._weight)
        else:
            v = self.states["v"]
            v.addmm_(x, self._weight, beta=self._keep)
        if self._bias is not None:
            v.add_(self._bias)
        self.states["v"] = v
        return v if self._unit is None else v * self._unit
