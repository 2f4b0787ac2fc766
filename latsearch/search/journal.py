"""The journal file that a study is stored in, where it has no database."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.storages.journal._file import get_lock_file

from latsearch.search.lock import JournalLock

_LONGEST_LINE = 1 << 20  # bytes of a journal line; a report has some 10 kB


class Journal(BaseJournalBackend):
    """Optuna's journal file, forced to the disk beside the driver's work rather than within it.

    What was appended survives the death of the process at once. A machine that loses power may
    lose the last moments: the study then stands where it stood before them. Waiting for the disk
    at each entry costs the driver milliseconds, tens of them where others use the disk too.
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
        return self._file.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries; they are on the disk a little later."""
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with get_lock_file(self._lock), self._path.open("ab") as file:
            file.write(text.encode())
        with self._guard:
            self._dirty = True
            if self._flushing:
                return
            self._flushing = True
        self._thread.submit(self._flush)

    def _flush(self) -> None:
        """Force to the disk whatever was appended, until nothing new was."""
        while True:
            with self._guard:
                if not self._dirty:
                    self._flushing = False
                    return
                self._dirty = False
            with suppress(FileNotFoundError), self._path.open("rb") as file:  # deleted meanwhile
                os.fsync(file.fileno())


def mend(journal: Path) -> None:
    """Cut off a line that a killed driver did not finish; it was never acknowledged.

    Optuna reads over an unfinished last line, but not once another line follows it.
    """
    with journal.open("rb+") as file:
        start = max(0, file.seek(0, 2) - _LONGEST_LINE)
        file.seek(start)
        tail = file.read()
        if not tail.endswith(b"\n"):
            file.truncate(start + tail.rfind(b"\n") + 1)
