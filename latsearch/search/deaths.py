"""Why a worker process died: what it left behind, what Ray says, what the kernel counts."""

from __future__ import annotations

import faulthandler
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_MEMORY = ("running low on memory", "OUT_OF_MEMORY", "OutOfMemoryError")  # Ray's words
_OTHERS = "Top 10 memory users"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 8000  # characters of a trace
# how often the kernel killed for lack of memory: in this container, on this machine
_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))


@dataclass(frozen=True)
class Death:
    """Why a worker process died.

    Attributes:
        reason: in words.
        memory: whether it was killed since memory ran out.
        trace: its last words, or Ray's about it.
    """

    reason: str
    memory: bool
    trace: str | None


class Watchdog:
    """Ends this process where a training hangs; what it was doing is written to a file.

    The process has to go: nothing can stop a thread of it that hangs.

    Args:
        folder: for the file; it is made. None, or one that cannot be: standard error.
        number: of the trial.
        seconds: of patience; None: for ever.
    """

    def __init__(self, folder: Path | None, number: int, seconds: float | None):
        self._seconds = seconds
        self._file: IO[str] | None = None
        self._path = last_words(folder, number) if folder is not None else None
        if seconds is not None and self._path is not None:
            with suppress(OSError):
                self._path.parent.mkdir(exist_ok=True)
                self._file = self._path.open("w", encoding="utf-8")

    def __enter__(self) -> Watchdog:
        if self._seconds is not None:
            out = 2 if self._file is None else self._file
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=out)
        return self

    def __exit__(self, *error: object) -> None:
        faulthandler.cancel_dump_traceback_later()

    def close(self) -> None:
        """Remove the file, in which nothing is."""
        if self._file is not None and self._path is not None:
            self._file.close()
            with suppress(OSError):
                self._path.unlink()
            self._file = None


def last_words(folder: Path, number: int) -> Path:
    """Where a worker that hangs says what it was doing."""
    return folder / f"{number:05d}.hangs"


class Coroner:
    """Finds out why workers died.

    Args:
        failures: folder of what hanging workers leave behind; None: there is none.
        timeout: seconds without a report after which they end themselves.
    """

    def __init__(self, failures: Path | None, timeout: float | None):
        self._failures = failures
        self._timeout = timeout
        self._killed = killed_for_memory()

    def examine(self, number: int, told: str | None) -> Death:
        """Why the worker of a trial died; looked at once, right after its death.

        Args:
            number: of the trial.
            told: what Ray says; None where it says nothing.
        """
        before, self._killed = self._killed, killed_for_memory()
        # Ray lists the commands of other processes, which are nobody's business
        words, _, _ = _COLOURS.sub("", told or "").partition(_OTHERS)
        text = words.strip()[-_LONGEST:] or None
        hung = self._hung(number)
        if hung is not None:
            return Death(f"no report within run.timeout = {self._timeout:g} s", False, hung)
        if text is not None and any(words in text for words in _MEMORY):
            reason = "its worker process was killed: its machine runs low on memory"
            return Death(reason, True, text)
        if self._killed > before:
            return Death("its worker process was killed: out of memory", True, text)
        # one that hangs on another machine, whose files are not seen here, leaves nothing
        hangs = "" if self._timeout is None else f", or no report for {self._timeout:g} s"
        return Death(f"its worker process died (killed, or crashed{hangs})", False, text)

    def _hung(self, number: int) -> str | None:
        """The last words of a worker that hung."""
        if self._failures is None:
            return None
        path = last_words(self._failures, number)
        try:
            words = path.read_text(encoding="utf-8", errors="replace").strip()
            path.unlink()
        except OSError:
            return None
        return words[-_LONGEST:] or None


def killed_for_memory() -> int:
    """How many processes of this machine the kernel has killed for lack of memory so far."""
    for counter in _COUNTERS:
        try:
            lines = counter.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdigit():
                return int(count)
    return 0
