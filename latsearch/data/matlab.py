"""Arrays of numbers in MATLAB files of version 5 to 7.

Read here and not by SciPy, whose reader a damaged file can end with a segmentation fault. Format:
MathWorks, MAT-File Format, chapter 1. An element is a type, a size and data; an array is an element
of elements: flags, dimensions, name, numbers; version 7 packs each array with zlib.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = 128  # bytes of text, version and byte order
_LITTLE = b"IM"  # the byte order, as a little-endian machine writes it
_NUMBERS = {
    1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8",
    13: "<u8",
}  # fmt: skip
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMERIC = range(6, 16)  # classes of arrays: double to uint64
_COMPLEX = 8  # flag
_LARGE = 2**31  # bytes that a packed array may say that it has

Element = tuple[int, memoryview, int]


def read_matlab(file: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """The arrays of these names that a file has, in the shapes that they have in MATLAB.

    They are of the type that they are stored as, which may be a smaller one than their class.

    Raises:
        ValueError: it is no such file, or damaged, or an array holds no real numbers.
        zlib.error: a packed array is damaged.
        OSError: it cannot be read.
    """
    content = memoryview(file.read_bytes())
    if content[_HEADER - 2 : _HEADER] != _LITTLE:
        raise ValueError("no MATLAB file of version 5 to 7 (little-endian)")
    found: dict[str, NDArray[Any]] = {}
    place = _HEADER
    while place < len(content):
        kind, data, place = _element(content, place, padded=False)
        if kind == _COMPRESSED:
            kind, data = _unpacked(data)
        if kind == _MATRIX:
            name, rest, flags, shape = _head(data)
            if name in names:
                found[name] = _array(name, rest, flags, shape)
    return found


def _element(content: memoryview, place: int, *, padded: bool = True) -> Element:
    """Type and data of the element at a place, and the place of the next one."""
    if place + 8 > len(content):
        raise ValueError("it ends within an element")
    kind, size = struct.unpack_from("<II", content, place)
    start, after = place + 8, place + 8 + size
    if kind >> 16:  # a short one: its type, its size and at most four bytes in place of the size
        kind, size, start, after = kind & 0xFFFF, kind >> 16, place + 4, place + 8
    elif padded:
        after += -size % 8
    if start + size > min(after, len(content)):
        raise ValueError("it ends within an element")
    return kind, content[start : start + size], after


def _unpacked(data: memoryview) -> tuple[int, memoryview]:
    """Type and data of the element in a packed one; no more is unpacked than it says it has."""
    unpacker = zlib.decompressobj()
    tag = unpacker.decompress(data, 8)
    if len(tag) < 8:
        raise ValueError("it ends within a packed element")
    kind, size = struct.unpack("<II", tag)
    if size > _LARGE:
        raise ValueError(f"a packed element says that it takes {size / 1e9:.1f} GB")
    content = unpacker.decompress(unpacker.unconsumed_tail, size) if size else b""
    unpacker.decompress(unpacker.unconsumed_tail, 1)  # where it is whole, the checksum alone
    if len(content) < size or not unpacker.eof:
        raise ValueError("it ends within a packed element, or after it")
    return kind, memoryview(content)


def _head(data: memoryview) -> tuple[str, memoryview, int, tuple[int, ...]]:
    """An array's name, the elements after that, its flags, and its shape."""
    kind, flags, place = _element(data, 0)
    if kind != _UINT32 or len(flags) != 8:
        raise ValueError("an array has no flags")
    kind, sizes, place = _element(data, place)
    if kind != _INT32 or len(sizes) % 4:
        raise ValueError("an array has no dimensions")
    shape = tuple(size for (size,) in struct.iter_unpack("<i", sizes))
    kind, name, place = _element(data, place)
    if kind != _INT8:
        raise ValueError("an array has no name")
    return bytes(name).decode("ascii", "replace"), data[place:], flags[0] | flags[1] << 8, shape


def _array(name: str, data: memoryview, flags: int, shape: tuple[int, ...]) -> NDArray[Any]:
    if flags & 0xFF not in _NUMERIC or flags >> 8 & _COMPLEX:
        raise ValueError(f"{name} holds no real numbers")
    kind, numbers, _ = _element(data, 0)
    if kind not in _NUMBERS:
        raise ValueError(f"{name} holds no real numbers")
    kept = np.dtype(_NUMBERS[kind])
    if min(shape, default=0) < 0 or math.prod(shape) * kept.itemsize != len(numbers):
        raise ValueError(f"{name} of {len(numbers)} bytes cannot have the shape {shape}")
    return np.frombuffer(numbers, kept).reshape(shape, order="F")
