"""The layers of a network after its encoder: spiking layers and the output layer."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latsearch.snn.families import Conv, Dense, Pool, Shape, after, pooled
from latsearch.snn.neurons import FiringRule, SpikingNeuron
from latsearch.snn.synapses import leaky_sum


def pool_spikes(x: Tensor, pool: Pool | None) -> Tensor:
    """2×2 pooling of ``[T*B, C, H, W]``: the maximum, or the sum of the spikes."""
    if pool == "max":
        return F.max_pool2d(x, 2)
    if pool == "sum":
        return F.avg_pool2d(x, 2, divisor_override=1)
    return x


class CentredLinear(nn.Linear):
    """A linear layer whose weights are centred over the classes: ``W_k - mean_j W_j``, no bias.

    Cross-entropy and argmax do not see the centring; it makes the potentials of a sample sum to
    zero, so that a positive decision threshold means the same for every sample.
    """

    def __init__(self, in_features: int, classes: int):
        super().__init__(in_features, classes, bias=False)

    def centred_weight(self) -> Tensor:
        """``[K, N]``."""
        return self.weight - self.weight.mean(0, keepdim=True)

    def forward(self, input: Tensor) -> Tensor:
        """Synaptic currents ``[B, K]`` of the inputs ``[B, N]``."""
        return F.linear(input, self.centred_weight())


class SpikingLayer(nn.Module):
    """Pooling, synapses, batch normalisation and hidden neurons.

    The synaptic current ``I[t] = α I[t-1] + W s[t]`` is normalised with one affine for all
    timesteps, its statistics pooled over T·B and γ initialised to the firing threshold.

    Args:
        input_shape: shape of what the layer receives, before pooling.
        layer: its kind and size.
        timesteps: T.
        rule: the neurons' behaviour.
        synapse_keep: α.

    Attributes:
        synapse_shape: shape of the synapses' input, after pooling.
        output_shape: shape of the layer's neurons.
        largest_input: most spikes that the synapses receive at one input in one timestep.
    """

    def __init__(
        self,
        input_shape: Shape,
        layer: Conv | Dense,
        *,
        timesteps: int,
        rule: FiringRule,
        synapse_keep: float,
    ):
        super().__init__()
        self.timesteps = timesteps
        self.synapse_keep = synapse_keep
        self.pool = layer.pool
        self.synapse_shape = pooled(input_shape, layer.pool)
        self.output_shape = after(input_shape, layer)
        self.largest_input = 4 if layer.pool == "sum" else 1
        self.synapse: nn.Conv2d | nn.Linear
        self.norm: nn.BatchNorm2d | nn.BatchNorm1d
        if isinstance(layer, Dense):
            self.synapse = nn.Linear(math.prod(self.synapse_shape), layer.neurons, bias=False)
            self.norm = nn.BatchNorm1d(layer.neurons)
        else:
            self.synapse = nn.Conv2d(
                self.synapse_shape[0],
                layer.channels,
                layer.kernel,
                stride=layer.stride,
                padding=layer.kernel // 2,
                bias=False,
            )
            self.norm = nn.BatchNorm2d(layer.channels)
        nn.init.constant_(self.norm.weight, rule.firing_threshold)
        self.neuron = SpikingNeuron(timesteps, rule)

    def forward(self, spikes: Tensor) -> Tensor:
        """Spikes ``[T*B, ...]`` of the layer that receives the spikes ``[T*B, ...]``."""
        x = pool_spikes(spikes, self.pool)
        if isinstance(self.synapse, nn.Linear):
            x = x.flatten(1)
        current = leaky_sum(self.synapse(x), self.timesteps, self.synapse_keep)
        out: Tensor = self.neuron(self.norm(current))
        return out


class OutputLayer(nn.Module):
    """Output potentials ``V[t] = λ_o V[t-1] + W s[t]``: float32, never reset, without bias.

    Args:
        input_shape: shape of what the layer receives, before pooling.
        classes: K.
        timesteps: T.
        keep: λ_o, 1 without leak.
        pool: pooling of its input.

    Attributes:
        synapse_shape: shape of the synapses' input, after pooling.
        largest_input: most spikes that the synapses receive at one input in one timestep.
    """

    def __init__(
        self, input_shape: Shape, classes: int, *, timesteps: int, keep: float, pool: Pool | None
    ):
        super().__init__()
        self.timesteps = timesteps
        self.keep = keep
        self.pool = pool
        self.synapse_shape = pooled(input_shape, pool)
        self.largest_input = 4 if pool == "sum" else 1
        self.synapse = CentredLinear(math.prod(self.synapse_shape), classes)

    def forward(self, spikes: Tensor) -> Tensor:
        """Potentials ``[T, B, K]`` float32 of the spikes ``[T*B, ...]``."""
        x = pool_spikes(spikes, self.pool).flatten(1)
        with torch.autocast(x.device.type, enabled=False):
            current = self.synapse(x.to(self.synapse.weight.dtype))
        potentials = leaky_sum(current, self.timesteps, self.keep)
        return potentials.view(self.timesteps, -1, potentials.shape[-1])
