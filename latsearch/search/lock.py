"""One driver a study: a lock that the operating system releases when its holder dies."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType

from optuna.storages.journal._file import BaseJournalFileLock

from latsearch.errors import StudyError


class DriverLock:
    """Exclusive right to drive the study in a folder, held for the life of the context.

    Raises:
        StudyError: on entry, where another process drives the study.
    """

    def __init__(self, folder: Path):
        self._path = folder / "driver.lock"
        self._file: int | None = None

    def __enter__(self) -> DriverLock:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 200).decode(errors="replace").strip()
            os.close(self._file)
            raise StudyError(
                f"{self._path.parent}: another `latsearch run` drives this study "
                f"({holder or 'starting up'}); wait for it, stop it, or use --study NAME"
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{this_process()}\n".encode())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file is not None
        os.ftruncate(self._file, 0)
        os.close(self._file)


def driver_of(folder: Path) -> str | None:
    """Who drives the study in a folder, e.g. ``pid 17 on host``; None where nobody does."""
    try:
        with (folder / "driver.lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "starting up"
    except FileNotFoundError:
        pass
    return None


def this_process() -> str:
    """How a driver names itself."""
    return f"pid {os.getpid()} on {socket.gethostname()}"


class JournalLock(BaseJournalFileLock):
    """Optuna's journal lock on flock: its own link-based one outlives a killed holder by 30 s."""

    def __init__(self, journal: Path):
        self._path = journal.with_suffix(".lock")
        self._file: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Give the lock back."""
        assert self._file is not None
        os.close(self._file)
        self._file = None
