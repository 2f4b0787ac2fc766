"""Targets that are images: files of known sets, pictures, arrays."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latsearch import api
from latsearch.config import DataConfig
from latsearch.data.arrays import open_npz
from latsearch.data.cifar import read_batch
from latsearch.data.corruptions import published_sets
from latsearch.data.idx import read_idx
from latsearch.data.image_sets import IMAGE_SETS
from latsearch.data.known import LoadOptions
from latsearch.data.pictures import read_header, read_picture
from latsearch.data.sources import Skipped
from latsearch.data.splits import Samples
from latsearch.data.svhn import read_part
from latsearch.data.tiny_imagenet import open_tiny_imagenet
from tests.data import formats
from tests.fuzz.mutation import bytes_of, gzip_of, npy_of, text_with, zip_of
from tests.fuzz.targets import Check, Target, file_check


def _saved(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _idx_seeds(folder: Path) -> list[bytes]:
    formats.write_idx(folder / "a", formats.images(6, (5, 5)))
    return [(folder / "a").read_bytes()]


def _cifar_seeds(folder: Path) -> list[bytes]:
    place = formats.write_cifar10(folder, batch=3)
    return [(place / "data_batch_1").read_bytes()]


def _svhn_seeds(folder: Path) -> list[bytes]:
    place = formats.write_svhn(folder, train=3, test=3)
    return [(place / "train_32x32.mat").read_bytes()]


def _picture_seeds(folder: Path) -> list[bytes]:
    """Pictures of every format and of the kinds that are converted."""
    pixels = formats.images(1, (9, 7, 3))[0]
    picture = Image.fromarray(pixels)
    kinds = {
        "png": picture,
        "jpeg": picture,
        "bmp": picture,
        "gif": picture.convert("P"),
        "tiff": picture,
        "webp": picture,
        "ppm": picture,
    }
    found = []
    for kind, image in kinds.items():
        out = io.BytesIO()
        image.save(out, kind)
        found.append(out.getvalue())
    for image in (Image.fromarray(pixels[..., 0].astype(np.uint16) * 200), picture.convert("RGBA")):
        out = io.BytesIO()
        image.save(out, "png")
        found.append(out.getvalue())
    return found


def _picture(file: Path) -> None:
    read_header(file)
    read_picture(file, 3)
    read_picture(file, 1, size=8)


def _npz(file: Path) -> None:
    config = DataConfig(name="numpy", root=str(file))
    for _ in open_npz(config, LoadOptions()).decode(Skipped()):
        pass


def _npz_seeds(folder: Path) -> list[bytes]:
    x, y = formats.images(4, (1, 5, 5)), np.arange(4) % 2
    return [
        _saved(x=x, y=y),
        _saved(x=x[:, 0] / 255.0, y=y[:, None], x_test=x[:2, 0], y_test=y[:2]),
    ]


def _potentials_seeds(folder: Path) -> list[bytes]:
    potentials = np.arange(24, dtype=np.float32).reshape(2, 4, 3) / 10
    labels, energy = np.arange(4) % 3, np.ones((2, 4))
    return [
        _saved(potentials=potentials, labels=labels),
        _saved(potentials=potentials, labels=labels, energy=energy),
    ]


def _corrupted_seeds(folder: Path) -> list[bytes]:
    np.save(folder / "a.npy", np.zeros((10, 4, 4, 3), np.uint8))
    return [(folder / "a.npy").read_bytes()]


def _corrupted(folder: Path) -> Check:
    clean = Samples(np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2, np.int64))
    np.save(folder / "labels.npy", np.zeros(10, np.uint8))

    def check(content: bytes) -> None:
        # a new file each time: the former one may still be mapped
        (folder / "fog.npy").unlink(missing_ok=True)
        (folder / "fog.npy").write_bytes(content)
        list(published_sets(folder, clean, ["fog"], [1, 5]))

    return check


_LISTS = ("wnids.txt", "words.txt", "val/val_annotations.txt")


def _lists_seeds(folder: Path) -> list[bytes]:
    place = formats.write_tiny_imagenet(folder, classes=2, each=1)
    return [b"".join(b"== %s\n%s" % (n.encode(), (place / n).read_bytes()) for n in _LISTS)]


def _lists(folder: Path) -> Check:
    """The three lists of Tiny-ImageNet, which say what belongs to which class."""
    place = formats.write_tiny_imagenet(folder, classes=2, each=1)
    dataset = IMAGE_SETS["tiny-imagenet"]

    def check(content: bytes) -> None:
        parts = (content + b"\n== ").split(b"\n== ")
        for name, part in zip(_LISTS, [*parts, b"", b""], strict=False):
            (place / name).write_bytes(part.partition(b"\n")[2])
        for _ in open_tiny_imagenet(dataset, place, LoadOptions()).decode(Skipped()):
            pass

    return check


TARGETS = (
    Target("idx", 100_000, _idx_seeds, bytes_of, file_check("a", lambda f: read_idx(f, 3))),
    Target(
        "idx gz",
        100_000,
        lambda folder: [gzip.compress(raw) for raw in _idx_seeds(folder)],
        gzip_of(bytes_of),
        file_check("a.gz", lambda f: read_idx(f, 3)),
    ),
    Target(
        "cifar", 100_000, _cifar_seeds, bytes_of, file_check("a", lambda f: read_batch(f, "labels"))
    ),
    Target("svhn", 100_000, _svhn_seeds, bytes_of, file_check("a.mat", read_part)),
    Target("pictures", 100_000, _picture_seeds, bytes_of, file_check("a.png", _picture)),
    Target("npz", 100_000, _npz_seeds, zip_of(npy_of), file_check("a.npz", _npz)),
    Target(
        "potentials", 100_000, _potentials_seeds, zip_of(npy_of), file_check("a.npz", api.curve)
    ),
    Target("cifar-10-c", 100_000, _corrupted_seeds, npy_of, _corrupted),
    Target(
        "tiny-imagenet",
        100_000,
        _lists_seeds,
        text_with(
            ("\t", "\n", "\n== ", "\r", "../", "/etc/passwd", "n00000001", "\x00", "\x1b[1m")
        ),
        _lists,
    ),
)
