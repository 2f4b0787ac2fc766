"""The YAML's ``network.options``: what a network of the user's own is told, fixed or searched."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from dataclasses import field, make_dataclass
from typing import Annotated, Any

from pydantic import Field

from latsearch.config.text import shown
from latsearch.config.trial import Value

OPTION_NAME = r"^[a-z][a-z0-9_]{0,63}$"


def option_name(name: str) -> str:
    """Check that an option's name can be a column's.

    Raises:
        ValueError: it cannot.
    """
    if not re.fullmatch(OPTION_NAME, name) or keyword.iskeyword(name) or name.startswith("model_"):
        raise ValueError(
            f"{shown(name)} cannot be an option's name: use lower-case letters, digits and _, no "
            "word of Python's and no model_…"
        )
    return name


class OptionsSection:
    """The options as a section like ``network``: a value, a range or choices by name."""

    def __init__(self, given: Mapping[str, Any]):
        self._given = given
        self.model_fields_set = frozenset(given)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._given[name]
        except KeyError:
            raise AttributeError(name) from None

    def names(self) -> tuple[str, ...]:
        """The options that are given."""
        return tuple(self._given)


def options_config(section: OptionsSection) -> type:
    """A dataclass of the options: what each may be; where it is not searched it is None."""
    described = Field(description="an option of the user's own network")
    return make_dataclass(
        "OptionsConfig",
        [
            (name, Annotated[_kind(getattr(section, name)), described], field(default=None))
            for name in section.names()
        ],
        frozen=True,
    )


def _kind(given: Any) -> Any:
    """Whole numbers or numbers where a range is searched, else any value."""
    ends = [getattr(given, end, None) for end in ("low", "high", "step")]
    if ends[0] is None:
        return Value
    return int if all(isinstance(end, int) for end in ends if end is not None) else float
