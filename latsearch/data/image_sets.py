"""The image data sets of the catalogue, each beside its loader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from latsearch.config import DataConfig
from latsearch.data.cifar import fetch, read_cifar
from latsearch.data.idx import read_pairs
from latsearch.data.known import Dataset, DatasetInfo, Layout, LoadOptions
from latsearch.data.locating import download_root, locate
from latsearch.data.splits import Samples, Splits
from latsearch.data.splitting import split, stratified
from latsearch.errors import DataError

_DIGITS_TEST = 0.2
_DIGITS_SEED = (8150, 0)  # any constant: it makes the test split the same for everybody

Parts = tuple[Samples, Samples]
Reader = Callable[[Dataset, Path, LoadOptions], Parts]


def load_files(read: Reader, dataset: Dataset, config: DataConfig, options: LoadOptions) -> Splits:
    """Splits of a data set of known files.

    Args:
        read: reads its training and test samples from its folder.
        dataset: the data set.
        config: where it is, and how to split it.
        options: how to load it.

    Raises:
        DataError: it is not there, cannot be read or downloaded, is damaged, or cannot be split.
    """
    name = dataset.info.name
    assert dataset.info.classes is not None

    def parts() -> Parts:
        folder = locate(dataset, config.root)
        found = read(dataset, folder, options)
        for samples in found:
            _check(samples, dataset.info, folder)
        return found

    try:
        train, test = parts()
    except DataError:
        if not options.download:
            raise
        assert dataset.layout is not None
        fetch(name, dataset.layout, download_root(config.root))
        train, test = parts()
    return split(config, train, test, dataset.info.classes)


def load_digits(dataset: Dataset, config: DataConfig, options: LoadOptions) -> Splits:
    """Splits of scikit-learn's digits, 8×8 pixels of 0..16.

    The set has no official split: a fixed, stratified fifth is its test split here.
    """
    from sklearn.datasets import load_digits as read  # its import takes a second

    bunch = read()
    images = (bunch.images * 15).astype(np.uint8)[:, None]
    samples = Samples(images, bunch.target.astype(np.int64))
    test = stratified(samples.labels, round(_DIGITS_TEST * len(samples)), _DIGITS_SEED)
    train = np.setdiff1d(np.arange(len(samples)), test)
    return split(config, samples.take(train), samples.take(test), 10)


def _check(samples: Samples, info: DatasetInfo, folder: Path) -> None:
    """Refuse files of the right format with the wrong contents."""
    assert info.classes is not None
    if not len(samples):
        raise DataError(f"{folder} holds no samples; replace its files")
    if samples.sample_shape != info.shape:
        raise DataError(
            f"{folder} holds images of shape {samples.sample_shape}, not {info.shape}; "
            "replace its files"
        )
    if samples.labels.min() < 0 or samples.labels.max() >= info.classes:
        wrong = samples.labels[(samples.labels < 0) | (samples.labels >= info.classes)][0]
        raise DataError(
            f"{folder} holds the label {wrong}, not one of 0..{info.classes - 1}; replace its files"
        )


_DOWNLOAD = "`latsearch run FILE --download`"

_ENTRIES = (
    Dataset(
        DatasetInfo(
            "digits",
            "scikit-learn's handwritten digits",
            10,
            1438,
            359,
            (1, 8, 8),
            "comes with scikit-learn",
        ),
        load_digits,
        Layout("", ("digits.csv.gz",)),
    ),
    Dataset(
        DatasetInfo(
            "fashion-mnist",
            "grey pictures of clothes",
            10,
            60_000,
            10_000,
            (1, 28, 28),
            f"{_DOWNLOAD} (on Debian also `apt install dataset-fashion-mnist`)",
        ),
        partial(load_files, read_pairs),
        Layout(
            "FashionMNIST/raw",
            (
                "train-images-idx3-ubyte",
                "train-labels-idx1-ubyte",
                "t10k-images-idx3-ubyte",
                "t10k-labels-idx1-ubyte",
            ),
            gz=True,
            package="/usr/share/datasets/fashion-mnist",
        ),
    ),
    Dataset(
        DatasetInfo(
            "cifar10",
            "colour photographs of 10 kinds",
            10,
            50_000,
            10_000,
            (3, 32, 32),
            _DOWNLOAD,
        ),
        partial(load_files, read_cifar),
        Layout(
            "cifar-10-batches-py",
            (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
        ),
    ),
    Dataset(
        DatasetInfo(
            "cifar100",
            "colour photographs of 100 kinds",
            100,
            50_000,
            10_000,
            (3, 32, 32),
            _DOWNLOAD,
        ),
        partial(load_files, read_cifar),
        Layout("cifar-100-python", ("train", "test", "meta")),
    ),
)

IMAGE_SETS: Mapping[str, Dataset] = {entry.info.name: entry for entry in _ENTRIES}
