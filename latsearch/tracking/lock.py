"""One publisher for a study and a store: two at a time would create every run twice."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from types import TracebackType

from latsearch.errors import StudyError
from latsearch.tracking.location import shown_uri


class PublisherLock:
    """Exclusive right to publish the study in a folder to a store; the system frees it at death.

    Raises:
        StudyError: on entry, where another process or thread has it.
    """

    def __init__(self, folder: Path, uri: str):
        name = hashlib.sha256(uri.encode()).hexdigest()[:8]
        self._path = folder / f"mlflow-{name}.lock"
        self._uri = uri
        self._file: int | None = None

    def __enter__(self) -> PublisherLock:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise StudyError(
                f"{self._path.parent}: it is being published to {shown_uri(self._uri)} already, "
                "by the running search or another `latsearch publish`"
            ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file is not None
        os.close(self._file)
