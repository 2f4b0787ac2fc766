"""CIFAR and downloads, through torchvision (imported where it is used: it takes seconds)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from latsearch.data.known import Dataset, Layout, LoadOptions
from latsearch.data.splits import Samples
from latsearch.errors import DataError


def read_cifar(dataset: Dataset, folder: Path, options: LoadOptions) -> tuple[Samples, Samples]:
    """Training and test samples of CIFAR-10 or CIFAR-100.

    The files are pickles, which can run code: they are opened only once their checksums are right.

    Args:
        dataset: ``cifar10`` or ``cifar100``.
        folder: holds the files.
        options: whether to check torchvision's MD5 of every file first.

    Raises:
        DataError: a file cannot be read or is damaged.
    """
    loader = _class(dataset.info.name)
    if options.verify:
        _check_files(loader, folder)

    # The loader without its own checks, which would not name the file.
    unchecked = type(
        "Unchecked",
        (loader,),
        {
            "base_folder": "",
            "train_list": [(file, None) for file, _ in loader.train_list],
            "test_list": [(file, None) for file, _ in loader.test_list],
            "meta": {**loader.meta, "md5": None},
        },
    )
    try:
        return _samples(unchecked(folder, train=True)), _samples(unchecked(folder, train=False))
    except OSError as error:
        raise DataError(f"{error.filename or folder} cannot be read: {error.strerror}") from None
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(
            f"{folder} holds a damaged file ({type(error).__name__}: {error}); replace it"
        ) from error


def fetch(name: str, layout: Layout, root: Path) -> None:
    """Download a data set below ``root``, in torchvision's layout.

    Files are downloaded and checked in a folder aside and moved one by one, each whole: whatever
    interrupts this, no half file is left under a data set's name.

    Raises:
        DataError: the download failed, or ``root`` cannot be written to.
    """
    target = root / layout.subfolder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".latsearch-download-", dir=root) as aside:
            _download(name, aside)
            target.mkdir(parents=True, exist_ok=True)
            for file in layout.files:
                os.replace(Path(aside, layout.subfolder, file), target / file)
    except OSError as error:
        where = error.filename or root
        raise DataError(f"{name} cannot be stored: {where}: {error.strerror}") from None


def _download(name: str, folder: str) -> None:
    try:
        _class(name)(folder, download=True)
    except Exception as error:  # torchvision, urllib and tarfile each raise their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name} could not be downloaded: {reason}") from error


def _class(name: str) -> Any:
    from torchvision import datasets

    found: dict[str, Any] = {
        "fashion-mnist": datasets.FashionMNIST,
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
    }
    return found[name]


def _check_files(loader: Any, folder: Path) -> None:
    from torchvision.datasets.utils import check_md5

    listed = [*loader.train_list, *loader.test_list]
    for file, md5 in [*listed, (loader.meta["filename"], loader.meta["md5"])]:
        try:
            right = check_md5(folder / file, md5)
        except OSError as error:
            raise DataError(f"{folder / file} cannot be read: {error.strerror}") from None
        if not right:
            raise DataError(
                f"{folder / file} is damaged: its MD5 is not {md5}; replace it, or delete it and "
                "use `--download`"
            )


def _samples(read: Any) -> Samples:
    images = np.ascontiguousarray(read.data.transpose(0, 3, 1, 2))  # stored as [N, C, H, W]
    return Samples(images, np.asarray(read.targets, dtype=np.int64))
