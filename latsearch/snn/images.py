"""Images on their way into a network: to the device, augmented and normalised there in batches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def as_tensor(array: NDArray[Any], device: torch.device | str) -> Tensor:
    """The array on the device; on a CPU a view of the same memory, which is never written to."""
    with warnings.catch_warnings():
        # read-only shared memory is meant to be shared
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.to(device)


class Normalization:
    """Zero mean and unit variance by channel.

    Args:
        mean: mean by channel on the scale 0..1.
        std: standard deviation by channel on the scale 0..1.
        device: where the images are.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device | str):
        self.mean = tuple(mean)
        self.std = tuple(std)
        center = torch.tensor(self.mean, dtype=torch.float64).view(-1, 1, 1)
        spread = torch.tensor(self.std, dtype=torch.float64).clamp_min(1e-6).view(-1, 1, 1)
        self._scale = (1.0 / spread).float().to(device)
        self._shift = (-center / spread).float().to(device)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of uint8 pixels by channel, each ``[C, 1, 1]``."""
        return self._scale / 255.0, self._shift

    def __call__(self, images: Tensor) -> Tensor:
        """Float32 of images ``[B, C, H, W]`` in uint8 (0..255) or floats (0..1).

        The counts of event frames ``[B, T, P, H, W]`` are taken as they are.
        """
        if images.ndim == 5:
            return images.to(torch.float32)
        scale = self._scale if images.is_floating_point() else self._scale / 255.0
        return (images.to(torch.float32) * scale).add_(self._shift)


def augment(
    images: Tensor, generator: torch.Generator, *, crop_padding: int, horizontal_flip: bool
) -> Tensor:
    """Shift each image by up to `crop_padding` pixels, zeros coming in, and mirror half of them.

    Args:
        images: ``[B, C, H, W]``, not changed.
        generator: on the CPU, so that every device sees the same augmentation.
        crop_padding: largest shift in pixels along each axis.
        horizontal_flip: whether images are mirrored at random.
    """
    if crop_padding == 0 and not horizontal_flip:
        return images
    batch, channels, height, width = images.shape
    device = images.device
    padded = F.pad(images, (crop_padding,) * 4) if crop_padding else images
    shift = torch.randint(0, 2 * crop_padding + 1, (2, batch, 1), generator=generator)
    rows = shift[0] + torch.arange(height)
    columns = shift[1] + torch.arange(width)
    if horizontal_flip:
        flipped = torch.randint(0, 2, (batch, 1), generator=generator).bool()
        columns = torch.where(flipped, columns.flip(1), columns)
    # one gather for both, the same for all channels of an image
    place = rows[:, :, None] * (width + 2 * crop_padding) + columns[:, None, :]
    place = place.view(batch, 1, -1).expand(batch, channels, -1).to(device)
    return padded.flatten(2).gather(2, place).view(images.shape)
