"""Cutout and torchvision's policies on batches."""

from __future__ import annotations

import pytest
import torch

from latsearch.snn.augmentation import auto_augment, cutout

IMAGES = torch.randint(1, 256, (64, 3, 12, 10), generator=torch.Generator().manual_seed(0)).to(
    torch.uint8
)
POLICIES = ["autoaugment", "randaugment", "trivialaugment"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_cutout_hides_a_square_behind_the_mean() -> None:
    before = IMAGES.clone()
    got = cutout(IMAGES, generator(), 4, (0.0, 0.5, 1.0))
    assert torch.equal(IMAGES, before)
    sizes = set()
    for image, changed in zip(IMAGES, got, strict=True):
        hidden = (changed[0] == 0).nonzero()  # no image has a zero of its own
        (top, left), (bottom, right) = hidden.min(0).values, hidden.max(0).values
        square = changed[:, top : bottom + 1, left : right + 1]
        assert (square == torch.tensor([0, 128, 255]).view(3, 1, 1)).all()
        assert (bottom - top + 1) * (right - left + 1) == len(hidden)
        sizes.add((int(bottom - top + 1), int(right - left + 1)))
        outside = torch.ones(12, 10, dtype=torch.bool)
        outside[top : bottom + 1, left : right + 1] = False
        assert torch.equal(image[:, outside], changed[:, outside])
    assert (4, 4) in sizes
    assert all(height <= 4 and width <= 4 for height, width in sizes)
    assert len(sizes) > 1  # some lie partly outside


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_policies_change_images_repeatably(policy: str, channels: int) -> None:
    images = IMAGES[:, :channels]
    before, state = images.clone(), torch.get_rng_state()
    first, again, other = (auto_augment(images, generator(s), policy) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.shape, first.dtype) == (images.shape, torch.uint8)


def test_nothing_to_do_draws_nothing() -> None:
    draws = generator()
    state = draws.get_state()
    assert cutout(IMAGES, draws, 0, (0.0, 0.0, 0.0)) is IMAGES
    assert auto_augment(IMAGES, draws, "none") is IMAGES
    assert torch.equal(draws.get_state(), state)
