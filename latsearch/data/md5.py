"""Checksums of data sets' files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from latsearch.errors import DataError


def check_md5(file: Path, md5: str) -> None:
    """Refuse a file whose MD5 is another one.

    Raises:
        DataError: it is, or the file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
    if found.hexdigest() != md5:
        raise DataError(
            f"{file} is damaged: its MD5 is not {md5}; replace it, or delete it and use "
            "`--download`"
        )
