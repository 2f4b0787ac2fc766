"""The idx files of the MNIST family, plain or compressed."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latsearch.data.known import Dataset, LoadOptions
from latsearch.data.locating import present_file
from latsearch.data.splits import Samples
from latsearch.errors import DataError

_UNSIGNED_BYTES = 8  # idx's code of the element type


def read_idx(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes.

    Args:
        file: plain, or compressed where its name ends in ``.gz``.
        dimensions: how many the array must have.

    Raises:
        DataError: the file cannot be read, is not of this format, or is not whole.
    """
    content = _content(file)
    header = 4 + 4 * dimensions
    magic = (_UNSIGNED_BYTES << 8) + dimensions
    found = int.from_bytes(content[:4], "big") if len(content) >= 4 else None
    if found != magic:
        start = "is empty" if not content else f"starts with {content[:4].hex()}"
        raise DataError(
            f"{file} {start}, not with {magic:08x}, so it is no idx file of "
            f"{dimensions}-dimensional bytes; replace it"
        )
    if len(content) < header:
        raise DataError(f"{file} ends within its header; it is damaged: replace it")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise DataError(
            f"{file} has {len(content)} bytes, but its header says {expected}; "
            "it is damaged: replace it"
        )
    read_only = np.frombuffer(content, dtype=np.uint8, offset=header)
    return read_only.reshape(shape).copy()


def _content(file: Path) -> bytes:
    try:
        if file.suffix == ".gz":
            with gzip.open(file) as stream:
                return stream.read()
        return file.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{file} is damaged ({error}); replace it") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None


def read_pairs(dataset: Dataset, folder: Path, options: LoadOptions) -> tuple[Samples, Samples]:
    """Training and test samples of a set of the MNIST family.

    Raises:
        DataError: a file cannot be read or is damaged, or images and labels do not fit together.
    """
    return _pair(folder, "train"), _pair(folder, "t10k")


def _pair(folder: Path, part: str) -> Samples:
    """The images and labels of ``train`` or ``t10k``."""
    images, labels = (
        present_file(folder, f"{part}-{kind}-ubyte", gz=True)
        for kind in ("images-idx3", "labels-idx1")
    )
    assert images is not None  # `locate` has seen both
    assert labels is not None
    pixels, targets = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(targets):
        raise DataError(
            f"{labels} has {len(targets)} labels for the {len(pixels)} images of {images.name}; "
            "replace both"
        )
    return Samples(pixels[:, None], targets.astype(np.int64))
