"""CIFAR-10 and CIFAR-100: pickles of arrays, read without unpickling them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latsearch.data.known import Dataset, LoadOptions
from latsearch.data.md5 import check_md5
from latsearch.data.plain_pickle import read_plain
from latsearch.data.splits import Samples
from latsearch.errors import DataError

BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_ROW = (3, 32, 32)


def read_cifar10(dataset: Dataset, folder: Path, options: LoadOptions) -> tuple[Samples, Samples]:
    """Training and test samples of CIFAR-10.

    Raises:
        DataError: a file cannot be read or is damaged.
    """
    _verify(dataset, folder, options)
    return _read(folder, BATCHES, "labels"), _read(folder, ("test_batch",), "labels")


def read_cifar100(dataset: Dataset, folder: Path, options: LoadOptions) -> tuple[Samples, Samples]:
    """Training and test samples of CIFAR-100, with its fine labels.

    Raises:
        DataError: a file cannot be read or is damaged.
    """
    _verify(dataset, folder, options)
    return _read(folder, ("train",), "fine_labels"), _read(folder, ("test",), "fine_labels")


def _verify(dataset: Dataset, folder: Path, options: LoadOptions) -> None:
    if options.verify:
        for file, md5 in dataset.md5.items():
            check_md5(folder / file, md5)


def _read(folder: Path, files: Sequence[str], labels: str) -> Samples:
    batches = [read_batch(folder / file, labels) for file in files]
    return Samples(
        np.concatenate([batch.pixels for batch in batches]),
        np.concatenate([batch.labels for batch in batches]),
    )


def read_batch(file: Path, labels: str) -> Samples:
    """The samples in a file, ``labels`` being the name of theirs.

    Raises:
        DataError: the file cannot be read or is damaged.
    """
    try:
        found = read_plain(file.read_bytes())
        pixels = np.asarray(found["data"], dtype=np.uint8).reshape(-1, *_ROW)
        return Samples(pixels, np.asarray(found[labels], dtype=np.int64))
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{file} is damaged ({type(error).__name__}: {reason}); replace it"
        ) from error
