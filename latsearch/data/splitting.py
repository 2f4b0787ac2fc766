"""Stratified, seeded splits, and the pixel statistics of the training split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latsearch.config import DataConfig
from latsearch.data.splits import Samples, Splits
from latsearch.errors import DataError

Indices = NDArray[np.intp]

_VALIDATION, _SUBSET, _PART = (
    0,
    1,
    2,
)  # random streams of their own: one setting never moves the other
_CHUNK = 256  # images at a time, so that statistics need no wide copy of a whole data set


def split(config: DataConfig, train: Samples, test: Samples, classes: int) -> Splits:
    """Take validation samples, then the training subset, out of a data set's training samples.

    Args:
        config: which data set, and how to split it.
        train: all training samples.
        test: the test samples, which no setting touches.
        classes: number of classes.

    Raises:
        DataError: a part would be empty, or too small for a sample of every class.
    """
    rest, validation = split_rows(config, train.labels, classes)
    used = train.take(rest)
    mean, std = statistics(used)
    return Splits(config.name, used, train.take(validation), test, classes, mean, std)


def part(splits: Splits, share: float) -> Splits:
    """The splits with a stratified share of the training samples, always the same ones.

    Args:
        splits: images, or recordings binned to frames.
        share: 0..1.

    Raises:
        DataError: the share is too small for a sample of every class.
    """
    samples = len(splits.train)
    count = round(share * samples)
    if count < splits.classes:
        raise DataError(
            f"search.screening.data = {share:g} is {count} of {samples} training samples, fewer "
            f"than one of each of the {splits.classes} classes; give more"
        )
    rows = stratified(splits.train.labels, count, (0, _PART))
    return replace(splits, train=splits.train.take(rows), binned=None, recipe=None)


def split_rows(
    config: DataConfig, labels: NDArray[np.int64], classes: int
) -> tuple[Indices, Indices]:
    """Which of a data set's training samples to train on, and which to validate on.

    Args:
        config: how to split them.
        labels: ``[N]``, of all training samples.
        classes: number of classes.

    Raises:
        DataError: a part would be empty, or too small for a sample of every class.
    """
    held = _validation_count(config, len(labels), classes)
    validation = stratified(labels, held, (config.split_seed, _VALIDATION))
    rest = np.setdiff1d(np.arange(len(labels)), validation)
    if config.train_samples is not None:
        _check_subset(config.train_samples, len(rest), classes)
        seed = (config.split_seed, _SUBSET)
        rest = rest[stratified(labels[rest], config.train_samples, seed)]
    return rest, validation


def stratified(labels: NDArray[np.int64], count: int, seed: tuple[int, ...]) -> Indices:
    """Choose samples at random, each class within one sample of its share.

    Args:
        labels: ``[N]``.
        count: how many samples to choose, 0..N.
        seed: of the choice; a larger count with the same seed keeps about the same samples.

    Returns:
        ``[count]`` rising indices.
    """
    kinds, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    exact = sizes * count / max(len(labels), 1)
    shares = np.floor(exact).astype(np.intp)
    # What rounding down left over goes to the largest remainders, the first class first.
    largest = np.argsort(shares - exact, kind="stable")
    shares[largest[: count - int(shares.sum())]] += 1
    # NumPy keeps RandomState's stream for ever: a study that goes on after an upgrade of NumPy must
    # meet the same split.
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    chosen = [
        random.permutation(np.flatnonzero(which == kind))[: shares[kind]]
        for kind in range(len(kinds))
    ]
    return np.sort(np.concatenate([np.empty(0, dtype=np.intp), *chosen]))


def statistics(samples: Samples) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels by channel, on the scale 0..1."""
    rows = np.arange(len(samples)) if samples.rows is None else samples.rows
    channels = samples.sample_shape[-3]
    counts = np.zeros((channels, 256))  # exact: the 256 values are counted, not summed
    for start in range(0, len(rows), _CHUNK):
        chunk = samples.pixels[rows[start : start + _CHUNK]]
        for channel in range(channels):
            pixels = chunk[..., channel, :, :].ravel()
            counts[channel] += np.bincount(pixels, minlength=256)
    share = counts / counts.sum(axis=1, keepdims=True)
    scale = np.arange(256) / 255
    mean = share @ scale
    deviation = (scale[None, :] - mean[:, None]) ** 2
    std = np.sqrt((share * deviation).sum(axis=1))
    return tuple(mean.tolist()), tuple(std.tolist())


def _validation_count(config: DataConfig, samples: int, classes: int) -> int:
    wanted = config.validation
    count = round(wanted * samples) if wanted < 1 else int(wanted)
    given = f"data.validation = {wanted:g} is {count} of {samples} training samples"
    if count > samples - classes:
        raise DataError(
            f"{given}, which leaves fewer than {classes}, one a class, to train on; "
            f"give at most {samples - classes}, or a fraction such as 0.2"
        )
    if count < classes:
        raise DataError(f"{given}, fewer than one of each of the {classes} classes; give more")
    return count


def _check_subset(wanted: int, left: int, classes: int) -> None:
    if wanted > left:
        raise DataError(
            f"data.train_samples = {wanted} is above the {left} samples that validation leaves; "
            "give fewer, or null for all of them"
        )
    if wanted < classes:
        raise DataError(
            f"data.train_samples = {wanted} is fewer than one of each of the {classes} classes; "
            "give more"
        )
