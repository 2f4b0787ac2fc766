"""Where checkpoints are kept: in a study's folder, or in object storage.

A checkpoint is written once and named by the report that points to it: what no report names is
ignored, and removed when the study goes on. Workers write, the driver commits.
"""

from __future__ import annotations

import errno
import re
import secrets
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from latsearch.errors import LatsearchError
from latsearch.search.objects import (
    download,
    file_system,
    first_line,
    objects_below,
    upload,
    write_text,
)

PATIENCE = 300.0  # seconds that a worker waits for storage that is away
_LAG = 90.0  # seconds after which a shared folder shows what another machine wrote
# a full disk and one that was made read-only are not among them: somebody mends that
_HOPELESS = (
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR),
    *(errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG),
)
WEIGHTS, STATE = "model.safetensors", "state.pt"
_NAME = re.compile(r"trials/\d{5,9}/([0-9a-f]{8}/)?\d{5,9}")

T = TypeVar("T")


class StorageError(LatsearchError):
    """Checkpoints cannot be read or written: no fault of the trial's."""


class CheckpointLost(LatsearchError):
    """A trial's checkpoint is damaged or gone: it has to go on from the one before."""


class Checkpoints(ABC):
    """The checkpoints of a study; names are relative to it, ``trials/00003/…/00005``."""

    @abstractmethod
    def save(self, number: int, epoch: int, write: Callable[[Path], None]) -> str:
        """Keep a checkpoint that ``write`` makes in the folder it is given; its name.

        Raises:
            StorageError: it cannot be written.
        """

    @abstractmethod
    def reading(self, name: str) -> Any:
        """A context with the folder of a checkpoint on this machine.

        Raises:
            StorageError: it cannot be read.
        """

    @abstractmethod
    def fetched(self, name: str) -> Path | None:
        """The folder of a checkpoint's weights on this machine, to stay; None: they are gone."""

    @abstractmethod
    def names(self, number: int) -> Sequence[str]:
        """Names of a trial's checkpoints that are there."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a checkpoint; one that is not there, or not to be reached now, is left."""

    @abstractmethod
    def remove_unfinished(self, number: int) -> None:
        """Remove what workers that died while they wrote left of a trial's checkpoints."""

    @abstractmethod
    def drop_state(self, name: str) -> None:
        """Remove the state of the training from a checkpoint, and leave the weights."""

    @abstractmethod
    def sign(self, name: str) -> None:
        """Leave a sign, to be seen from another machine.

        Raises:
            OSError: that is not possible here.
        """

    @abstractmethod
    def signs(self) -> Sequence[str]:
        """The signs that are seen here."""

    @abstractmethod
    def remove_signs(self) -> None:
        """Remove all signs."""


class FolderCheckpoints(Checkpoints):
    """Checkpoints in the study's folder.

    Args:
        folder: the study's folder.
        shared: whether other machines write to it as well, whose files appear with a delay.
    """

    def __init__(self, folder: Path, shared: bool = False):
        self._folder = folder.absolute()
        self._shared = shared

    def __str__(self) -> str:
        return str(self._folder)

    def save(self, number: int, epoch: int, write: Callable[[Path], None]) -> str:
        """Write it in its place; it is complete or absent."""
        name = f"{trial_folder(number)}/{epoch:05d}"
        outlast(lambda: write(self._folder / name), str(self))
        return name

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """The folder itself, once it is seen here."""
        deadline = time.monotonic() + (_LAG if self._shared else 0.0)
        while not (self._place(name) / WEIGHTS).is_file() and time.monotonic() < deadline:
            time.sleep(0.5)
        yield self._place(name)

    def fetched(self, name: str) -> Path | None:
        """The folder itself."""
        folder = self._place(name)
        return folder if (folder / WEIGHTS).is_file() else None

    def names(self, number: int) -> Sequence[str]:
        """Names of the folders below the trial's."""
        below = sorted((self._folder / trial_folder(number)).glob("*"))
        names = [str(folder.relative_to(self._folder)) for folder in below]
        return [name for name in names if _NAME.fullmatch(name)]

    def remove(self, name: str) -> None:
        """Remove the folder."""
        shutil.rmtree(self._place(name), ignore_errors=True)

    def remove_unfinished(self, number: int) -> None:
        """Remove the folders that were not moved to their place."""
        for folder in (self._folder / trial_folder(number)).glob(".*"):
            shutil.rmtree(folder, ignore_errors=True)

    def drop_state(self, name: str) -> None:
        """Remove the file."""
        with suppress(OSError):  # e.g. the folder is read-only now
            (self._place(name) / STATE).unlink()

    def _place(self, name: str) -> Path:
        return self._folder / checked(name)

    def sign(self, name: str) -> None:
        """Make an empty file."""
        (self._folder / f".sign-{name}").touch()

    def signs(self) -> Sequence[str]:
        """Names of the files."""
        return [file.name.removeprefix(".sign-") for file in self._folder.glob(".sign-*")]

    def remove_signs(self) -> None:
        """Remove the files."""
        for file in self._folder.glob(".sign-*"):
            file.unlink(missing_ok=True)


class ObjectCheckpoints(Checkpoints):
    """Checkpoints in object storage, which has no folders and cannot move anything.

    Each is written below a random name of its own, so that no object is ever written twice, not
    even by a worker that was given up and lives on.

    Args:
        uri: of the study's objects, as pyarrow has them, e.g. ``s3://bucket/runs/study/name``.
        cache: folder of this machine for what is fetched to stay.
    """

    def __init__(self, uri: str, cache: Path):
        self._uri = uri
        self._cache = cache

    def __str__(self) -> str:
        return self._uri.partition("?")[0]

    def save(self, number: int, epoch: int, write: Callable[[Path], None]) -> str:
        """Upload it; no report names it before that is done."""
        name = f"{trial_folder(number)}/{secrets.token_hex(4)}/{epoch:05d}"
        with tempfile.TemporaryDirectory(prefix="latsearch-") as scratch:
            folder = Path(scratch) / "checkpoint"
            write(folder)
            outlast(lambda: upload(folder, self._uri, name), str(self))
        return name

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """A copy that goes away again."""
        with tempfile.TemporaryDirectory(prefix="latsearch-") as scratch:
            folder = Path(scratch) / "checkpoint"
            outlast(lambda: download(self._uri, checked(name), folder), str(self))
            yield folder

    def fetched(self, name: str) -> Path | None:
        """A copy without the training's state; checkpoints do not change, so it is made once."""
        folder = self._cache / checked(name)
        if not (folder / WEIGHTS).is_file():
            aside = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
            try:
                download(self._uri, name, aside, but=(STATE,))
                aside.replace(folder)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise StorageError(f"{self}: {first_line(error)}") from error
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        return folder if (folder / WEIGHTS).is_file() else None

    def names(self, number: int) -> Sequence[str]:
        """Names with an object below them."""
        place, root = file_system(self._uri)
        found = objects_below(place, f"{root}/{trial_folder(number)}")
        return sorted({path.removeprefix(f"{root}/").rpartition("/")[0] for path in found})

    def remove(self, name: str) -> None:
        """Remove the objects, and the copy here."""
        place, root = file_system(self._uri)
        with suppress(OSError):
            for path in objects_below(place, f"{root}/{checked(name)}"):
                place.delete_file(path)
        shutil.rmtree(self._cache / name, ignore_errors=True)

    def remove_unfinished(self, number: int) -> None:
        """Nothing: whatever is there has a name of its own, by which it is removed."""

    def drop_state(self, name: str) -> None:
        """Remove the object."""
        place, root = file_system(self._uri)
        with suppress(OSError):
            place.delete_file(f"{root}/{checked(name)}/{STATE}")

    def sign(self, name: str) -> None:
        """Write an empty object."""
        write_text(self._uri, f"signs/{name}", "")

    def signs(self) -> Sequence[str]:
        """Names of the objects."""
        place, root = file_system(self._uri)
        return [path.rpartition("/")[2] for path in objects_below(place, f"{root}/signs")]

    def remove_signs(self) -> None:
        """Remove the objects."""
        place, root = file_system(self._uri)
        for path in objects_below(place, f"{root}/signs"):
            place.delete_file(path)


def checked(name: str) -> str:
    """A checkpoint's name, which a study's storage says and which may be anybody's words.

    Raises:
        StorageError: it is none, and could lead out of the study.
    """
    if not _NAME.fullmatch(name):
        raise StorageError(f"{name!r} is no checkpoint's name; the study's storage is damaged")
    return name


def trial_folder(number: int) -> str:
    """Folder of a trial's checkpoints relative to its study's."""
    return f"trials/{number:05d}"


def outlast(call: Callable[[], T], where: str, patience: float = PATIENCE) -> T:
    """Call, and again as long as storage is away.

    Raises:
        StorageError: it does not work, or not within ``patience`` seconds.
    """
    start, pause = time.monotonic(), 0.5
    while True:
        try:
            return call()
        except OSError as error:
            # pyarrow's own errors of missing objects carry no number
            hopeless = error.errno in _HOPELESS or isinstance(error, FileNotFoundError)
            if hopeless or time.monotonic() - start + pause > patience:
                raise StorageError(f"{where}: {first_line(error)}") from error
        time.sleep(pause)
        pause = min(2 * pause, 10.0)
