"""The image data sets of the catalogue, each beside its loader."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from latsearch.config import DataConfig
from latsearch.data.arrays import open_custom, open_npz
from latsearch.data.cifar import BATCHES, read_cifar10, read_cifar100
from latsearch.data.downloads import fetch
from latsearch.data.idx import read_pairs
from latsearch.data.image_folder import open_image_folder
from latsearch.data.known import Dataset, DatasetInfo, Layout, LoadOptions
from latsearch.data.locating import download_root, locate, present_file
from latsearch.data.sources import TEST, TRAIN, Blocks, Decoded, Skipped, Source, decoded
from latsearch.data.splits import Samples, Splits
from latsearch.data.splitting import split, stratified
from latsearch.data.svhn import read_svhn
from latsearch.data.tiny_imagenet import open_tiny_imagenet
from latsearch.errors import DataError

_LOGGER = logging.getLogger("latsearch")
_DIGITS_TEST = 0.2
_DIGITS_SEED = (8150, 0)  # any constant: it makes the test split the same for everybody

Reader = Callable[[Dataset, Path, LoadOptions], tuple[Samples, Samples]]
Opener = Callable[[Dataset, Path, LoadOptions], Source]


def load_known(
    opener: Opener, dataset: Dataset, config: DataConfig, options: LoadOptions
) -> Splits:
    """Splits of a data set of known files.

    Args:
        opener: its source, from its folder.
        dataset: the data set.
        config: where it is, and how to split it.
        options: how to load it.

    Raises:
        DataError: it is not there, cannot be read or downloaded, is damaged, or cannot be split.
    """

    def found() -> Decoded:
        folder = locate(dataset, config.root)
        whole = decoded(opener(dataset, folder, options), options)
        for samples in (whole.train, whole.test):
            _check(samples, dataset.info, folder)
        return whole

    try:
        whole = found()
    except DataError:
        if not options.download:
            raise
        fetch(dataset, download_root(config.root))
        whole = found()
    assert dataset.info.classes is not None
    splits = split(config, whole.train, whole.test, dataset.info.classes)
    return replace(splits, class_names=whole.classes)


def load_own(
    opener: Callable[[DataConfig, LoadOptions], Source],
    dataset: Dataset,
    config: DataConfig,
    options: LoadOptions,
) -> Splits:
    """Splits of the user's own files.

    Raises:
        DataError: they are not there, cannot be read, or cannot be split.
    """
    whole = decoded(opener(config, options), options)
    if whole.skipped.count:
        _LOGGER.warning(
            "%s: %d left out, the first because %s",
            config.root,
            whole.skipped.count,
            whole.skipped.first[0],
        )
    splits = split(config, whole.train, whole.test, len(whole.classes))
    return replace(splits, class_names=whole.classes)


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


def open_files(read: Reader, dataset: Dataset, folder: Path, options: LoadOptions) -> Source:
    """The source of a data set that is read in two pieces, training and test samples."""

    def decode(skipped: Skipped) -> Blocks:
        for part, samples in zip((TRAIN, TEST), read(dataset, folder, options), strict=True):
            yield part, (samples.pixels, samples.labels)

    layout, info = dataset.layout, dataset.info
    assert layout is not None
    assert info.classes is not None
    files = [present_file(folder, file, layout.gz) for file in layout.files]
    return Source(
        info.name,
        folder,
        tuple(file for file in files if file is not None),
        {"verified": options.verify},
        decode,
        (info.train or 0) + (info.test or 0),
        dataset.class_names or tuple(map(str, range(info.classes))),
    )


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
    wrong = samples.labels[(samples.labels < 0) | (samples.labels >= info.classes)]
    if len(wrong):
        raise DataError(
            f"{folder} holds the label {wrong[0]}, not one of 0..{info.classes - 1}; "
            "replace its files"
        )


_DOWNLOAD = "`latsearch datasets {} --download`"
_IDX = tuple(
    f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
)
_CLOTHES = (
    *("T-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
_THINGS = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def _info(name: str, title: str, shape: tuple[int, int, int], *counts: int) -> DatasetInfo:
    """The entry of a set that can be downloaded; counts are classes, training and test samples."""
    classes, train, test = counts
    return DatasetInfo(name, title, classes, train, test, shape, _DOWNLOAD.format(name))


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
        _info("mnist", "grey pictures of digits", (1, 28, 28), 10, 60_000, 10_000),
        partial(load_known, partial(open_files, read_pairs)),
        Layout("MNIST/raw", _IDX, gz=True),
        # of the compressed files, as torchvision has them
        md5={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    Dataset(
        DatasetInfo(
            "fashion-mnist",
            "grey pictures of clothes",
            10,
            60_000,
            10_000,
            (1, 28, 28),
            f"{_DOWNLOAD.format('fashion-mnist')} (on Debian also "
            "`apt install dataset-fashion-mnist`)",
        ),
        partial(load_known, partial(open_files, read_pairs)),
        Layout("FashionMNIST/raw", _IDX, gz=True, package="/usr/share/datasets/fashion-mnist"),
        class_names=_CLOTHES,
        # of the files as they are once decompressed, taken from Debian's package
        md5={
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
    ),
    Dataset(
        _info("cifar10", "colour photographs of 10 kinds", (3, 32, 32), 10, 50_000, 10_000),
        partial(load_known, partial(open_files, read_cifar10)),
        Layout("cifar-10-batches-py", (*BATCHES, "test_batch", "batches.meta")),
        class_names=_THINGS,
        md5={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
    ),
    Dataset(
        _info("cifar100", "colour photographs of 100 kinds", (3, 32, 32), 100, 50_000, 10_000),
        partial(load_known, partial(open_files, read_cifar100)),
        Layout("cifar-100-python", ("train", "test", "meta")),
        md5={
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "7973b15100ade9c7d40fb424638fde48",
        },
    ),
    Dataset(
        _info("svhn", "colour photographs of house numbers", (3, 32, 32), 10, 73_257, 26_032),
        partial(load_known, partial(open_files, read_svhn)),
        Layout("SVHN", ("train_32x32.mat", "test_32x32.mat")),
        md5={
            "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        },
    ),
    Dataset(
        _info("tiny-imagenet", "photographs of 200 kinds", (3, 64, 64), 200, 100_000, 10_000),
        partial(load_known, open_tiny_imagenet),
        Layout("tiny-imagenet-200", ("wnids.txt", "words.txt", "train/", "val/")),
    ),
    Dataset(
        DatasetInfo(
            "image-folder",
            "your own folder of class folders",
            None,
            None,
            None,
            None,
            "point data.root at it",
        ),
        partial(load_own, open_image_folder),
    ),
    Dataset(
        DatasetInfo(
            "numpy",
            "your own npz file of x and y",
            None,
            None,
            None,
            None,
            "point data.root at it",
        ),
        partial(load_own, open_npz),
    ),
    Dataset(
        DatasetInfo(
            "custom",
            "your own Python function",
            None,
            None,
            None,
            None,
            "name it in data.function, and run with --allow-code",
        ),
        partial(load_own, open_custom),
    ),
)

IMAGE_SETS: Mapping[str, Dataset] = {entry.info.name: entry for entry in _ENTRIES}
