"""Processes as /proc has them: what runs below a driver, what it takes, and how to end it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

WORKER = "Trainable"  # in the title of a Ray actor that trains
RAYLET, GCS = "raylet/raylet", "gcs/gcs_server"


def processes() -> Iterator[tuple[int, int, str]]:
    """Every process: its id, its parent's, and the letter of its state."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
        except OSError:  # it ended meanwhile
            continue
        state, parent = stat.rsplit(")", 1)[1].split()[:2]
        yield int(entry.name), int(parent), state


def descendants(root: int) -> list[int]:
    """Process ids below a process."""
    parents = {pid: parent for pid, parent, _ in processes()}
    found, fresh = [], [root]
    while fresh:
        fresh = [pid for pid, parent in parents.items() if parent in fresh]
        found += fresh
    return found


def command(pid: int) -> str:
    """The command line, with blanks between its words; empty where the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def below(root: int, word: str) -> list[int]:
    """Process ids below a process whose command line has the word."""
    return [pid for pid in descendants(root) if word in command(pid)]


def marked(mark: str) -> list[int]:
    """Process ids of all that were started with ``mark`` in their environment."""
    found = []
    for pid, _, _ in processes():
        with suppress(OSError):
            if mark.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found


def send(pid: int, what: signal.Signals) -> bool:
    """Send a signal; whether the process was there."""
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return False
    return True


def kill_tree(root: int) -> None:
    """Kill a process and all below it, as if its machine lost power."""
    for pid in [root, *descendants(root)]:
        send(pid, signal.SIGKILL)


def wait_until(
    condition: Callable[[], object], what: str, seconds: float, pause: float = 0.1
) -> None:
    """Wait for a condition.

    Raises:
        RuntimeError: it did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
