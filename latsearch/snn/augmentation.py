"""Augmentation beyond shifts and mirroring, of whole batches where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

_GROUP = 8  # images of a batch that share one drawn policy


def cutout(images: Tensor, generator: torch.Generator, size: int, mean: Sequence[float]) -> Tensor:
    """Hide a square of each image behind the mean colour (DeVries and Taylor, 2017).

    The centre lies anywhere in the image, so that a part of the square may lie outside.

    Args:
        images: ``[B, C, H, W]`` uint8, not changed.
        generator: on the CPU, so that every device sees the same augmentation.
        size: pixels along each side of the square.
        mean: mean colour by channel on the scale 0..1.
    """
    if size == 0:
        return images
    batch, _, height, width = images.shape
    top = torch.randint(0, height, (batch, 1), generator=generator) - size // 2
    left = torch.randint(0, width, (batch, 1), generator=generator) - size // 2
    y, x = torch.arange(height), torch.arange(width)
    rows = (y >= top) & (y < top + size)
    columns = (x >= left) & (x < left + size)
    hidden = (rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
    colour = torch.tensor([round(255 * value) for value in mean], dtype=images.dtype)
    return torch.where(hidden, colour.to(images.device).view(1, -1, 1, 1), images)


def auto_augment(images: Tensor, generator: torch.Generator, policy: str) -> Tensor:
    """Change images by a published policy of torchvision's, drawn anew for every few of them.

    Args:
        images: ``[B, C, H, W]`` uint8, not changed.
        generator: on the CPU; torch's global generator is left as it was.
        policy: ``autoaugment`` (the one found for CIFAR-10), ``randaugment``, ``trivialaugment``,
            or ``none``.
    """
    if policy == "none":
        return images
    transform = _transform(policy)
    seed = int(torch.randint(0, 2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torchvision draws from it alone
        return torch.cat([transform(group) for group in torch.split(images, _GROUP)])


@cache
def _transform(policy: str) -> Any:
    from torchvision.transforms import v2  # its import takes a second

    known = {
        "autoaugment": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
        "randaugment": v2.RandAugment,
        "trivialaugment": v2.TrivialAugmentWide,
    }
    return known[policy]()
