"""Downloads through torchvision (imported where it is used: it takes seconds)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from latsearch.data.known import Dataset
from latsearch.errors import DataError

_TINY_IMAGENET = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"


def fetch(dataset: Dataset, root: Path) -> None:
    """Download a data set below ``root``, in its own layout.

    Files are downloaded and checked in a folder aside and moved one by one, each whole: whatever
    interrupts this, no half file is left under a data set's name.

    Raises:
        DataError: the download failed, or ``root`` cannot be written to.
    """
    name, layout = dataset.info.name, dataset.layout
    if name not in FETCHERS or layout is None:
        raise DataError(f"{name} cannot be downloaded; {dataset.info.how_to_get}")
    target = root / layout.subfolder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".latsearch-download-", dir=root) as aside:
            _download(name, aside)
            target.mkdir(parents=True, exist_ok=True)
            for file in layout.files:
                found = Path(aside, layout.subfolder, file)
                if found.is_dir():
                    shutil.rmtree(target / file, ignore_errors=True)
                os.replace(found, target / file)
    except OSError as error:
        where = error.filename or root
        raise DataError(f"{name} cannot be stored: {where}: {error.strerror}") from None


def _download(name: str, folder: str) -> None:
    try:
        FETCHERS[name](folder)
    except Exception as error:  # torchvision, urllib and tarfile each raise their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name} could not be downloaded: {reason}") from error


def _mnist(folder: str) -> None:
    from torchvision.datasets import MNIST

    MNIST(folder, download=True)


def _fashion_mnist(folder: str) -> None:
    from torchvision.datasets import FashionMNIST

    FashionMNIST(folder, download=True)


def _cifar10(folder: str) -> None:
    from torchvision.datasets import CIFAR10

    CIFAR10(folder, download=True)


def _cifar100(folder: str) -> None:
    from torchvision.datasets import CIFAR100

    CIFAR100(folder, download=True)


def _svhn(folder: str) -> None:
    from torchvision.datasets import SVHN

    for part in ("train", "test"):
        SVHN(os.path.join(folder, "SVHN"), split=part, download=True)


def _tiny_imagenet(folder: str) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(_TINY_IMAGENET, folder, remove_finished=True)


FETCHERS: Mapping[str, Callable[[str], None]] = {
    "mnist": _mnist,
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "svhn": _svhn,
    "tiny-imagenet": _tiny_imagenet,
}
