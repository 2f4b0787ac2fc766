"""Writes small data sets in the true file formats."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NOBODY = 65534


def images(count: int, shape: tuple[int, ...], first: int = 0) -> NDArray[np.uint8]:
    """Images that each show their own number in their first four pixels."""
    random = np.random.default_rng(first)
    pixels = random.integers(0, 256, (count, int(np.prod(shape))), dtype=np.uint8)
    pixels[:, :4] = np.arange(first, first + count, dtype=">u4").view(np.uint8).reshape(-1, 4)
    return pixels.reshape(count, *shape)


def numbers(shown: NDArray[np.uint8]) -> list[int]:
    """The numbers that `images` wrote."""
    first = np.ascontiguousarray(shown.reshape(len(shown), -1)[:, :4])
    return first.view(">u4").ravel().tolist()


def write_idx(file: Path, array: NDArray[np.uint8], gz: bool = False) -> None:
    header = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
    content = header + array.tobytes()
    if gz:
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(content))
    else:
        file.write_bytes(content)


def write_fashion(folder: Path, gz: bool = False, train: int = 200, test: int = 50) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count, first in (("train", train, 0), ("t10k", test, 10_000)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte", images(count, (28, 28), first), gz)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels, gz)
    return folder


def write_cifar10(root: Path, batch: int = 20) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for index, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        data = images(batch, (3072,), 1000 * index)
        labels = [n % 10 for n in range(batch)]
        _pickle(folder / name, {"batch_label": name, "labels": labels, "data": data})
    _pickle(folder / "batches.meta", {"label_names": [f"class{n}" for n in range(10)]})
    return folder


def write_cifar100(root: Path, train: int = 300, test: int = 100) -> Path:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, count, first in (("train", train, 0), ("test", test, 10_000)):
        fine = [n % 100 for n in range(count)]
        coarse = [n % 20 for n in range(count)]
        data = images(count, (3072,), first)
        _pickle(folder / name, {"fine_labels": fine, "coarse_labels": coarse, "data": data})
    _pickle(folder / "meta", {"fine_label_names": [f"class{n}" for n in range(100)]})
    return folder


def write_svhn(root: Path, train: int = 200, test: int = 50) -> Path:
    from scipy.io import savemat

    folder = root / "SVHN"
    folder.mkdir(parents=True)
    for part, count, first in (("train", train, 0), ("test", test, 10_000)):
        pixels = images(count, (3, 32, 32), first).transpose(2, 3, 1, 0)  # [H, W, C, N]
        digits = np.arange(count) % 10
        labels = np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]  # 10 is the digit 0
        savemat(folder / f"{part}_32x32.mat", {"X": pixels, "y": labels}, do_compression=True)
    return folder


def write_tiny_imagenet(root: Path, classes: int = 200, each: int = 2) -> Path:
    folder = root / "tiny-imagenet-200"
    wnids = [f"n{number:08d}" for number in range(classes)]
    for label, wnid in enumerate(wnids):
        below = folder / "train" / wnid / "images"
        below.mkdir(parents=True)
        for index in range(each):
            write_picture(below / f"{wnid}_{index}.JPEG", label, grey=index == 0)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    held = folder / "val" / "images"
    held.mkdir(parents=True)
    lines = []
    for number, wnid in enumerate(reversed(wnids)):
        write_picture(held / f"val_{number}.JPEG", classes - 1 - number)
        lines.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(reversed(wnids)) + "\n")
    (folder / "words.txt").write_text("".join(f"{w}\tkind {w}, thing\n" for w in wnids))
    return folder


def write_picture(file: Path, shade: int, size: int = 64, grey: bool = False) -> Path:
    """A picture of one shade, which survives JPEG."""
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size, size), shade, np.uint8)
    Image.fromarray(pixels if grey else np.stack([pixels] * 3, 2)).save(file)
    return file


def write_class_folders(
    root: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 10
) -> Path:
    """A folder of class folders of 8×8 pictures; shades are 100 · class + number."""
    for label, name in enumerate(classes):
        for index in range(each):
            write_picture(root / name / f"{index:03d}.png", 100 * label + index, size=8)
    return root


def _pickle(file: Path, value: object) -> None:
    file.write_bytes(pickle.dumps(value, protocol=2))


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run as a user for whom permissions count, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
