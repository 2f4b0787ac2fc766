"""The cache of decoded data: arrays in files that all processes of a machine map into memory.

An entry is a folder that is complete or absent: it is built aside, by one process at a time, and
renamed. What a killed build has left is removed by the next one.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from latsearch.data.locating import expanded
from latsearch.errors import DataError

CACHE_VARIABLE = "LATSEARCH_CACHE"
FORMAT = 1
_META = "meta.json"
_BUILDING = ".building"


def cache_root() -> Path:
    """The folder of all entries: LATSEARCH_CACHE, or latsearch's among the user's caches."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return expanded(given)
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "latsearch"


@dataclass(frozen=True)
class Entry:
    """A complete entry of the cache.

    Attributes:
        folder: its folder.
        meta: what its builder noted.
        arrays: dtype, shape and CRC-32 of each array by name.
    """

    folder: Path
    meta: dict[str, Any]
    arrays: dict[str, dict[str, Any]]

    def array(self, name: str) -> NDArray[Any]:
        """An array, read-only, mapped into memory."""
        said = self.arrays[name]
        shape = tuple(said["shape"])
        if math.prod(shape) == 0:  # an empty file cannot be mapped
            return np.zeros(shape, said["dtype"])
        return np.memmap(self.folder / f"{name}.bin", said["dtype"], "r", shape=shape)

    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(_size(said) for said in self.arrays.values())

    def damaged(self) -> list[str]:
        """Names of the arrays whose bytes are not those that were written; reads all of them."""
        return [
            name
            for name, said in self.arrays.items()
            if _checksum(self.folder / f"{name}.bin") != said["crc32"]
        ]


@dataclass
class Builder:
    """Takes an entry's arrays, block by block.

    Attributes:
        folder: where the entry is built.
        meta: notes that are kept with it, in JSON's types.
    """

    folder: Path
    meta: dict[str, Any] = field(default_factory=dict)
    _arrays: dict[str, dict[str, Any]] = field(default_factory=dict)
    _files: dict[str, BinaryIO] = field(default_factory=dict)

    def append(self, name: str, block: NDArray[Any]) -> None:
        """Write a block ``[n, ...]`` at the end of an array; all blocks have one shape and type."""
        said = self._arrays.get(name)
        if said is None:
            said = {"dtype": block.dtype.str, "shape": [0, *block.shape[1:]], "crc32": 0}
            self._arrays[name] = said
            self._files[name] = (self.folder / f"{name}.bin").open("wb")
        if said["dtype"] != block.dtype.str or said["shape"][1:] != list(block.shape[1:]):
            raise ValueError(f"{name}: a block of {block.dtype} {block.shape} after {said}")
        content = np.ascontiguousarray(block).data.cast("B") if block.size else b""
        self._files[name].write(content)
        said["shape"][0] += len(block)
        said["crc32"] = zlib.crc32(content, said["crc32"])

    def finish(self) -> None:
        """Put everything on the disk, the description last."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        content = {"version": FORMAT, "meta": self.meta, "arrays": self._arrays}
        (self.folder / _META).write_text(json.dumps(content, indent=1) + "\n")

    def abort(self) -> None:
        """Close what is open."""
        for file in self._files.values():
            file.close()


def find(label: str, key: str) -> Entry | None:
    """The entry of a key, if it is there."""
    return _opened(_folder(label, key))


def cached(label: str, key: str, build: Callable[[Builder], None]) -> Entry:
    """The entry of a key, built now if it is not there.

    Args:
        label: what it is of, for people who look into the folder.
        key: hexadecimal digest of everything that the contents depend on.
        build: fills a new entry.

    Raises:
        DataError: the cache cannot be written to, or what `build` raises.
    """
    folder = _folder(label, key)
    entry = _opened(folder)
    if entry is not None:
        return entry
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            entry = _opened(folder)  # somebody else may have built it meanwhile
            if entry is None:
                _sweep(folder.parent)
                _build(folder, build)
                entry = _opened(folder)
    except OSError as error:
        raise DataError(
            f"the cache of decoded data cannot be written: {error.filename or folder}: "
            f"{error.strerror}; point {CACHE_VARIABLE} at a folder with room"
        ) from None
    assert entry is not None
    return entry


def _folder(label: str, key: str) -> Path:
    return cache_root() / f"{label}-{key[:24]}"


def _opened(folder: Path) -> Entry | None:
    """The entry in a folder; None where there is none, or not a whole one."""
    try:
        said = json.loads((folder / _META).read_text())
        entry = Entry(folder, said["meta"], said["arrays"])
        sizes = {name: (folder / f"{name}.bin").stat().st_size for name in entry.arrays}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = all(size == _size(entry.arrays[name]) for name, size in sizes.items())
    return entry if whole and said["version"] == FORMAT else None


def _build(folder: Path, build: Callable[[Builder], None]) -> None:
    aside = folder.with_name(folder.name + _BUILDING)
    shutil.rmtree(aside, ignore_errors=True)  # of a killed build: the lock is ours now
    aside.mkdir()
    builder = Builder(aside)
    try:
        build(builder)
        builder.finish()
        if folder.exists():  # a damaged entry
            shutil.rmtree(folder)
        aside.rename(folder)
    finally:
        builder.abort()
        shutil.rmtree(aside, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what killed builds have left: the folders whose lock nobody holds."""
    for aside in root.glob(f"*{_BUILDING}"):
        owner = aside.with_name(aside.name.removesuffix(_BUILDING))
        with owner.with_name(f"{owner.name}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # being built at this moment
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of an entry; the kernel lets go of a killed process's."""
    with folder.with_name(f"{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _size(said: dict[str, Any]) -> int:
    size: int = math.prod(said["shape"]) * np.dtype(said["dtype"]).itemsize
    return size


def _checksum(file: Path) -> int:
    value = 0
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            value = zlib.crc32(block, value)
    return value
