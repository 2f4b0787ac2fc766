"""Latency-coded spiking networks: from images to output potentials."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latsearch.config.trial import CUSTOM, NetworkConfig
from latsearch.errors import UserError
from latsearch.snn.custom import CustomNetwork, build_custom
from latsearch.snn.encoding import build_encoder
from latsearch.snn.families import FAMILIES, Blueprint, Dense, Shape
from latsearch.snn.layers import Identity, OutputLayer, Projection, build_layer
from latsearch.snn.neurons import STATELESS, SpikingNeuron

OWN_CODE = (
    "{} needs layers that latsearch knows, but the network is the user's own code (family custom); "
    "use one of latsearch's families"
)


class LatencyNetwork(nn.Module):
    """A latency encoder, spiking layers and integrating output neurons.

    Args:
        config: the network's configuration.
        blueprint: its architecture.
        input_shape: ``(C, H, W)`` of the images.
        classes: K.

    Attributes:
        encoder: turns an image into spikes.
        hidden: the hidden layers and residual blocks.
        output: the output layer.
        timesteps: T; 1 where the units have no state over time.
        recompute: whether training computes activations again in the backward pass, which takes
            about a third more time and memory for one layer at a time instead of all.
    """

    def __init__(
        self,
        config: NetworkConfig,
        blueprint: Blueprint,
        input_shape: tuple[int, int, int],
        classes: int,
    ):
        super().__init__()
        self.config = config
        self.input_shape = input_shape
        self.classes = classes
        self.timesteps = 1 if config.neuron in STATELESS else config.timesteps
        self.encoder = build_encoder(input_shape, blueprint.stem, self.timesteps, config)
        shape, largest = self.encoder.output_shape, 1
        layers = []
        for description in blueprint.hidden:
            layer = build_layer(
                shape,
                description,
                timesteps=self.timesteps,
                config=config,
                largest_input=largest,
            )
            layers.append(layer)
            shape, largest = layer.output_shape, layer.largest_output
        self.hidden = nn.Sequential(*layers)
        self.output = OutputLayer(
            shape,
            classes,
            timesteps=self.timesteps,
            config=config,
            pool=blueprint.output_pool,
            largest_input=largest,
        )
        self.recompute = False
        self.convolutional = any(not isinstance(layer, Dense) for layer in blueprint.hidden)
        if self.convolutional:
            self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Output potentials ``[T, B, K]`` float32.

        Args:
            images: normalised images ``[B, C, H, W]``; for the encoder ``frames`` event frames
                ``[B, T, P, H, W]``.
        """
        if self.convolutional and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        spikes = self.encoder(images).flatten(0, 1)
        for layer in self.hidden:
            if self.recompute and self.training:
                spikes = recomputed(layer, spikes)
            else:
                spikes = layer(spikes)
        potentials: Tensor = self.output(spikes)
        return potentials

    def projections(self) -> list[Projection | Identity]:
        """What carries spikes to hidden neurons, from the input to the output."""
        return [part for part in self.hidden.modules() if isinstance(part, Projection | Identity)]

    def hidden_layers(self) -> list[tuple[nn.Module, Shape]]:
        """Each layer of hidden units and its shape, from the input to the output."""
        return [unit for layer in self.hidden for unit in layer.units()]  # type: ignore[operator]

    @property
    def analog(self) -> bool:
        """Whether the layers exchange real values, not spikes."""
        return self.config.neuron == "relu" or self.encoder.analog

    def hidden_neurons(self) -> int:
        """Number of hidden units of one sample."""
        return sum(math.prod(shape) for _, shape in self.hidden_layers())

    def updated_neurons(self) -> int:
        """Units of one sample that are updated at every timestep: an encoder's neurons too."""
        has_neurons = self.encoder.neuron is not None
        return self.hidden_neurons() + has_neurons * math.prod(self.encoder.output_shape)

    def largest_layer(self) -> int:
        """Values of the largest layer of one sample and timestep."""
        shapes = [self.encoder.output_shape, *(shape for _, shape in self.hidden_layers())]
        return max(math.prod(shape) for shape in shapes)

    def layer_weights(self) -> list[tuple[str, Tensor]]:
        """The weights of each layer's synapses, shortcuts among them, by the layer's name."""
        hidden = [x.synapse.weight for x in self.projections() if isinstance(x, Projection)]
        named = [(f"layer{index}", weight) for index, weight in enumerate(hidden, start=1)]
        return [
            ("encoder", self.encoder.conv.weight),
            *named,
            ("output", self.output.synapse.weight),
        ]

    def parameter_count(self) -> int:
        """Number of learned parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def use_compiled_kernels(self, compiled: bool) -> None:
        """Choose between compiled and eager neuron kernels (see `neurons.fire`)."""
        for part in self.modules():
            if isinstance(part, SpikingNeuron):
                part.compiled = compiled


def recomputed(layer: nn.Module, spikes: Tensor) -> Tensor:
    """A layer whose activations are computed again in the backward pass, not kept.

    The second pass leaves the running statistics of the normalisations alone.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return contextlib.nullcontext(), _frozen_statistics(layer)

    out: Tensor = checkpoint(layer, spikes, use_reentrant=False, context_fn=contexts)
    return out


@contextlib.contextmanager
def _frozen_statistics(layer: nn.Module) -> Iterator[None]:
    norms = [n for n in layer.modules() if isinstance(n, nn.BatchNorm1d | nn.BatchNorm2d)]
    counts = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
    before = [(norm.momentum, count.clone()) for norm, count in zip(norms, counts, strict=True)]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, count, (momentum, seen) in zip(norms, counts, before, strict=True):
            norm.momentum = momentum
            count.copy_(seen)


def build_network(
    config: NetworkConfig, input_shape: tuple[int, int, int], classes: int, *, meta: bool = False
) -> LatencyNetwork:
    """A network with fresh weights, drawn from torch's global generator.

    Args:
        config: the network's configuration.
        input_shape: ``(C, H, W)`` of the images.
        classes: K, 2 or more.
        meta: whether to build it without memory for its weights, for counts and bounds alone.

    Raises:
        UserError: the architecture does not fit the images, there are not two classes, or the
            network is the user's own.
    """
    if config.family == CUSTOM:
        raise UserError(OWN_CODE.format("build_network"))
    if classes < 2:
        raise UserError(f"a network needs two classes at least, got {classes}")
    blueprint = FAMILIES[config.family](config, input_shape)
    with torch.device("meta") if meta else contextlib.nullcontext():
        return LatencyNetwork(config, blueprint, input_shape, classes)


Network = LatencyNetwork | CustomNetwork
"""A network of latsearch's own, or one that is the user's code."""


def build_any(
    config: NetworkConfig, input_shape: tuple[int, int, int], classes: int, *, meta: bool = False
) -> Network:
    """As `build_network`, but of the user's own networks as well, which never are without memory.

    Raises:
        UserError: as in `build_network`; or code is not allowed, or fails.
    """
    if config.family != CUSTOM:
        return build_network(config, input_shape, classes, meta=meta)
    if classes < 2:
        raise UserError(f"a network needs two classes at least, got {classes}")
    return build_custom(config, input_shape, classes)


def own(network: Network, purpose: str) -> LatencyNetwork:
    """The network, which has to be one of latsearch's own.

    Args:
        network: any network.
        purpose: what needs it, for the message.

    Raises:
        UserError: it is the user's code.
    """
    if isinstance(network, CustomNetwork):
        raise UserError(OWN_CODE.format(purpose))
    return network
