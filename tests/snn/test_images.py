from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from latsearch.snn.images import Normalization, as_tensor, augment


def test_read_only_arrays_are_shared_without_a_word():
    array = np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = as_tensor(array, "cpu")
    assert tensor.data_ptr() == array.ctypes.data


def test_normalised_images_have_zero_mean_and_unit_variance():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (50, 3, 5, 5), dtype=np.uint8)
    pixels = images / 255
    normalize = Normalization(pixels.mean((0, 2, 3)), pixels.std((0, 2, 3)), "cpu")
    got = normalize(torch.from_numpy(images))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(got.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(normalize(torch.from_numpy(pixels)), got)


def test_a_constant_channel_stays_finite():
    got = Normalization([0.0], [0.0], "cpu")(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))
    assert got.isfinite().all()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("padding", [0, 2])
def test_every_augmented_image_is_a_shifted_or_mirrored_one(padding, flip):
    generator = torch.Generator().manual_seed(0)
    images = torch.arange(1, 1 + 64 * 2 * 3 * 4).view(64, 2, 3, 4)
    before = images.clone()
    got = augment(images, generator, crop_padding=padding, horizontal_flip=flip)
    assert torch.equal(images, before)
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    seen = set()
    for index in range(64):
        candidates = {
            (y, x, mirrored): window.flip(-1) if mirrored else window
            for y in range(2 * padding + 1)
            for x in range(2 * padding + 1)
            for mirrored in ({False, True} if flip else {False})
            for window in [padded[index, :, y : y + 3, x : x + 4]]
        }
        matching = [key for key, image in candidates.items() if torch.equal(image, got[index])]
        assert matching
        seen.add(matching[0])
    assert len(seen) > 1 or (padding == 0 and not flip)


def test_augmentation_depends_on_its_generator_alone():
    images = torch.randint(0, 256, (8, 1, 6, 6), dtype=torch.uint8)
    a, b, c = (
        augment(
            images,
            torch.Generator().manual_seed(seed),
            crop_padding=2,
            horizontal_flip=True,
        )
        for seed in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
