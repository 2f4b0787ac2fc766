"""Prepared data in a folder of this machine: built once, whole or not there, shared by processes.

A folder's name holds a digest of the files and options it was made from: what changes gets a new
folder, and nothing that is there is ever rewritten. It may be deleted at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from latsearch.errors import DataError

CACHE_VARIABLE = "LATSEARCH_CACHE"
USUAL_CACHE = "~/.cache/latsearch"


def cache_root() -> Path:
    """The folder of all prepared data."""
    return Path(os.path.expanduser(os.environ.get(CACHE_VARIABLE) or USUAL_CACHE))


def digest(facts: object) -> str:
    """A short digest of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(files: Iterable[Path]) -> str:
    """A digest of the files' paths, sizes and times of change.

    Raises:
        DataError: one cannot be looked at.
    """
    facts = hashlib.sha256()
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}") from None
        facts.update(f"{file.absolute()}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    return facts.hexdigest()[:16]


def prepared(
    folders: Iterable[Path], build: Callable[[dict[Path, Path]], None], *, needed: int = 0
) -> None:
    """Make sure that the folders are there, building those that are not.

    Whatever interrupts the building, no half-built folder has one of these names: each is made
    aside and moved into place. Of several processes one builds and the others wait.

    Args:
        folders: all in one parent folder.
        build: fills the empty folders that it is given, by the folder that each becomes.
        needed: bytes that each folder takes, to refuse at once where the disk is too full.

    Raises:
        DataError: the cache cannot be written to.
    """
    wanted = list(folders)
    if all(folder.is_dir() for folder in wanted):
        return
    parent = wanted[0].parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _locked(parent / ".lock"):
            missing = [folder for folder in wanted if not folder.is_dir()]
            _check_room(parent, needed * len(missing))
            aside = {folder: folder.with_name(f".{folder.name}.part") for folder in missing}
            for part in aside.values():
                shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
                part.mkdir()
            try:
                build(aside)
                for folder, part in aside.items():
                    part.rename(folder)
            finally:
                for part in aside.values():
                    shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        where = error.filename or parent
        raise DataError(
            f"{where}: prepared data cannot be written: {error.strerror}; choose another folder "
            f"with {CACHE_VARIABLE}"
        ) from None


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Alone among this machine's processes; given up by the system where a process dies."""
    with file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder} has {free / 1e9:.1f} GB free, but the prepared data take "
            f"{needed / 1e9:.1f} GB; make room, or choose another folder with {CACHE_VARIABLE}"
        )
