"""Publishing while a search runs: in a thread of its own, which the search never waits for."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from latsearch.search.driver import TrialStarted
from latsearch.search.storage import Study
from latsearch.tracking.attachments import Attach
from latsearch.tracking.location import failure, shown_uri
from latsearch.tracking.lock import PublisherLock
from latsearch.tracking.publishing import Publication, PublishReport

_REST = 10.0  # pause after a publication in its own durations: at most a tenth of one core
_LONGEST_PAUSE = 300.0
_SETTLE_EVERY = 600.0  # seconds between two publications of pictures and ranks off the front
_HURRY = 10.0  # seconds granted on exit where the user is waiting to get out


class _Abandoned(Exception):
    """The time for publishing is over."""


def _give_back_memory() -> None:
    """Return freed memory to the system: the C library keeps it for this thread alone."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):  # glibc
        library.malloc_trim(0)


class BackgroundPublisher:
    """Publishes a study while it is being searched; an observer of the search.

    A store that fails is tried again, ever more rarely; the search is not slowed down by it.
    On exit the rest is published within a bounded time, and a warning says where it was not.

    Args:
        folder: the study's folder; it is opened once more, for reading.
        uri: tracking URI of the MLflow store.
        artifacts: folder for the artifacts of a new experiment.
        warn: takes a line for the user, from another thread.
        attach: writes further files for the study's parent run into a folder.
        interval: seconds from one publication to the next, at least.
        patience: seconds granted on exit to publish the rest.

    Attributes:
        report: what MLflow had after the last publication; None before the first.
    """

    def __init__(
        self,
        folder: Path,
        uri: str,
        artifacts: Path | None = None,
        *,
        warn: Callable[[str], None],
        attach: Attach | None = None,
        interval: float = 5.0,
        patience: float = 60.0,
    ):
        self._folder = folder
        self._uri = uri
        self._artifacts = artifacts
        self._warn = warn
        self._attach = attach
        self._interval = interval
        self._patience = patience
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._hurried = threading.Event()
        self._abandoned = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._work, name="mlflow publisher", daemon=True)
        self.report: PublishReport | None = None

    def __enter__(self) -> BackgroundPublisher:
        self._thread.start()
        return self

    def __call__(self, event: object) -> None:
        """Note that there is something to publish; the first time not before a first report.

        While the workers start, importing mlflow here would take their cores.
        """
        if not isinstance(event, TrialStarted):
            self._wake.set()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._hurried.set()
        self._closing.set()
        self._wake.set()
        try:
            self._thread.join(self._patience if kind is None else min(_HURRY, self._patience))
        except KeyboardInterrupt:
            self._warn("publishing to MLflow was interrupted; `latsearch publish` catches up")
            self._abandoned.set()
            raise
        if self._thread.is_alive():
            self._abandoned.set()
            self._warn(self._unfinished("it took too long"))

    # --- in the thread --------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            last = self._closing.is_set()
            try:
                with PublisherLock(self._folder, self._uri):
                    self._publish_until_closed()
                return
            except _Abandoned:
                return
            except Exception as error:  # whatever MLflow does, the search goes on
                if last:
                    self._warn(self._unfinished(failure(self._uri, error)))
                    return
                self._rest(error)

    def _publish_until_closed(self) -> None:
        self._wake.wait()  # importing mlflow takes seconds: not before there is something
        publication = Publication(
            Study.open(self._folder), self._uri, self._artifacts, self._attach, self._check
        )
        closing, settled = False, time.monotonic()
        while not closing:
            self._wake.wait()
            closing = self._closing.is_set()
            self._wake.clear()
            start = time.monotonic()
            # pictures and report take long in a large study: a user who wants out gets the trials
            last = closing and not self._hurried.is_set()
            settle = last or start - settled > _SETTLE_EVERY
            publication.update(settle=settle)
            settled = start if settle else settled
            self.report = publication.report
            self._failures = 0
            _give_back_memory()
            pause = max(self._interval, _REST * (time.monotonic() - start))
            self._closing.wait(0 if closing else min(pause, _LONGEST_PAUSE))

    def _check(self) -> None:
        if self._abandoned.is_set():
            raise _Abandoned

    def _rest(self, error: Exception) -> None:
        """Wait before the next attempt, the longer the more have failed; say so once."""
        if self._failures == 0:
            self._warn(
                f"publishing to MLflow at {shown_uri(self._uri)} failed "
                f"({failure(self._uri, error)}); the search goes on, and it is tried again"
            )
        self._failures += 1
        self._wake.set()
        self._closing.wait(min(self._interval * 2**self._failures, _LONGEST_PAUSE))

    def _unfinished(self, reason: str) -> str:
        return (
            f"MLflow at {shown_uri(self._uri)} does not have everything ({reason}); "
            f"`latsearch publish {self._folder}` catches up"
        )
