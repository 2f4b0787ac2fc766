"""Studies of other versions: what is read of them, and what is refused.

`FORMAT` changes where an older latsearch would misread a study. What is only added (a field of the
configuration, a key of a report) leaves it as it is: whoever does not know it reads the rest, and
does not drive the study.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from latsearch import __version__
from latsearch.config import StudyConfig
from latsearch.errors import StudyError

_LOGGER = logging.getLogger("latsearch")

FORMAT = 1
WRITER = "latsearch"  # a study's attribute: version of the latsearch that last drove it


def check_format(found: Any, what: Path) -> None:
    """Check that a format is known here.

    Raises:
        StudyError: it is not.
    """
    if found != FORMAT:
        raise StudyError(
            f"{what}: written in format {found}, this latsearch reads {FORMAT}; install the "
            "version that wrote it"
        )


def read_config(attributes: Mapping[str, Any], folder: Path, *, drive: bool) -> StudyConfig:
    """A study's configuration as it was stored.

    Fields that this version does not know are left out where the study is only read.

    Args:
        attributes: of the study.
        folder: of the study.
        drive: whether it is going to go on.

    Raises:
        StudyError: this version does not know a field and is to drive the study, or takes a value
            for wrong.
    """
    stored = json.loads(json.dumps(attributes["config"]))
    writer = attributes.get(WRITER, "another version")
    unknown: list[str] = []
    while True:
        try:
            config = StudyConfig.model_validate_json(json.dumps(stored))
            break
        except pydantic.ValidationError as error:
            extra = [e["loc"] for e in error.errors() if e["type"] == "extra_forbidden"]
            dropped = [".".join(map(str, place)) for place in extra if _drop(stored, place)]
            if not dropped:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise StudyError(
                    f"{folder}: written by latsearch {writer}; this one ({__version__}) does not "
                    f"take {where}: {first['msg']}; install that version"
                ) from None
            unknown += dropped
    if unknown and drive:
        raise StudyError(
            f"{folder}: written by latsearch {writer}; this one ({__version__}) does not know "
            f"{', '.join(unknown)}; install that version to go on with it"
        )
    if unknown:
        _LOGGER.warning(
            "%s: written by latsearch %s; %s is not known here and is left out",
            folder, writer, ", ".join(unknown),
        )  # fmt: skip
    return config


def _drop(stored: Any, place: Sequence[int | str]) -> bool:
    """Remove a field; whether it was there."""
    *parents, name = place
    for part in parents:
        if not isinstance(stored, dict) or part not in stored:
            return False
        stored = stored[part]
    if not isinstance(stored, dict) or name not in stored:
        return False
    del stored[name]
    return True
