"""Files with the events of one recording: what they hold, without any check of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latsearch.data.events.aedat4 import read_aedat4
from latsearch.data.events.binning import Events
from latsearch.data.events.hdf5 import Hdf5Error, read_columns
from latsearch.errors import DataError

_AEDAT2 = b"#!AER-DAT2"


def read_events(file: Path) -> Events:
    """The events in a file of any of the formats in `FORMATS`, times in µs as the file has them.

    Raises:
        DataError: the file is no such file, is damaged, or cannot be read.
    """
    read = FORMATS.get(file.suffix.lower())
    if read is None:
        raise DataError(f"{file} is of no known format; known are {', '.join(FORMATS)}")
    try:
        return read(file)
    except DataError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{file} cannot be read: {reason}; is it damaged?") from None
    except Exception as error:  # numpy and pyarrow each raise their own for a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file} is damaged: {reason}; replace it") from None


def as_events(t: Any, x: Any, y: Any, p: Any) -> Events:
    """Events of columns in any integer or float type.

    Raises:
        ValueError: they are no columns of numbers, or not equally long.
    """
    columns = [np.asarray(column) for column in (t, x, y, p)]
    shapes = {column.shape for column in columns}
    if len(shapes) > 1 or columns[0].ndim != 1:
        raise ValueError(f"columns of shapes {', '.join(map(str, sorted(shapes)))}")
    kinds = {column.dtype.kind for column in columns}
    if not kinds <= set("buif"):
        raise ValueError("columns that are no numbers")
    with np.errstate(invalid="ignore"):  # nan and inf become numbers that no sensor has
        return Events(*(column.astype(np.int64) for column in columns))


def _npy(file: Path) -> Events:
    """A structured array with fields t, x, y, p, or ``[N, 4]`` with these columns; t in µs."""
    array: NDArray[Any] = np.load(file, allow_pickle=False)
    if array.dtype.names:
        missing = [name for name in "txyp" if name not in array.dtype.names]
        if missing:
            there = ", ".join(array.dtype.names)
            raise DataError(f"{file} has the fields {there}, but no {missing[0]}; name it so")
        return as_events(*(array[name] for name in "txyp"))
    if array.ndim != 2 or array.shape[1] != 4:
        raise DataError(
            f"{file} is an array of shape {array.shape}; give [N, 4] with columns t, x, y, p, or a "
            "structured array with these fields"
        )
    return as_events(*array.T)


def _hdf5(file: Path) -> Events:
    """Data sets t, x, y, p, at the root or in a group ``events``; t in µs."""
    try:
        return as_events(*read_columns(file, [((f"events/{n}", n), None) for n in "txyp"]))
    except Hdf5Error as error:
        if error.missing is None:
            raise
        raise DataError(
            f"{file} has no data set {error.missing} at its root or in its group events; it needs "
            "t, x, y, p"
        ) from None


def _aedat4(file: Path) -> Events:
    """The first stream of events."""
    found = read_aedat4(file)
    return as_events(*(found[name] for name in "txyp"))


def _aedat2(file: Path) -> Events:
    """A DVS128 recording as jAER writes it: big-endian pairs of address and time in µs.

    Bits 1–7 of an address are the column, counted from the right, bits 8–14 the row, counted from
    the bottom, bit 0 is 0 for brighter. CIFAR10-DVS was recorded with the picture turned: columns
    and rows change places (as github.com/jackd/events-tfds and SpikingJelly read it).
    """
    content = file.read_bytes()
    if not content.startswith(_AEDAT2):
        raise DataError(f"{file} does not start with {_AEDAT2.decode()}; it is no AEDAT 2 file")
    start = 0
    while content[start : start + 1] == b"#":
        end = content.find(b"\n", start)
        if end < 0:
            raise DataError(f"{file} ends within its header; it is damaged: replace it")
        start = end + 1
    if (len(content) - start) % 8:
        raise DataError(f"{file} ends within an event; it is damaged: replace it")
    address, time = np.frombuffer(content, ">u4", offset=start).reshape(-1, 2).T.astype(np.int64)
    camera = (address >> 31) == 0  # others are not events of pixels
    address, time = address[camera], time[camera]
    column, row = (address >> 1) & 127, (address >> 8) & 127
    return as_events(time, 127 - row, 127 - column, 1 - (address & 1))


FORMATS: Mapping[str, Callable[[Path], Events]] = {
    ".npy": _npy,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".aedat4": _aedat4,
    ".aedat": _aedat2,
}
