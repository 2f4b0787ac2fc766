"""The idx files of the MNIST family, plain or compressed."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latsearch.data.known import Dataset, LoadOptions
from latsearch.data.locating import present_file
from latsearch.data.splits import Samples
from latsearch.errors import DataError

_UNSIGNED_BYTES = 8  # idx's code of the element type
_LARGEST = 2**30  # bytes; the largest set of the family, EMNIST, has 0.6 GB


def read_idx(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes.

    Args:
        file: plain, or compressed where its name ends in ``.gz``.
        dimensions: how many the array must have.

    Raises:
        DataError: the file cannot be read, is not of this format, or is not whole.
    """
    try:
        with _opened(file) as stream:
            return _array(stream, file, dimensions)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{file} is damaged ({error}); replace it") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None


def _opened(file: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")


def _array(
    stream: gzip.GzipFile | BufferedReader, file: Path, dimensions: int
) -> NDArray[np.uint8]:
    """The array; no more is unpacked than the header speaks of."""
    magic = (_UNSIGNED_BYTES << 8) + dimensions
    start = stream.read(4)
    if int.from_bytes(start, "big") != magic or len(start) < 4:
        begins = f"starts with {start.hex()}" if start else "is empty"
        raise DataError(
            f"{file} {begins}, not with {magic:08x}, so it is no idx file of "
            f"{dimensions}-dimensional bytes; replace it"
        )
    header = stream.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DataError(f"{file} ends within its header; it is damaged: replace it")
    shape = struct.unpack(f">{dimensions}I", header)
    expected = math.prod(shape)
    if expected > _LARGEST:
        raise DataError(
            f"{file} says that it holds {expected / 1e9:.1f} GB; it is damaged: replace it"
        )
    content = stream.read(expected + 1)
    if len(content) != expected:
        most = "more" if len(content) > expected else str(4 + len(header) + len(content))
        raise DataError(
            f"{file} has {most} bytes, but its header says {4 + len(header) + expected}; "
            "it is damaged: replace it"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape).copy()


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
