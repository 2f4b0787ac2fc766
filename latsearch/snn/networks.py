"""Latency-coded spiking networks: from images to output potentials."""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor, nn

from latsearch.config.trial import NetworkConfig
from latsearch.errors import UserError
from latsearch.snn.encoding import LatencyEncoder
from latsearch.snn.families import FAMILIES, Blueprint, Conv, after
from latsearch.snn.layers import OutputLayer, SpikingLayer
from latsearch.snn.neurons import FiringRule
from latsearch.snn.synapses import synapse_keep


class LatencyNetwork(nn.Module):
    """A latency encoder, spiking layers and integrating output neurons.

    Args:
        config: the network's configuration.
        blueprint: its architecture.
        input_shape: ``(C, H, W)`` of the images.
        classes: K.

    Attributes:
        encoder: turns an image into spikes, once an image.
        hidden: the spiking layers.
        output: the output layer.
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
        self.timesteps = config.timesteps
        self.encoder = LatencyEncoder(
            input_shape[0],
            blueprint.stem.channels,
            kernel=blueprint.stem.kernel,
            stride=blueprint.stem.stride,
            timesteps=config.timesteps,
            width=config.encoder_surrogate_width,
        )
        shape = after(input_shape, blueprint.stem)
        keep = synapse_keep(config.synapse, config.tau_syn)
        layers = []
        for description in blueprint.hidden:
            layer = SpikingLayer(
                shape,
                description,
                timesteps=config.timesteps,
                rule=firing_rule(config),
                synapse_keep=keep,
            )
            layers.append(layer)
            shape = layer.output_shape
        self.hidden = nn.Sequential(*layers)
        self.output = OutputLayer(
            shape,
            classes,
            timesteps=config.timesteps,
            keep=1.0 if config.output_tau_mem is None else 1.0 - 1.0 / config.output_tau_mem,
            pool=blueprint.output_pool,
        )
        self.convolutional = any(isinstance(layer, Conv) for layer in blueprint.hidden)
        if self.convolutional:
            self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Output potentials ``[T, B, K]`` float32 of normalised images ``[B, C, H, W]``."""
        if self.convolutional:
            images = images.contiguous(memory_format=torch.channels_last)
        spikes = self.encoder(images).flatten(0, 1)
        potentials: Tensor = self.output(self.hidden(spikes))
        return potentials

    def layers(self) -> list[SpikingLayer]:
        """The spiking layers, from the input to the output."""
        return [layer for layer in self.hidden if isinstance(layer, SpikingLayer)]

    def hidden_neurons(self) -> int:
        """Number of hidden spiking neurons of one sample."""
        return sum(math.prod(layer.output_shape) for layer in self.layers())

    def parameter_count(self) -> int:
        """Number of learned parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def use_compiled_kernels(self, compiled: bool) -> None:
        """Choose between compiled and eager neuron kernels (see `neurons.fire`)."""
        for layer in self.layers():
            layer.neuron.compiled = compiled


def firing_rule(config: NetworkConfig) -> FiringRule:
    """The hidden neurons' behaviour in a configuration."""
    return FiringRule(
        keep=1.0 if config.neuron == "if" else 1.0 - 1.0 / config.tau_mem,
        firing_threshold=config.firing_threshold,
        soft_reset=config.reset == "soft",
        strict=config.spiking == "strict",
        surrogate=config.surrogate,
        surrogate_width=config.surrogate_width,
    )


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
        UserError: the architecture does not fit the images, or there are not two classes.
    """
    if classes < 2:
        raise UserError(f"a network needs two classes at least, got {classes}")
    blueprint = FAMILIES[config.family](config, input_shape)
    with torch.device("meta") if meta else contextlib.nullcontext():
        return LatencyNetwork(config, blueprint, input_shape, classes)
