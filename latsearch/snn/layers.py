"""The layers of a network after its encoder: projections, hidden layers, residual blocks, output.

A projection carries spikes to the current of the next neurons; hidden layers and residual blocks
are projections and neurons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latsearch.config.trial import NetworkConfig
from latsearch.snn.families import (
    Conv,
    Dense,
    Layer,
    Pool,
    Residual,
    Shape,
    after,
    pooled,
    pooled_positions,
)
from latsearch.snn.neurons import build_neuron, initial_gain
from latsearch.snn.synapses import leaky_sum, synapse_keep


def pool_spikes(x: Tensor, pool: Pool | None) -> Tensor:
    """Pooling of ``[T*B, C, H, W]``: the maximum or the sum of 2×2, or the sum of the whole map."""
    if pool == "max":
        return F.max_pool2d(x, 2)
    if pool == "sum":
        return F.avg_pool2d(x, 2, divisor_override=1)
    if pool == "global":
        return x.sum((2, 3), keepdim=True)
    return x


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution with a stride, computed as one without on every stride-th position.

    The same sums. oneDNN's own kernel for its gradient corrupts the heap where there is AVX2 but no
    AVX-512 (torch 2.14, channels last; seen with 2, 3 and 4 channels, not with 1, 8, 12 and 20).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Currents ``[B, C', H', W']`` of the inputs ``[B, C, H, W]``."""
        down, right = self.stride
        return F.conv2d(input[..., ::down, ::right], self.weight, self.bias)


class TimestepNorm(nn.Module):
    """Batch normalisation with statistics and an affine of its own for each timestep.

    Args:
        norms: one normalisation for each timestep.
    """

    def __init__(self, norms: Sequence[nn.BatchNorm1d | nn.BatchNorm2d]):
        super().__init__()
        self.norms = nn.ModuleList(norms)

    def forward(self, current: Tensor) -> Tensor:
        """Normalised currents ``[T*B, ...]`` of the currents ``[T*B, ...]``."""
        steps = current.chunk(len(self.norms))
        return torch.cat([norm(step) for norm, step in zip(self.norms, steps, strict=True)])


class Projection(nn.Module):
    """Pooling, synapses and batch normalisation: what spikes do to the neurons behind them.

    The synaptic current ``I[t] = α I[t-1] + W s[t]`` is normalised with one affine for all
    timesteps and statistics pooled over T·B, or with one of each for every timestep; γ starts at
    the firing threshold.

    Args:
        input_shape: shape of what it receives, before pooling.
        layer: its kind and size.
        timesteps: T.
        config: the network's configuration.
        largest_input: most spikes that one input sends in one timestep, before pooling.

    Attributes:
        synapse_shape: shape of the synapses' input, after pooling.
        output_shape: shape of the currents.
        largest_input: most spikes that the synapses receive at one input in one timestep.
    """

    def __init__(
        self,
        input_shape: Shape,
        layer: Conv | Dense,
        *,
        timesteps: int,
        config: NetworkConfig,
        largest_input: int,
    ):
        super().__init__()
        self.timesteps = timesteps
        self.synapse_keep = synapse_keep(config.synapse, config.tau_syn)
        self.pool = layer.pool
        self.synapse_shape = pooled(input_shape, layer.pool)
        self.output_shape = after(input_shape, layer)
        positions = pooled_positions(input_shape, layer.pool)
        self.largest_input = largest_input * positions
        self.synapse: nn.Conv2d | nn.Linear
        if isinstance(layer, Dense):
            self.synapse = nn.Linear(math.prod(self.synapse_shape), layer.neurons, bias=False)
        else:
            pointwise = layer.kernel == 1 and layer.stride > 1
            self.synapse = (StridedPointwise if pointwise else nn.Conv2d)(
                self.synapse_shape[0],
                layer.channels,
                layer.kernel,
                stride=layer.stride,
                padding=layer.kernel // 2,
                bias=False,
            )
        count = timesteps if config.norm == "timestep" else 1
        kind = nn.BatchNorm1d if isinstance(layer, Dense) else nn.BatchNorm2d
        norms = [kind(self.output_shape[0]) for _ in range(count)]
        for norm in norms:
            nn.init.constant_(norm.weight, initial_gain(config))
        self.norm: nn.Module = TimestepNorm(norms) if config.norm == "timestep" else norms[0]

    def forward(self, spikes: Tensor) -> Tensor:
        """Normalised currents ``[T*B, ...]`` of the spikes ``[T*B, ...]``."""
        x = pool_spikes(spikes, self.pool)
        if isinstance(self.synapse, nn.Linear):
            x = x.flatten(1)
        current = leaky_sum(self.synapse(x), self.timesteps, self.synapse_keep)
        normalised: Tensor = self.norm(current)
        return normalised


class HiddenLayer(nn.Module):
    """A projection and its neurons.

    Args:
        input_shape: shape of what the layer receives, before pooling.
        layer: its kind and size.
        timesteps: T.
        config: the network's configuration.
        largest_input: most spikes that one input sends in one timestep.

    Attributes:
        output_shape: shape of the layer's neurons.
        largest_output: most spikes that one neuron sends in one timestep.
    """

    largest_output = 1

    def __init__(
        self,
        input_shape: Shape,
        layer: Conv | Dense,
        *,
        timesteps: int,
        config: NetworkConfig,
        largest_input: int,
    ):
        super().__init__()
        self.projection = Projection(
            input_shape, layer, timesteps=timesteps, config=config, largest_input=largest_input
        )
        self.output_shape = self.projection.output_shape
        model = layer.neuron if isinstance(layer, Conv) else None
        self.neuron = build_neuron(config, timesteps, model)

    def forward(self, spikes: Tensor) -> Tensor:
        """Spikes ``[T*B, ...]`` of the layer that receives the spikes ``[T*B, ...]``."""
        out: Tensor = self.neuron(self.projection(spikes))
        return out

    def units(self) -> list[tuple[nn.Module, Shape]]:
        """The neurons and their shape."""
        return [(self.neuron, self.output_shape)]


class Identity(nn.Module):
    """A shortcut without weights: a spike is a current of one firing threshold.

    Args:
        shape: shape of what it receives.
        timesteps: T.
        keep: α of the synaptic kernel.
        scale: current of a spike.
        largest_input: most spikes that one input sends in one timestep.

    Attributes:
        scale: as given; ``[C, 1, 1]`` where the channels' currents have units of their own.
    """

    scale: float | Tensor

    def __init__(
        self, shape: Shape, *, timesteps: int, keep: float, scale: float, largest_input: int
    ):
        super().__init__()
        self.input_shape = shape
        self.timesteps = timesteps
        self.synapse_keep = keep
        self.scale = scale
        self.largest_input = largest_input

    def forward(self, spikes: Tensor) -> Tensor:
        """Currents ``[T*B, ...]`` of the spikes ``[T*B, ...]``."""
        return leaky_sum(spikes, self.timesteps, self.synapse_keep) * self.scale


class ResidualBlock(nn.Module):
    """Hidden layers with a shortcut around them.

    Args:
        input_shape: shape of what the block receives, before pooling.
        block: its convolutions, and where the shortcut joins them.
        timesteps: T.
        config: the network's configuration.
        largest_input: most spikes that one input sends in one timestep.

    Attributes:
        body: the hidden layers before the last projection.
        last: the last projection.
        shortcut: a 1x1 projection where the shape changes; else an identity.
        neuron: the neurons that receive the last projection.
        shortcut_neuron: neurons of a projecting shortcut whose spikes are added.
        output_shape: shape of the block's output.
        largest_output: most spikes that one output sends in one timestep.
    """

    def __init__(
        self,
        input_shape: Shape,
        block: Residual,
        *,
        timesteps: int,
        config: NetworkConfig,
        largest_input: int,
    ):
        super().__init__()
        self.adds_spikes = block.merge == "spikes"
        self.output_shape = after(input_shape, block)
        body: list[HiddenLayer] = []
        shape, largest = input_shape, largest_input
        for conv in block.body[:-1]:
            layer = HiddenLayer(
                shape, conv, timesteps=timesteps, config=config, largest_input=largest
            )
            body.append(layer)
            shape, largest = layer.output_shape, layer.largest_output
        self.body = nn.Sequential(*body)
        final = block.body[-1]
        self.last = Projection(
            shape, final, timesteps=timesteps, config=config, largest_input=largest
        )
        self.neuron = build_neuron(config, timesteps, final.neuron)
        self.shortcut: Projection | Identity | None
        self.shortcut_neuron: nn.Module | None = None
        first = block.body[0]
        if self.output_shape != input_shape:
            resize = Conv(final.channels, 1, first.stride, first.pool)
            self.shortcut = Projection(
                input_shape, resize, timesteps=timesteps, config=config, largest_input=largest_input
            )
            if self.adds_spikes:
                self.shortcut_neuron = build_neuron(config, timesteps, final.neuron)
            largest_input = 1
        elif self.adds_spikes:
            self.shortcut = None
        else:
            self.shortcut = Identity(
                input_shape,
                timesteps=timesteps,
                keep=synapse_keep(config.synapse, config.tau_syn),
                scale=initial_gain(config),
                largest_input=largest_input,
            )
        self.largest_output = largest_input + 1 if self.adds_spikes else 1

    def forward(self, spikes: Tensor) -> Tensor:
        """Spikes ``[T*B, ...]`` of the block that receives the spikes ``[T*B, ...]``."""
        current = self.last(self.body(spikes))
        short = spikes if self.shortcut is None else self.shortcut(spikes)
        if not self.adds_spikes:
            out: Tensor = self.neuron(current + short)
            return out
        if self.shortcut_neuron is not None:
            short = self.shortcut_neuron(short)
        summed: Tensor = self.neuron(current) + short
        return summed

    def units(self) -> list[tuple[nn.Module, Shape]]:
        """Each layer of neurons and its shape."""
        inner = [unit for layer in self.body for unit in layer.units()]  # type: ignore[operator]
        own = [self.neuron, *([self.shortcut_neuron] if self.shortcut_neuron else [])]
        return [*inner, *((neuron, self.output_shape) for neuron in own)]


def build_layer(
    input_shape: Shape,
    layer: Layer,
    *,
    timesteps: int,
    config: NetworkConfig,
    largest_input: int,
) -> HiddenLayer | ResidualBlock:
    """The layer or block that a blueprint describes."""
    if isinstance(layer, Residual):
        return ResidualBlock(
            input_shape, layer, timesteps=timesteps, config=config, largest_input=largest_input
        )
    return HiddenLayer(
        input_shape, layer, timesteps=timesteps, config=config, largest_input=largest_input
    )


class ClassLinear(nn.Linear):
    """The output's weights, centred over the classes or not: ``W_k - mean_j W_j``.

    Cross-entropy and argmax do not see the centring; it makes the potentials of a sample sum to
    zero, so that a positive decision threshold means the same for every sample.

    Args:
        in_features: inputs N.
        classes: K.
        centred: whether weights and bias are centred.
        bias: whether there is a bias.
        scale: factor of the weights, 1 / positions where its inputs are sums over positions.
    """

    def __init__(self, in_features: int, classes: int, *, centred: bool, bias: bool, scale: float):
        super().__init__(in_features, classes, bias=bias)
        self.centred = centred
        self.scale = scale
        if bias:
            nn.init.zeros_(self.bias)

    def effective_weight(self) -> Tensor:
        """``[K, N]``: the weights that are used."""
        weight = self.weight - self.weight.mean(0, keepdim=True) if self.centred else self.weight
        return weight * self.scale if self.scale != 1.0 else weight

    def effective_bias(self) -> Tensor | None:
        """``[K]``: the bias that is used, None without one."""
        if self.bias is None:
            return None
        return self.bias - self.bias.mean() if self.centred else self.bias

    def forward(self, input: Tensor) -> Tensor:
        """Synaptic currents ``[B, K]`` of the inputs ``[B, N]``."""
        return F.linear(input, self.effective_weight(), self.effective_bias())


class OutputLayer(nn.Module):
    """Output potentials ``V[t] = λ_o V[t-1] + W s[t] + b``: float32, never reset.

    Args:
        input_shape: shape of what the layer receives, before pooling.
        classes: K.
        timesteps: T.
        config: the network's configuration.
        pool: pooling of its input.
        largest_input: most spikes that one input sends in one timestep.

    Attributes:
        keep: λ_o, 1 without leak.
        unit: what a potential of one is worth where the weights are integers; None where not.
        synapse_shape: shape of the synapses' input, after pooling.
        largest_input: most spikes that the synapses receive at one input in one timestep.
    """

    unit: Tensor | None

    def __init__(
        self,
        input_shape: Shape,
        classes: int,
        *,
        timesteps: int,
        config: NetworkConfig,
        pool: Pool | None,
        largest_input: int,
    ):
        super().__init__()
        self.timesteps = timesteps
        self.register_buffer("unit", None)
        self.keep = 1.0 if config.output_tau_mem is None else 1.0 - 1.0 / config.output_tau_mem
        self.pool = pool
        self.synapse_shape = pooled(input_shape, pool)
        positions = pooled_positions(input_shape, pool)
        self.largest_input = largest_input * positions
        self.synapse: nn.Linear = ClassLinear(
            math.prod(self.synapse_shape),
            classes,
            centred=config.output_centred,
            bias=config.output_bias,
            scale=1.0 / positions if pool == "global" else 1.0,
        )

    def forward(self, spikes: Tensor) -> Tensor:
        """Potentials ``[T, B, K]`` float32 of the spikes ``[T*B, ...]``."""
        x = pool_spikes(spikes, self.pool).flatten(1)
        with torch.autocast(x.device.type, enabled=False):
            current = self.synapse(x.to(self.synapse.weight.dtype))
        potentials = leaky_sum(current, self.timesteps, self.keep)
        if self.unit is not None:
            potentials = potentials * self.unit
        return potentials.view(self.timesteps, -1, potentials.shape[-1])
