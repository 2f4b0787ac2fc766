"""SVHN (cropped house numbers): two MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latsearch.data.known import Dataset, LoadOptions
from latsearch.data.matlab import read_matlab
from latsearch.data.md5 import check_md5
from latsearch.data.splits import Samples
from latsearch.errors import DataError

FILES = ("train_32x32.mat", "test_32x32.mat")


def read_svhn(dataset: Dataset, folder: Path, options: LoadOptions) -> tuple[Samples, Samples]:
    """Training and test samples; the files' label 10 is the digit 0.

    Raises:
        DataError: a file cannot be read or is damaged.
    """
    if options.verify:
        for file in FILES:
            check_md5(folder / file, dataset.md5[file])
    return read_part(folder / FILES[0]), read_part(folder / FILES[1])


def read_part(file: Path) -> Samples:
    """The samples in a MATLAB file; its label 10 is the digit 0.

    Raises:
        DataError: the file cannot be read or is damaged.
    """
    try:
        found = read_matlab(file, ("X", "y"))
        images, labels = found["X"], found["y"].reshape(-1)
        pixels = np.ascontiguousarray(images.transpose(3, 2, 0, 1))  # stored as [H, W, C, N]
        return Samples(pixels, labels.astype(np.int64) % 10)
    except Exception as error:  # a damaged file may raise anything
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{file} cannot be read: {error.strerror}") from None
        reason = " ".join(str(error).split())
        raise DataError(
            f"{file} is damaged ({type(error).__name__}: {reason}); replace it"
        ) from error
