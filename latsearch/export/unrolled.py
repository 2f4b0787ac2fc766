"""The full-T network as one function of plain tensor operations, which torch can export.

Pixels in, potentials of all timesteps out: normalisation, stem, code, T steps of every layer, with
time folded into the batch where a layer has no state. Its weights are those of the folded network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latsearch.export.traces import by_step
from latsearch.snn.encoding import Encoder, LatencyEncoder, RateEncoder, levels
from latsearch.snn.folding import Shift, affine, folded
from latsearch.snn.images import Normalization
from latsearch.snn.layers import (
    HiddenLayer,
    Identity,
    OutputLayer,
    Projection,
    ResidualBlock,
    TimestepNorm,
)
from latsearch.snn.networks import LatencyNetwork
from latsearch.snn.neurons import STATELESS, SignNeuron, SpikingNeuron


class UnrolledNetwork(nn.Module):
    """A trained network for inference, without anything that only training or speed needs.

    Args:
        network: the network.
        normalize: the normalisation that it was trained with.
    """

    pixel_scale: Tensor
    pixel_shift: Tensor
    level: Tensor

    def __init__(self, network: LatencyNetwork, normalize: Normalization):
        super().__init__()
        twin = folded(network).cpu().to(memory_format=torch.contiguous_format)
        self.timesteps = twin.timesteps
        self.network = twin
        self._binary = not twin.analog and twin.config.neuron not in STATELESS
        scale, shift = normalize.affine()
        self.register_buffer("pixel_scale", scale.cpu())
        self.register_buffer("pixel_shift", shift.cpu())
        if isinstance(twin.encoder, LatencyEncoder):
            device = torch.device("cpu")
            marks = levels(
                self.timesteps, device=device, dtype=torch.float32, spacing=twin.encoder.spacing
            )
            self.register_buffer("level", marks.view(-1, 1, 1, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Potentials ``[T, B, K]`` float32, and spikes by layer ``[T, B, L]`` int32.

        Args:
            images: pixels ``[B, C, H, W]`` uint8, or counts of events ``[B, T, P, H, W]``.
        """
        counts: list[Tensor] = []
        x = self._encoded(self.network.encoder, images)
        self._count(x, counts)
        for layer in self.network.hidden:
            if isinstance(layer, HiddenLayer):
                x = self._hidden(layer, x, counts)
            else:
                assert isinstance(layer, ResidualBlock)
                x = self._block(layer, x, counts)
        potentials = self._output(self.network.output, x)
        found = by_step(torch.stack(counts, dim=-1), self.timesteps)
        return potentials, found.to(torch.int32)

    def _count(self, x: Tensor, counts: list[Tensor]) -> None:
        spikes = x if self._binary else (x > 0).to(x.dtype)
        counts.append(spikes.flatten(1).sum(1))

    def _encoded(self, encoder: Encoder, images: Tensor) -> Tensor:
        """What the encoder sends, ``[T*B, ...]``."""
        if not encoder.still:
            frames = images.to(self.pixel_scale.dtype).transpose(0, 1).flatten(0, 1)
            keep = getattr(encoder, "synapse_keep", 0.0)
            current = self._leaky(encoder.conv(frames), keep)
            assert encoder.folded is not None
            assert encoder.neuron is not None
            return self._fired(encoder.neuron, encoder.folded(current))
        x = images.to(self.pixel_scale.dtype) * self.pixel_scale + self.pixel_shift
        z: Tensor = encoder.conv(x)
        if isinstance(encoder, LatencyEncoder):
            code = (z > self.level).to(z.dtype)
            return torch.cat([code[:1], code[1:] - code[:-1]]).flatten(0, 1)
        if isinstance(encoder, RateEncoder):
            noise = encoder.noise.view(self.timesteps, 1, *encoder.output_shape)
            return (z > noise).to(z.dtype).flatten(0, 1)
        repeated = z.repeat(self.timesteps, 1, 1, 1)
        return F.relu(repeated) if encoder.neuron is None else self._fired(encoder.neuron, repeated)

    def _leaky(self, x: Tensor, keep: float) -> Tensor:
        """``y[t] = keep · y[t-1] + x[t]`` of ``[T*B, ...]``."""
        if keep == 0.0 or self.timesteps == 1:
            return x
        sums: list[Tensor] = []
        for step in by_step(x, self.timesteps).unbind():
            sums.append(torch.add(step, sums[-1], alpha=keep) if sums else step)
        return torch.stack(sums).flatten(0, 1)

    def _fired(self, neuron: nn.Module, current: Tensor) -> Tensor:
        """Spikes ``[T*B, ...]`` of the currents ``[T*B, ...]``."""
        if not isinstance(neuron, SpikingNeuron):
            if isinstance(neuron, SignNeuron):
                return torch.where(current > 0, 1.0, -1.0).to(current.dtype)
            return F.relu(current)
        rule, learned = neuron.rule, neuron.keep()
        keep = rule.keep if learned is None else float(learned)
        sent: list[Tensor] = []
        v = spent = torch.zeros(())
        for step in by_step(current, self.timesteps).unbind():
            h = torch.add(step, v, alpha=keep) if sent else step
            over = h > rule.firing_threshold
            spikes = over.to(h.dtype)
            soft = rule.firing_threshold * spikes
            v = h - soft if rule.soft_reset else torch.where(over, 0.0, h)
            if rule.strict:
                spikes = spikes * (1.0 - spent) if sent else spikes
                spent = spent + spikes if sent else spikes
            sent.append(spikes)
        return torch.stack(sent).flatten(0, 1)

    def _hidden(self, layer: HiddenLayer, x: Tensor, counts: list[Tensor]) -> Tensor:
        out = self._fired(layer.neuron, self._projected(layer.projection, x))
        self._count(out, counts)
        return out

    def _block(self, block: ResidualBlock, x: Tensor, counts: list[Tensor]) -> Tensor:
        inner = x
        for layer in block.body:
            assert isinstance(layer, HiddenLayer)
            inner = self._hidden(layer, inner, counts)
        current, short = self._projected(block.last, inner), x
        if isinstance(block.shortcut, Projection):
            short = self._projected(block.shortcut, x)
        elif isinstance(block.shortcut, Identity):
            short = self._leaky(x, block.shortcut.synapse_keep) * block.shortcut.scale
        if not block.adds_spikes:
            out = self._fired(block.neuron, current + short)
            self._count(out, counts)
            return out
        out = self._fired(block.neuron, current)
        self._count(out, counts)
        if block.shortcut_neuron is not None:
            short = self._fired(block.shortcut_neuron, short)
            self._count(short, counts)
        return out + short

    def _projected(self, projection: Projection, x: Tensor) -> Tensor:
        x = _pooled(x, projection.pool)
        if isinstance(projection.synapse, nn.Linear):
            x = x.flatten(1)
        current = self._leaky(projection.synapse(x), projection.synapse_keep)
        norm = projection.norm
        if isinstance(norm, TimestepNorm):
            return self._normalised(norm, current)
        return current + _broadcast(norm.shift, current) if isinstance(norm, Shift) else current

    def _normalised(self, norm: TimestepNorm, current: Tensor) -> Tensor:
        steps = []
        currents = by_step(current, self.timesteps).unbind()
        for own, step in zip(norm.norms, currents, strict=True):
            gain, shift = affine(own)  # type: ignore[arg-type]
            steps.append(step * _broadcast(gain, step) + _broadcast(shift, step))
        return torch.stack(steps).flatten(0, 1)

    def _output(self, output: OutputLayer, x: Tensor) -> Tensor:
        current = output.synapse(_pooled(x, output.pool).flatten(1))
        return by_step(self._leaky(current, output.keep), self.timesteps)


def _broadcast(by_channel: Tensor, like: Tensor) -> Tensor:
    return by_channel.view(-1, *(1,) * (like.ndim - 2))


def _pooled(x: Tensor, pool: str | None) -> Tensor:
    if pool == "max":
        return F.max_pool2d(x, 2)
    if pool == "sum":
        return F.avg_pool2d(x, 2) * 4.0  # exact: these are sums of few spikes
    return x.sum((2, 3), keepdim=True) if pool == "global" else x
