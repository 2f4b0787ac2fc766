"""Downloads of event data sets, by tonic."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from latsearch.errors import DataError


def fetch(name: str, loader: str, root: Path) -> None:
    """Download a data set into ``root/<loader>``; tonic checks its archives' MD5.

    It is downloaded and unpacked in a folder aside and moved once it is whole.

    Args:
        name: of the data set.
        loader: name of its class in tonic.
        root: folder of all data sets.

    Raises:
        DataError: the download failed, or ``root`` cannot be written to.
    """
    target = root / loader
    try:
        root.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise DataError(f"{target} is there, but not whole; move it away and download again")
        with tempfile.TemporaryDirectory(prefix=".latsearch-download-", dir=root) as aside:
            _download(name, loader, aside)
            os.replace(Path(aside, loader), target)
    except OSError as error:
        where = error.filename or root
        raise DataError(f"{name} cannot be stored: {where}: {error.strerror}") from None


def _download(name: str, loader: str, folder: str) -> None:
    from tonic import datasets

    kind: Any = getattr(datasets, loader)
    parts: list[dict[str, bool]] = [{"train": True}, {"train": False}]
    try:
        for options in [{}] if loader == "CIFAR10DVS" else parts:
            kind(folder, **options)  # downloads, checks and unpacks
    except Exception as error:  # tonic, urllib and zipfile each raise their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name} could not be downloaded: {reason}") from error
