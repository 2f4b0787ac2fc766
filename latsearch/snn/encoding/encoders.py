"""Encoders: from an image, or event frames, to what the first hidden layer receives.

All of them share one stem, a convolution with normalisation: ``z = softplus(g) · BN(conv x) + β``.
They differ in the code that z becomes. `LatencyEncoder` is the method's, the others are what it is
compared with, and `FrameEncoder` takes event data, whose time is given.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latsearch.config.trial import NetworkConfig
from latsearch.snn.encoding.latency import latency_spikes
from latsearch.snn.encoding.rate import rate_spikes
from latsearch.snn.families import Conv, Shape, after
from latsearch.snn.neurons import build_neuron, initial_gain
from latsearch.snn.synapses import leaky_sum, synapse_keep

# so that all T + 1 codes occur at the start: z around 0.5 ± 0.3
CODE_SCALE, CODE_SHIFT = 0.3, 0.5


class Encoder(nn.Module, ABC):
    """A stem and a code.

    Args:
        input_shape: ``(C, H, W)`` of an image or frame.
        stem: the stem's convolution.
        timesteps: T.
        scale: softplus(g) at the start.
        shift: β at the start.

    Attributes:
        input_shape: as given.
        output_shape: shape of the features.
        neuron: the stem's neurons, where the code is made by neurons.
        folded: what is left of the normalisation once it is folded into the convolution.
        still: whether the stem is computed once an image, not at every timestep.
        analog: whether real values are sent, not spikes.
    """

    still = True
    analog = False

    def __init__(
        self, input_shape: Shape, stem: Conv, *, timesteps: int, scale: float, shift: float
    ):
        super().__init__()
        self.input_shape = input_shape
        self.output_shape = after(input_shape, stem)
        self.timesteps = timesteps
        self.conv = nn.Conv2d(
            input_shape[0],
            stem.channels,
            stem.kernel,
            stride=stem.stride,
            padding=stem.kernel // 2,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(stem.channels, affine=False)
        self.gain = nn.Parameter(torch.full((stem.channels,), math.log(math.expm1(scale))))
        self.shift = nn.Parameter(torch.full((stem.channels,), shift))
        self.neuron: nn.Module | None = None
        self.folded: nn.Module | None = None

    def strength(self, images: Tensor) -> Tensor:
        """The strengths z of the features, ``[B, C, H, W]`` float32, of images ``[B, C, H, W]``."""
        return self._normalised(self.conv(images))

    def _normalised(self, features: Tensor) -> Tensor:
        if self.folded is not None:
            folded: Tensor = self.folded(features)
            return folded
        # batch_norm's own affine step applies softplus(g) and β in the same pass
        return F.batch_norm(
            features.to(self.gain.dtype),  # not in a lower precision
            self.norm.running_mean,
            self.norm.running_var,
            F.softplus(self.gain),
            self.shift,
            self.training,
            self.norm.momentum or 0.0,
            self.norm.eps,
        )

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """What is sent, ``[T, B, C, H, W]``, of the images ``[B, C, H, W]``."""


class LatencyEncoder(Encoder):
    """One spike a feature at most, the stronger the earlier; computed once an image.

    Args:
        input_shape: ``(C, H, W)`` of an image.
        stem: the stem's convolution.
        timesteps: T.
        config: the network's configuration.
    """

    def __init__(self, input_shape: Shape, stem: Conv, timesteps: int, config: NetworkConfig):
        super().__init__(input_shape, stem, timesteps=timesteps, scale=CODE_SCALE, shift=CODE_SHIFT)
        self.width = config.encoder_surrogate_width
        self.spacing = config.encoder_map

    def forward(self, images: Tensor) -> Tensor:
        """Spikes ``[T, B, C, H, W]`` of the images ``[B, C, H, W]``."""
        return latency_spikes(self.strength(images), self.timesteps, self.width, self.spacing)


class RateEncoder(Encoder):
    """Each feature spikes in each timestep with probability ``clip(z, 0, 1)``.

    Training draws from torch's global generator. Evaluation uses the same numbers for every image,
    drawn once, so that a prediction does not depend on the batch it is made in.

    Args:
        input_shape: ``(C, H, W)`` of an image.
        stem: the stem's convolution.
        timesteps: T.
        config: the network's configuration.
    """

    noise: Tensor

    def __init__(self, input_shape: Shape, stem: Conv, timesteps: int, config: NetworkConfig):
        super().__init__(input_shape, stem, timesteps=timesteps, scale=CODE_SCALE, shift=CODE_SHIFT)
        shape = (timesteps, math.prod(self.output_shape))
        noise = torch.rand(shape, generator=torch.Generator().manual_seed(0), device="cpu")
        self.register_buffer("noise", noise)

    def forward(self, images: Tensor) -> Tensor:
        """Spikes ``[T, B, C, H, W]`` of the images ``[B, C, H, W]``."""
        strength = self.strength(images)
        if self.training:
            noise = torch.rand(self.timesteps, *strength.shape, device=strength.device)
            return rate_spikes(strength, noise)
        return rate_spikes(strength, self.noise.view(self.timesteps, 1, *self.output_shape))


class DirectEncoder(Encoder):
    """Direct coding: z is the current of hidden neurons at every timestep, which make the spikes.

    Args:
        input_shape: ``(C, H, W)`` of an image.
        stem: the stem's convolution.
        timesteps: T.
        config: the network's configuration.
    """

    def __init__(self, input_shape: Shape, stem: Conv, timesteps: int, config: NetworkConfig):
        super().__init__(
            input_shape, stem, timesteps=timesteps, scale=initial_gain(config), shift=0.0
        )
        self.neuron = build_neuron(config, timesteps)

    def forward(self, images: Tensor) -> Tensor:
        """Spikes ``[T, B, C, H, W]`` of the images ``[B, C, H, W]``."""
        strength = self.strength(images)
        assert self.neuron is not None
        spikes: Tensor = self.neuron(strength.repeat(self.timesteps, 1, 1, 1))
        return spikes.view(self.timesteps, -1, *spikes.shape[1:])


class AnalogEncoder(Encoder):
    """No code: the rectified features themselves at every timestep, for ordinary networks.

    Args:
        input_shape: ``(C, H, W)`` of an image.
        stem: the stem's convolution.
        timesteps: T.
        config: the network's configuration.
    """

    analog = True

    def __init__(self, input_shape: Shape, stem: Conv, timesteps: int, config: NetworkConfig):
        super().__init__(input_shape, stem, timesteps=timesteps, scale=1.0, shift=0.0)

    def forward(self, images: Tensor) -> Tensor:
        """Real values ``[T, B, C, H, W]`` of the images ``[B, C, H, W]``."""
        features = F.relu(self.strength(images))
        return features.expand(self.timesteps, *features.shape)


class FrameEncoder(Encoder):
    """Event frames: the timesteps are taken as they are, hidden neurons make the spikes.

    The frames' currents pass the same synaptic kernel as those of a hidden layer.

    Args:
        input_shape: ``(P, H, W)`` of a frame, P the polarities.
        stem: the stem's convolution.
        timesteps: T.
        config: the network's configuration.
    """

    still = False

    def __init__(self, input_shape: Shape, stem: Conv, timesteps: int, config: NetworkConfig):
        super().__init__(
            input_shape, stem, timesteps=timesteps, scale=initial_gain(config), shift=0.0
        )
        self.neuron = build_neuron(config, timesteps)
        self.synapse_keep = synapse_keep(config.synapse, config.tau_syn)

    def forward(self, images: Tensor) -> Tensor:
        """Spikes ``[T, B, C, H, W]`` of the frames ``[B, T, P, H, W]``."""
        frames = images.transpose(0, 1).flatten(0, 1)
        current = leaky_sum(self.conv(frames), self.timesteps, self.synapse_keep)
        assert self.neuron is not None
        spikes: Tensor = self.neuron(self._normalised(current))
        return spikes.view(self.timesteps, -1, *spikes.shape[1:])


ENCODERS: Mapping[str, Callable[[Shape, Conv, int, NetworkConfig], Encoder]] = {
    "latency": LatencyEncoder,
    "rate": RateEncoder,
    "direct": DirectEncoder,
    "analog": AnalogEncoder,
    "frames": FrameEncoder,
}


def build_encoder(input_shape: Shape, stem: Conv, timesteps: int, config: NetworkConfig) -> Encoder:
    """The encoder of a configuration."""
    return ENCODERS[config.encoder](input_shape, stem, timesteps, config)
