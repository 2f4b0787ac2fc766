"""Corruptions: repeatable, of the right strength, for grey, colour and small images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latsearch.data.cache import cache_root
from latsearch.data.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
    corrupted_sets,
    published_folder,
    published_sets,
)
from latsearch.data.splits import Samples
from latsearch.errors import DataError
from tests.data.formats import images

SMOOTH = np.add.outer(np.arange(32), np.arange(32))  # a ramp, which blurs leave nearly as it is


def ramps(count: int, channels: int = 1) -> np.ndarray:
    shades = (SMOOTH[None, None] * np.linspace(2, 4, count)[:, None, None, None]).astype(np.uint8)
    return np.repeat(shades, channels, axis=1)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_repeat_and_keep_the_form(name: str) -> None:
    for clean in (ramps(3), ramps(3, 3)):
        state = np.random.get_state()[1].copy()
        first, again = (corrupt(clean, name, 3, seed=1) for _ in range(2))
        assert (np.random.get_state()[1] == state).all()
        assert (first == again).all()
        assert (first.shape, first.dtype) == (clean.shape, np.uint8)
        assert (first != clean).any()


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "contrast", "brightness"])
def test_severities_grow(name: str) -> None:
    clean = ramps(8, 3)
    errors = [
        np.abs(corrupt(clean, name, severity).astype(int) - clean).mean() for severity in SEVERITIES
    ]
    assert errors == sorted(errors)


def test_the_constants_are_imagenet_cs() -> None:
    """Gaussian noise of severity 1 has a standard deviation of 0.08 of the scale."""
    grey = np.full((20, 1, 32, 32), 128, np.uint8)
    noisy = corrupt(grey, "gaussian_noise", 1).astype(float) / 255
    assert noisy.std() == pytest.approx(0.08, abs=0.005)
    assert corrupt(np.repeat(grey, 3, 1), "gaussian_noise", 1).std() / 255 == pytest.approx(
        0.08, abs=0.005
    )


@pytest.mark.parametrize("size", [8, 28, 31])
def test_small_images_stay_where_they_are(size: int) -> None:
    """Brightness moves no pixel: a bright one stays in its place through padding and cropping."""
    clean = np.zeros((1, 1, size, size), np.uint8)
    clean[0, 0, 2, 5] = 200
    brighter = corrupt(clean, "brightness", 1)[0, 0]
    assert brighter.shape == (size, size)
    assert np.unravel_index(brighter.argmax(), brighter.shape) == (2, 5)


def test_wrong_names_and_severities() -> None:
    for name, severity in (("rain", 1), ("fog", 0), ("fog", 6)):
        with pytest.raises(ValueError, match="no corruption"):
            corrupt(ramps(1), name, severity)


def test_sets_are_drawn_once_for_the_same_samples() -> None:
    clean = Samples(images(300, (3, 32, 32)), np.arange(300) % 10)
    told: list[int] = []
    names, severities = ("contrast", "gaussian_noise"), (2, 5)

    def drawn(samples: Samples) -> list[tuple[str, int, np.ndarray]]:
        return [
            (one.corruption, one.severity, np.array(one.samples.images))
            for one in corrupted_sets(samples, names, severities, lambda *t: told.append(t[1]))
        ]

    first = drawn(clean)
    assert [entry[:2] for entry in first] == [(n, s) for n in names for s in severities]
    assert told == [1, 2, 3, 4]
    made = sorted(path.name for path in cache_root().iterdir() if path.is_dir())
    assert len(made) == 4
    twice = Samples(np.concatenate([clean.images, clean.images]), np.zeros(600, int))
    again = drawn(twice.take(np.arange(300)))  # the same images, elsewhere
    assert all((a[2] == b[2]).all() for a, b in zip(first, again, strict=True))
    assert sorted(path.name for path in cache_root().iterdir() if path.is_dir()) == made
    # 300 images are drawn in blocks: the noise of one block is not that of the next
    noise = first[2][2].astype(int) - clean.images
    assert (noise[0] != noise[256]).any()


# --- CIFAR-10-C ---------------------------------------------------------------------------------


def write_cifar10_c(root: Path, count: int = 20) -> Path:
    folder = root / "CIFAR-10-C"
    folder.mkdir(parents=True)
    np.save(folder / "labels.npy", np.tile(np.arange(count) % 10, 5).astype(np.uint8))
    for number, name in enumerate(CORRUPTIONS):
        levels = np.repeat(np.arange(1, 6), count) * 10 + number
        shades = np.broadcast_to(levels[:, None, None, None], (5 * count, 32, 32, 3))
        np.save(folder / f"{name}.npy", shades.astype(np.uint8))
    return folder


def test_cifar_10_c_as_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert published_folder("cifar10", str(tmp_path)) is None
    folder = write_cifar10_c(tmp_path)
    assert published_folder("cifar10", str(tmp_path)) == folder
    assert published_folder("fashion-mnist", str(tmp_path)) is None
    monkeypatch.setenv("LATSEARCH_DATA", str(tmp_path))
    assert published_folder("cifar10", None) == folder
    test = Samples(images(20, (3, 32, 32)), np.arange(20) % 10)
    for clean in (test, test.take(np.array([3, 7, 12]))):
        for one in published_sets(folder, clean):
            assert one.samples.images.shape == clean.images.shape
            expected = one.severity * 10 + CORRUPTIONS.index(one.corruption)
            assert (one.samples.images == expected).all()
            assert (one.samples.labels == clean.labels).all()


def test_a_damaged_cifar_10_c(tmp_path: Path) -> None:
    folder = write_cifar10_c(tmp_path)
    test = Samples(images(20, (3, 32, 32)), np.arange(20) % 10)

    def fault() -> str:
        with pytest.raises(DataError) as caught:
            list(published_sets(folder, test))
        return str(caught.value)

    file = folder / "fog.npy"
    file.write_bytes(file.read_bytes()[:5000])
    assert fault().startswith(f"{file} is damaged (")
    file.unlink()
    assert fault() == f"{file} cannot be read: No such file or directory"
    np.save(file, np.zeros((20, 32, 32, 3), np.uint8))
    assert fault() == f"{file} has the shape (20, 32, 32, 3), not (100, 32, 32, 3); replace it"
    np.save(folder / "labels.npy", np.zeros(100, np.uint8))
    assert fault() == f"{folder}/labels.npy has other labels than the test split"
