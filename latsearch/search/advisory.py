"""One driver a study in PostgreSQL: an advisory lock that the server releases when it dies."""

from __future__ import annotations

import logging
import re
import socket
import time
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy.exc import OperationalError

from latsearch.errors import StudyError
from latsearch.search.database import (
    CONNECT,
    START_PATIENCE,
    VANISHED,
    Superseded,
    known_url,
    patiently,
    place_of,
    require_driver,
)
from latsearch.search.lock import this_process

_LOGGER = logging.getLogger("latsearch")
_VANISHING = VANISHED + 15  # seconds until the lock of a machine that is gone is free


class DatabaseLock:
    """Exclusive right to something, held in PostgreSQL for the life of the context.

    The lock belongs to a connection: the server frees it where the holder dies, and half a minute
    after its machine vanished. `renew` takes it again after the server was away.

    Args:
        url: of the database.
        key: what the right is to; the same text is the same lock.
        what: what a second holder is told that somebody drives.

    Raises:
        StudyError: on entry, where another connection holds it and does not go away.
    """

    def __init__(self, url: str, key: str, what: str):
        self._url = known_url(url)
        self._key = _advisory(key)
        self._what = what
        self._connection: Any = None

    def __enter__(self) -> DatabaseLock:
        require_driver()
        patiently(self._connect, self._url, START_PATIENCE)
        deadline = time.monotonic() + _VANISHING
        told = False
        while not self._try():
            holder = holder_in(self._connection, self._key)
            if time.monotonic() > deadline or (holder and _runs_here(holder)):
                self._connection.close()
                raise StudyError(
                    f"{self._what}: another `latsearch run` drives this study "
                    f"({holder or 'starting up'}); wait for it, stop it, or use --study NAME"
                )
            if not told:
                _LOGGER.warning(
                    "%s is driven by %s; waiting up to %d s, in case its machine is gone",
                    self._what, holder or "somebody", _VANISHING,
                )  # fmt: skip
                told = True
            time.sleep(1.0)
        return self

    def renew(self) -> None:
        """Hold the lock again after the connection was lost.

        Raises:
            StudyError: somebody else holds it now.
        """
        try:
            self._connection.execute("SELECT 1")
        except Exception:  # whatever is wrong with it, a new connection is the remedy
            self._connection.close()
            self._connect()
            if not self._try():
                raise Superseded(
                    f"{self._what}: while the database was away, another `latsearch run` "
                    f"({holder_in(self._connection, self._key)}) took this study over"
                ) from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def _connect(self) -> None:
        import psycopg

        try:
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                application_name=f"latsearch {this_process()}",
                **CONNECT,
            )
        except psycopg.Error as error:  # as SQLAlchemy has it, for one way to handle them
            raise OperationalError("connect", None, error) from error

    def _try(self) -> bool:
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", (self._key,)).fetchone()
        return bool(row[0])


def database_driver(url: str, key: str) -> str | None:
    """Who holds the lock of this key, e.g. ``pid 17 on host``; None where nobody does."""
    import psycopg

    try:
        with psycopg.connect(known_url(url), **CONNECT) as connection:
            return holder_in(connection, _advisory(key))
    except psycopg.Error as error:
        raise StudyError(f"{place_of(url)} does not answer: {error}") from None


def holder_in(connection: Any, key: int) -> str | None:
    """Who holds an advisory lock, as it named itself to the server."""
    row = connection.execute(
        "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pg_locks.database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND (classid::bigint << 32 | objid::bigint) = %s",
        (key,),
    ).fetchone()
    return None if row is None else str(row[0]).removeprefix("latsearch ") or "somebody"


def _advisory(key: str) -> int:
    """PostgreSQL's lock number for a text."""
    return int.from_bytes(sha256(key.encode()).digest()[:8], signed=True)


def _runs_here(holder: str) -> bool:
    """Whether the holder is a process of this machine that lives."""
    match = re.fullmatch(r"pid (\d+) on (.+)", holder)
    return bool(match and match[2] == socket.gethostname() and Path(f"/proc/{match[1]}").exists())
