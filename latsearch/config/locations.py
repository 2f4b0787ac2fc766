"""Where a study is kept: URLs of databases, with the password apart from what is shown."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit, urlunsplit

from latsearch.config.text import shown

STORAGE_VARIABLE = "LATSEARCH_STORAGE"
STORAGE_PATTERN = r"(sqlite:///|postgres(ql)?(\+psycopg)?://).+"

_POSTGRES = re.compile(r"postgres(ql)?(\+psycopg)?://")


def storage_url(url: str) -> str:
    """Check the URL of a study's storage; PostgreSQL's in one spelling.

    Raises:
        ValueError: it names no database that a study can be kept in.
    """
    if not re.fullmatch(STORAGE_PATTERN, url):
        raise ValueError(
            f"{shown(without_password(url))} is neither postgresql://USER@HOST/DATABASE nor "
            "sqlite:///FILE nor null for the runs folder"
        )
    if not _POSTGRES.match(url):
        return url
    url = _POSTGRES.sub("postgresql://", url)
    try:
        parts = urlsplit(url)
        named = bool(parts.path.strip("/")) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named:
        raise ValueError(
            f"{shown(without_password(url))} names no database: write "
            "postgresql://USER@HOST:PORT/DATABASE (and /, @, : in a password as %2F, %40, %3A)"
        )
    return url


def is_postgres(url: str | None) -> bool:
    """Whether a study's storage is a PostgreSQL database."""
    return url is not None and url.startswith("postgresql://")


def without_password(url: str) -> str:
    """The URL as it may be shown and stored: without a password.

    Example:
        >>> without_password("postgresql://me:secret@db:5432/studies")
        'postgresql://me@db:5432/studies'
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    # a password may hold any sign, also "/" and "@" where somebody forgot to quote them
    login, at, place = rest.rpartition("@")
    if at:
        rest = f"{login.partition(':')[0]}@{place}"
    parts = urlsplit(f"{scheme}://{rest}")
    if "password" in parse_qs(parts.query, keep_blank_values=True):
        kept = [part for part in parts.query.split("&") if not part.startswith("password=")]
        return urlunsplit(parts._replace(query="&".join(kept)))
    return f"{scheme}://{rest}"
