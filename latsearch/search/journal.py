"""The journal file that a study is stored in, where it has no database."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.storages.journal._file import get_lock_file

from latsearch.errors import StudyError
from latsearch.search.lock import JournalLock
from latsearch.search.mending import sealed
from latsearch.search.packed import pack_reports

_LOGGER = logging.getLogger("latsearch")

_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)
PATIENCE = 900.0  # seconds that a driver waits for a disk that is full or read-only


class Journal(BaseJournalBackend):
    """Optuna's journal file, forced to the disk beside the driver's work rather than within it.

    What was appended survives the death of the process at once. A machine that loses power may
    lose the last moments: the study then stands where it stood before them. Waiting for the disk
    at each entry costs the driver milliseconds, tens of them where others use the disk too.
    A disk that is full or read-only is waited for.
    """

    def __init__(self, path: Path):
        self._path = path
        self._lock = JournalLock(path)
        self._file = JournalFileBackend(str(path), self._lock)
        self._guard = threading.Lock()  # of the two below
        self._dirty = False
        self._flushing = False
        # made with the first entry; a process that ends waits for what it has to do
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """The entries from a number on."""
        for entry in self._file.read_logs(log_number_from):
            entry.pop("crc", None)
            pack_reports(entry.get("user_attr", {}))
            yield entry

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries; they are on the disk a little later.

        Raises:
            StudyError: the file is gone, or cannot be written, or not within `PATIENCE` seconds.
        """
        data = b"".join(sealed(log) for log in logs)
        start, pause, told = time.monotonic(), 0.5, False
        while True:
            try:
                self._append(data)
                break
            except FileNotFoundError as error:
                raise StudyError(
                    f"{self._path} is gone: it was moved or deleted while the search ran; put the "
                    "study's folder back, and the same command goes on"
                ) from error
            except OSError as error:
                if error.errno not in _PASSING or time.monotonic() - start + pause > PATIENCE:
                    raise StudyError(
                        f"{self._path}: cannot be written: {error.strerror}; what was reported "
                        "before is kept: once that is mended the same command goes on"
                    ) from error
                if not told:
                    _LOGGER.warning(
                        "%s: cannot be written: %s; the search waits", self._path, error.strerror
                    )
                    told = True
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        if told:
            _LOGGER.warning("%s: can be written again", self._path)
        with self._guard:
            self._dirty = True
            if self._flushing:
                return
            self._flushing = True
        self._thread.submit(self._flush)

    def _append(self, data: bytes) -> None:
        """Append all or nothing: after half a line nobody could read the next one.

        A file that is gone is not made anew: without what was in it, it would be another study.
        """
        with get_lock_file(self._lock), self._path.open("r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(size)
                raise

    def _flush(self) -> None:
        """Force to the disk whatever was appended, until nothing new was."""
        while True:
            with self._guard:
                if not self._dirty:
                    self._flushing = False
                    return
                self._dirty = False
            # it may be deleted meanwhile; and what the disk does not take now, the next one brings
            with suppress(OSError), self._path.open("rb") as file:
                os.fsync(file.fileno())
