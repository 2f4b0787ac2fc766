"""The image data sets' one entry: `load(DataConfig) -> Splits`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latsearch.config import DataConfig
from latsearch.data.catalogue import DATASETS, download_root, locate, present_file
from latsearch.data.idx import read_idx
from latsearch.data.splits import Samples, Splits
from latsearch.data.splitting import split, stratified, take
from latsearch.data.torchvision_sets import fetch, read_cifar
from latsearch.errors import DataError

_DIGITS_TEST = 0.2
_DIGITS_SEED = (8150, 0)  # any constant: it makes the test split the same for everybody


def load(config: DataConfig, *, download: bool = False, verify: bool = True) -> Splits:
    """Load a data set and split it.

    Args:
        config: which data set, where it is, and how to split it.
        download: fetch the data set if it is not there, or damaged.
        verify: check the MD5 of files that need it; False for tests' own small files.

    Raises:
        DataError: the data set is not there, cannot be read or downloaded, is damaged, or cannot
            be split as asked for.
    """
    try:
        train, test = _read(config, verify)
    except DataError:
        if not download or config.name == "digits":
            raise
        fetch(config.name, download_root(config.root))
        train, test = _read(config, verify)
    return split(config, train, test, DATASETS[config.name].classes)


def _read(config: DataConfig, verify: bool) -> tuple[Samples, Samples]:
    """All training and all test samples."""
    if config.name == "digits":
        return _digits()
    folder = locate(config.name, config.root)
    if config.name == "fashion-mnist":
        train, test = _idx_pair(folder, "train"), _idx_pair(folder, "t10k")
    else:
        train, test = read_cifar(config.name, folder, verify=verify)
    info = DATASETS[config.name]
    for samples in (train, test):
        _check(samples, info.shape, info.classes, folder)
    return train, test


def _digits() -> tuple[Samples, Samples]:
    """Training and test samples of scikit-learn's digits, 8×8 pixels of 0..16.

    The set has no official split: a fixed, stratified fifth is its test split here.
    """
    from sklearn.datasets import load_digits  # its import takes a second

    bunch = load_digits()
    images = (bunch.images * 15).astype(np.uint8)[:, None]
    samples = Samples(images, bunch.target.astype(np.int64))
    test = stratified(samples.labels, round(_DIGITS_TEST * len(samples)), _DIGITS_SEED)
    train = np.setdiff1d(np.arange(len(samples)), test)
    return take(samples, train), take(samples, test)


def _idx_pair(folder: Path, part: str) -> Samples:
    """The images and labels of ``train`` or ``t10k``."""
    images, labels = (
        present_file(folder, f"{part}-{kind}-ubyte", gz=True)
        for kind in ("images-idx3", "labels-idx1")
    )
    assert images is not None  # `locate` has seen both
    assert labels is not None
    pixels, targets = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(targets):
        raise DataError(
            f"{labels} has {len(targets)} labels for the {len(pixels)} images of {images.name}; "
            "replace both"
        )
    return Samples(pixels[:, None], targets.astype(np.int64))


def _check(samples: Samples, shape: tuple[int, int, int], classes: int, folder: Path) -> None:
    """Refuse files of the right format with the wrong contents."""
    if not len(samples):
        raise DataError(f"{folder} holds no samples; replace its files")
    if samples.images.shape[1:] != shape:
        raise DataError(
            f"{folder} holds images of shape {samples.images.shape[1:]}, not {shape}; "
            "replace its files"
        )
    if samples.labels.min() < 0 or samples.labels.max() >= classes:
        wrong = samples.labels[(samples.labels < 0) | (samples.labels >= classes)][0]
        raise DataError(
            f"{folder} holds the label {wrong}, not one of 0..{classes - 1}; replace its files"
        )
