"""A study's header: the small file that makes a folder a study, and says where the study is stored.

The folder's own copy is ``study.json``; a study with a home in object storage has it there too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latsearch.errors import StudyError
from latsearch.search.checkpoints import outlast
from latsearch.search.formats import check_format
from latsearch.search.objects import write_text

HEADER = "study.json"


def read_header(folder: Path) -> dict[str, Any]:
    """What a study's folder says of it.

    Raises:
        StudyError: there is no study, or it is of a newer format.
    """
    try:
        header = json.loads((folder / HEADER).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise StudyError(f"{folder}: no study here; `latsearch list` shows them") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"{folder / HEADER}: cannot be read: {error}") from None
    if not isinstance(header, dict):
        raise StudyError(f"{folder / HEADER}: cannot be read: it is no header of a study")
    check_format(header.get("version"), folder)
    return header


def write_header(folder: Path, header: Mapping[str, Any]) -> None:
    """Write what a folder, and its home in object storage, say of a study; it exists from then on.

    Raises:
        StorageError: object storage does not take it.
    """
    text = json.dumps(header, indent=1) + "\n"
    if "home" in header:
        outlast(lambda: write_text(header["home"], HEADER, text), header["home"], patience=30)
    aside = folder / f"{HEADER}.tmp"
    aside.write_text(text)
    aside.replace(folder / HEADER)
