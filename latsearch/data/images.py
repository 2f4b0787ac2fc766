"""The image data sets' one entry: `load(DataConfig) -> Splits`."""

from __future__ import annotations

import numpy as np

from latsearch.config import DataConfig
from latsearch.data.splits import Samples, Splits
from latsearch.data.splitting import split, stratified, take

_DIGITS_TEST = 0.2
_DIGITS_SEED = (8150, 0)  # any constant: it makes the test split the same for everybody


def load(config: DataConfig) -> Splits:
    """Load a data set and split it.

    Args:
        config: which data set, where it is, and how to split it.

    Raises:
        DataError: the data set cannot be split as asked for.
    """
    train, test = _digits()
    return split(config, train, test, 10)


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
