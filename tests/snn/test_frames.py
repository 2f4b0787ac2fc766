"""Augmentation of event frames: what is lost, moved and mirrored."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latsearch.snn.frames import augment_frames
from latsearch.snn.images import Normalization


def counts(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 4, shape, generator=generator, dtype=torch.uint8)


def augmented(frames: Tensor, padding: int = 0, flip: bool = False, drop: float = 0.0) -> Tensor:
    before = frames.clone()
    result = augment_frames(
        frames,
        torch.Generator().manual_seed(1),
        crop_padding=padding,
        horizontal_flip=flip,
        event_drop=drop,
    )
    assert torch.equal(frames, before)
    assert result.dtype == torch.uint8
    assert result.shape == frames.shape
    return result


def test_nothing_asked_for_changes_nothing() -> None:
    frames = counts(3, 2, 2, 5, 4)
    assert torch.equal(augmented(frames), frames)


def moved(frame: Tensor, down: int, right: int) -> Tensor:
    height, width = frame.shape[-2:]
    result = torch.zeros_like(frame)
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                result[..., y, x] = frame[..., y - down, x - right]
    return result


def test_all_frames_of_a_recording_are_moved_and_mirrored_alike() -> None:
    frames = counts(40, 3, 2, 5, 6)
    seen = set()
    for recording, result in zip(frames, augmented(frames, padding=2, flip=True), strict=True):
        ways = [
            (down, right, flip)
            for down in range(-2, 3)
            for right in range(-2, 3)
            for flip in (False, True)
            if torch.equal(moved(recording.flip(-1) if flip else recording, down, right), result)
        ]
        assert len(ways) == 1
        seen.add(ways[0])
    assert len(seen) > 20


def test_one_row_stays_where_it_is() -> None:
    frames = torch.ones(50, 1, 1, 1, 700, dtype=torch.uint8)
    left = augmented(frames, padding=8).sum(dim=(1, 2, 3, 4))
    assert left.min() >= 692
    assert left.max() <= 700
    assert len(left.unique()) > 3


@pytest.mark.parametrize("drop", [0.1, 0.6])
def test_events_are_lost_one_by_one(drop: float) -> None:
    frames = torch.full((4, 10, 2, 20, 20), 3, dtype=torch.uint8)
    frames[:, :, :, :10] = 0
    left = augmented(frames, drop=drop)
    assert left.max() <= 3
    assert not left[:, :, :, :10].any()
    share = 1 - left.sum().item() / frames.sum().item()
    assert abs(share - drop) < 5 * (drop * (1 - drop) / frames.sum().item()) ** 0.5
    of_one = left[:, :, :, 10:].float()
    assert of_one.var().item() == pytest.approx(3 * drop * (1 - drop), rel=0.1)  # binomial


def test_counts_are_taken_as_they_are() -> None:
    frames = counts(2, 3, 2, 4, 4)
    normalize = Normalization((0.3, 0.1), (0.2, 0.5), "cpu")
    assert torch.equal(normalize(frames), frames.float())
