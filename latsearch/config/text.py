"""How values and names are written in messages."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

_LONGEST = 60  # characters of a shown value


def shown(value: Any) -> str:
    """A value as a YAML file would have it, on one line and not too long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    if not text.isprintable():
        text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def plain(number: float) -> str:
    """A number without the ``.0`` that YAML did not have.

    Example:
        >>> plain(100.0), plain(0.5), plain(1_000_001)
        ('100', '0.5', '1000001')
    """
    whole = isinstance(number, float) and number.is_integer() and abs(number) < 1e15
    return str(int(number)) if whole else str(number)


def key_text(key: str) -> str:
    """A key as it appears in a path: in quotes where it would break the line or confuse."""
    return key if key.isprintable() and 0 < len(key) <= _LONGEST else shown(key)


def on_a_line(text: str) -> str:
    """A text of the user's as it is; in quotes and escaped where a terminal must not get it."""
    return text if text.isprintable() else json.dumps(text)


def either(values: Iterable[Any]) -> str:
    """Values joined with ``or``."""
    return " or ".join(
        value if isinstance(value, str) else plain(value) if type(value) is float else shown(value)
        for value in values
    )


def nearest(key: Any, known: Sequence[str]) -> str:
    """A hint at the known name that is meant, or at all of them."""
    near = difflib.get_close_matches(str(key).lower(), known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; known are {', '.join(known)}" if known else ""
