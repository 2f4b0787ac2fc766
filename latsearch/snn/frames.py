"""Augmentation of event frames, on the device they are on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def augment_frames(
    frames: Tensor,
    generator: torch.Generator,
    *,
    crop_padding: int,
    horizontal_flip: bool,
    event_drop: float,
) -> Tensor:
    """Lose events, shift each recording by up to `crop_padding` pixels and mirror half of them.

    All frames of a recording are shifted and mirrored alike. Along an axis of n pixels the shift
    is n - 1 at most: a cochlea's one row stays where it is.

    Args:
        frames: ``[B, T, P, H, W]`` counts, not changed.
        generator: on the CPU, so that every device sees the same augmentation.
        crop_padding: largest shift in pixels along each axis.
        horizontal_flip: whether recordings are mirrored at random.
        event_drop: probability with which each event is lost.
    """
    if event_drop > 0:
        frames = _dropped(frames, generator, event_drop)
    if crop_padding == 0 and not horizontal_flip:
        return frames
    batch, _, _, height, width = frames.shape
    device = frames.device
    down, right = min(crop_padding, height - 1), min(crop_padding, width - 1)
    padded = F.pad(frames, (right, right, down, down))
    rows = torch.randint(0, 2 * down + 1, (batch, 1), generator=generator) + torch.arange(height)
    columns = torch.randint(0, 2 * right + 1, (batch, 1), generator=generator)
    columns = columns + torch.arange(width)
    if horizontal_flip:
        mirrored = torch.randint(0, 2, (batch, 1), generator=generator).bool()
        columns = torch.where(mirrored, columns.flip(1), columns)
    sample = torch.arange(batch, device=device)[:, None, None]
    rows, columns = rows.to(device), columns.to(device)
    moved = padded[sample, :, :, rows[:, :, None], columns[:, None, :]]  # [B, H, W, T, P]
    return moved.permute(0, 3, 4, 1, 2)


def _dropped(frames: Tensor, generator: torch.Generator, probability: float) -> Tensor:
    """The frames without the events that were lost; most pixels have none to begin with."""
    flat = frames.flatten().clone()
    there = flat.nonzero().squeeze(1)
    counts = flat[there].float().cpu()
    keep = torch.full_like(counts, 1.0 - probability)
    kept = torch.binomial(counts, keep, generator=generator)
    flat[there] = kept.to(device=flat.device, dtype=flat.dtype)
    return flat.view(frames.shape)
