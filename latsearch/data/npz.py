"""Numpy's archives from anybody: nothing in them is run, and no small file fills the memory."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from latsearch.errors import DataError

_LARGE = 2**30  # bytes of an array from which on its packing is looked at
_MOST_PACKED = 100  # bytes to one; arrays of images pack to a half, those of spikes to a tenth
_CHUNK = 1 << 20
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(file: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays in an npz file.

    Args:
        file: the archive.
        names: of the arrays that are wanted; None: all of them.

    Raises:
        DataError: the file cannot be read, is damaged, or holds what is no plain array.
    """
    found: dict[str, NDArray[Any]] = {}
    try:
        with ZipFile(file) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if names is None or name in names:
                    with archive.open(info) as stream:
                        found[name] = _array(stream, info)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # zipfile and numpy raise what they like at damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file}: cannot be read: {reason[:300]}; is it an npz file?") from None
    return found


def _array(stream: IO[bytes], info: ZipInfo) -> NDArray[Any]:
    if info.file_size > max(_LARGE, _MOST_PACKED * info.compress_size):
        raise ValueError(
            f"{info.filename} would take {info.file_size / 1e9:.1f} GB, but is packed into "
            f"{info.compress_size / 1e6:.1f} MB; save it with np.savez"
        )
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"{info.filename} has the unknown format {version}")
    shape, by_columns, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds Python objects, which are not read")
    expected, rest = math.prod(shape) * dtype.itemsize, info.file_size - stream.tell()
    if expected != rest:
        raise ValueError(
            f"{info.filename} says that its array of shape {shape} takes {expected} bytes, but "
            f"has {rest}"
        )
    content = bytearray()
    while chunk := stream.read(_CHUNK):
        content += chunk
    flat = np.frombuffer(content, dtype=dtype)
    return flat.reshape(shape, order="F" if by_columns else "C")
