"""A digest of files' contents, remembered as long as nobody has touched the files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latsearch.data.cache import cache_root
from latsearch.data.known import Progress
from latsearch.errors import DataError

_BLOCK = 1 << 20


def fingerprint(
    files: Sequence[Path], base: Path, label: str, progress: Progress | None = None
) -> str:
    """Digest of the files' names below ``base`` and of their contents.

    Reading all of a large data set takes long, so the digest is remembered by the files' paths,
    sizes, inodes and times (the time of the last change of the inode too, which copying tools
    cannot set): files that are touched are read again, files that are the same give the same.

    Raises:
        DataError: a file cannot be read.
    """
    try:
        seen = hashlib.sha256()
        for file in files:
            status = file.stat()
            times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
            seen.update(f"{file.absolute()}\0{status.st_size} {status.st_ino} {times}\n".encode())
        memo = cache_root() / "seen" / seen.hexdigest()
        known = _remembered(memo)
        if known is None:
            known = _digest(files, base, label, progress)
            _remember(memo, known)
    except OSError as error:
        raise DataError(f"{error.filename or base} cannot be read: {error.strerror}") from None
    return known


def digest(*parts: Any) -> str:
    """Digest of values of JSON's types, e.g. of a fingerprint and the options of decoding."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _digest(files: Sequence[Path], base: Path, label: str, progress: Progress | None) -> str:
    whole = hashlib.sha256()
    for index, file in enumerate(files):
        content = hashlib.blake2b(digest_size=32)
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                content.update(block)
        name = os.path.relpath(file, base)
        whole.update(f"{name}\0{content.hexdigest()}\n".encode(errors="surrogateescape"))
        if progress is not None:
            progress(f"{label}: reading files", index + 1, len(files))
    return whole.hexdigest()


def _remembered(memo: Path) -> str | None:
    try:
        return memo.read_text() or None
    except OSError:
        return None


def _remember(memo: Path, known: str) -> None:
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        aside = memo.with_name(f"{memo.name}.{os.getpid()}")
        aside.write_text(known)
        aside.replace(memo)
    except OSError:
        return  # it is only read again next time
