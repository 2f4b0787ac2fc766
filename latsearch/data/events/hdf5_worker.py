"""The process that reads HDF5 files (see `hdf5.py`); run as a file, imports nothing of latsearch.

It takes a line of JSON for each request, and answers with a line of JSON and the arrays' bytes. A
request that takes too long ends the process: HDF5's library can run in circles in a damaged file.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

_SECONDS = 3.0  # of processor time for a request …
_BYTES_A_SECOND = 20e6  # … and for this much of a file one more
_MEMORY = 8 * 2**30  # of address space, all in all
_MOST_PACKED = 100  # bytes to one, from a gigabyte on
_LARGE = 2**30
_LENGTH = -1  # in place of a row: how many there are


def main() -> None:
    """Answer requests until there are no more."""
    _bound(resource.RLIMIT_AS, _MEMORY)
    _bound(resource.RLIMIT_CORE, 0)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        file = Path(request["file"])
        try:
            size = file.stat().st_size
            signal.setitimer(signal.ITIMER_PROF, _SECONDS + size / _BYTES_A_SECOND)
            with h5py.File(file, "r") as content:
                arrays = [_read(content, size, *wanted) for wanted in request["columns"]]
        except Exception as error:  # h5py raises what it likes
            reason = " ".join(str(error).split()) or type(error).__name__
            answer, arrays = {"error": reason, "missing": isinstance(error, _Missing)}, []
        else:
            answer = {"arrays": [[array.dtype.str, len(array)] for array in arrays]}
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        for array in arrays:
            sys.stdout.buffer.write(np.ascontiguousarray(array).tobytes())
        sys.stdout.buffer.flush()


def _bound(kind: int, most: int) -> None:
    """Lower a limit; where it is lower already (`ulimit`), raising it would be refused."""
    _, hard = resource.getrlimit(kind)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (bound, bound))


class _Missing(Exception):
    """There is no such data set."""


def _read(content: Any, size: int, names: list[str], row: int | None) -> Any:
    """The first data set of these names that is there, one of its rows, or how many it has."""
    name = next((each for each in names if each in content), None)
    if name is None:
        raise _Missing(names[0].rpartition("/")[2])
    place = content
    for part in name.split("/"):
        if not isinstance(place.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link to somewhere else")
        place = place[part]
    if not isinstance(place, h5py.Dataset) or place.ndim != 1:
        raise ValueError(f"{name} is no column")
    if place.external or place.is_virtual:
        raise ValueError(f"{name} is kept in another file")
    if place.nbytes > max(_LARGE, _MOST_PACKED * size):
        raise ValueError(f"{name} says that it takes {place.nbytes / 1e9:.1f} GB")
    if row == _LENGTH:
        return np.array([len(place)])
    array = np.asarray(place[()] if row is None else place[row])
    if array.dtype.kind not in "buif" or array.ndim != 1:
        raise ValueError(f"{name} holds {array.dtype}, not numbers")
    return array


if __name__ == "__main__":
    main()
