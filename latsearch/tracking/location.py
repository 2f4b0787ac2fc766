"""Where MLflow keeps its copy of the studies: tracking URIs (no mlflow)."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from latsearch.errors import LatsearchError

SQLITE = "sqlite:///"


class TrackingError(LatsearchError):
    """MLflow cannot be reached, or refuses what is published; the study itself is safe."""


_DAMAGED = ("malformed", "file is not a database", "duplicate column name")  # sqlite's words


def default_uri(runs: Path) -> str:
    """Tracking URI from ``MLFLOW_TRACKING_URI``, or of the runs folder's own ``mlflow.db``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{(runs / 'mlflow.db').resolve()}"


def is_server(uri: str) -> bool:
    """Whether the URI is that of an MLflow server, which has a UI of its own."""
    return uri.startswith(("http://", "https://"))


def database_file(uri: str) -> Path | None:
    """The file of a store that is an sqlite file; None for any other."""
    database = uri.removeprefix(SQLITE)
    return None if database in (uri, "", ":memory:") else Path(database).resolve()


def artifact_folder(uri: str) -> Path | None:
    """Where a store that is an sqlite file keeps artifacts: beside it. None for any other."""
    file = database_file(uri)
    return file.with_name("mlartifacts") if file else None


def shown_uri(uri: str) -> str:
    """The URI without a password."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}"))


def failure(uri: str, error: BaseException) -> str:
    """What happened to a store, in one line and without its password."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | TimeoutError | socket.gaierror):
            return "it does not answer"
        cause = cause.__cause__ or cause.__context__
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    file = database_file(uri)
    if file is not None and any(word in str(error) for word in _DAMAGED):
        return (
            f"{file} is damaged; the study is not: move the file away, and `latsearch publish` "
            "writes it anew"
        )
    return line.replace(uri, shown_uri(uri))[:300]
