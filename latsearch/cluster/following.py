"""A job followed to its end: its states, its driver's output, and why it waits."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from latsearch.cluster.client import Cluster
from latsearch.cluster.events import obstacles
from latsearch.cluster.logs import follow, follow_driver
from latsearch.cluster.state import JobState
from latsearch.cluster.watching import states
from latsearch.errors import ClusterError

_LOOK_AFTER = 15.0  # seconds between two looks at why a job waits
_LAST_READ = 3.0  # seconds that a reading thread has to end
_LAST_LINES = 20.0  # seconds that an ended job's output may still take

Say = Callable[[str], None]
Items = queue.Queue[tuple[str, Any]]


def attach(
    cluster: Cluster,
    name: str,
    say: Say,
    show: Say | None,
    *,
    tail: int | None = None,
    pause: float = 1.0,
    look_after: float = _LOOK_AFTER,
) -> JobState:
    """Follow a job until it has ended; how it did.

    Args:
        cluster: where it is.
        name: its name.
        say: takes a line about the job.
        show: takes a line of its driver; None for states alone.
        tail: begin with so many of the driver's past lines; None for all.
        pause: seconds before a second try where the connection is lost.
        look_after: seconds between two looks at why a job waits.

    Raises:
        NotFound: there is no such job (any more).
        ClusterError: the cluster refuses to tell, or does not answer for long.
    """
    line = cluster.twin()
    items: Items = queue.Queue()
    ended = threading.Event()
    # said by this thread alone: one that writes while the process ends would abort it
    note = partial(_put, items, "note")
    threads = [_feed(items, "state", states(line, name, note, pause=pause))]
    if show is not None:
        output = follow_driver(line, name, ended.is_set, tail=tail, pause=pause)
        threads.append(_feed(items, "line", output))
    try:
        return _follow(cluster, items, ended, say, show, look_after)
    finally:
        _join(line, threads)


def _follow(
    cluster: Cluster,
    items: Items,
    ended: threading.Event,
    say: Say,
    show: Say | None,
    look_after: float,
) -> JobState:
    told: set[str] = set()
    words, give_up = "", float("inf")
    state: JobState | None = None
    next_look = time.monotonic() + look_after
    while True:
        kind, value = _next(items)
        if kind == "line" and show is not None:
            show(value)
        elif kind == "note":
            say(value)
        elif kind == "state":
            state = JobState.of(value)
            if state.words != words:
                words = state.words
                say(f"{state.name}: {words}")
            if state.ended and not ended.is_set():
                ended.set()
                give_up = time.monotonic() + _LAST_LINES
        elif kind == "state failed":
            raise value
        elif kind == "line failed":
            say(f"no output to show: {value}")
            show = None
        if state is not None and state.ended:
            if show is None or kind == "line ended" or time.monotonic() > give_up:
                return state
        elif state is not None and _waits(state) and time.monotonic() > next_look:
            next_look = time.monotonic() + look_after
            _tell(cluster, state, told, say)


def merged(cluster: Cluster, pods: list[dict[str, Any]], tail: int | None) -> Iterator[str]:
    """What several pods print, as it comes, each line after its pod's name."""
    line = cluster.twin()
    items: Items = queue.Queue()
    threads = [
        _feed(items, "line", _named(pod["metadata"]["name"], follow(line, pod, tail=tail)))
        for pod in pods
    ]
    left = len(pods)
    try:
        while left:
            kind, value = _next(items)
            if kind == "line":
                yield value
            elif kind == "line failed":
                raise value
            elif kind == "line ended":
                left -= 1
    finally:
        _join(line, threads)


def _named(name: str, lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield f"{name}  {line}"


def _feed(items: Items, kind: str, source: Iterator[Any]) -> threading.Thread:
    """Read a source in a thread of its own."""

    def read() -> None:
        try:
            for item in source:
                items.put((kind, item))
        except Exception as error:  # also what nobody thought of: raised where it is seen
            items.put((f"{kind} failed", error))
        else:
            items.put((f"{kind} ended", None))

    thread = threading.Thread(target=read, daemon=True, name=f"latsearch {kind}")
    thread.start()
    return thread


def _join(line: Cluster, threads: list[threading.Thread]) -> None:
    """End what reads, or the process might be torn down under it."""
    line.hang_up()
    for thread in threads:
        thread.join(_LAST_READ)


def _put(items: Items, kind: str, item: Any) -> None:
    items.put((kind, item))


def _next(items: Items) -> tuple[str, Any]:
    """The next item; short waits, so that Ctrl-C is heard."""
    try:
        return items.get(timeout=0.5)
    except queue.Empty:
        return "", None


def _waits(state: JobState) -> bool:
    return state.deployment in ("", "Initializing", "Retrying") and not state.suspended


def _tell(cluster: Cluster, state: JobState, told: set[str], say: Say) -> None:
    """Say what keeps the job, once each."""
    try:
        for line in obstacles(cluster, state):
            if line not in told:
                told.add(line)
                say(f"{state.name}: waits: {line}")
    except ClusterError as error:
        if str(error) not in told:
            told.add(str(error))
            say(str(error))
