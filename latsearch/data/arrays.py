"""The user's own arrays: `numpy` (an npz file) and `custom` (a Python function)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latsearch.config import DataConfig
from latsearch.config.code import find_function, reason, refused
from latsearch.data.known import LoadOptions
from latsearch.data.locating import expanded
from latsearch.data.npz import read_npz
from latsearch.data.sources import TEST, TRAIN, Blocks, Skipped, Source
from latsearch.errors import DataError, UserError

_NAMES = ("x", "y", "x_test", "y_test")
_BLOCK = 4096
_CHANNELS = (1, 3)


def open_npz(config: DataConfig, options: LoadOptions) -> Source:
    """The source of an npz file with ``x``, ``y`` and, for a test split, ``x_test``, ``y_test``.

    Raises:
        DataError: the file is not there, or cannot be opened.
    """
    if config.root is None:
        raise DataError("data.root is missing: point it at the npz file with x and y")
    file = expanded(config.root)
    if not file.is_file():
        raise DataError(f"{file} is no file; point data.root at an npz file with x and y")

    def decode(skipped: Skipped) -> Blocks:
        yield from _parts(read_npz(file, _NAMES), str(file))

    return Source(config.name, file, (file,), {}, decode, _count(file))


def open_custom(config: DataConfig, options: LoadOptions) -> Source:
    """The source of arrays that a function of the user's makes.

    It is called with ``data.root`` and returns a mapping of ``x``, ``y`` and maybe ``x_test``,
    ``y_test``, as an npz file holds them. The cache is keyed by what it returned.

    Raises:
        DataError: code is not allowed, or the function is missing, fails or returns other things.
    """
    where = config.function
    assert where is not None
    if not options.allow_code:
        raise DataError(refused("data.function", where))
    arrays = _call(where, config.root)
    parts = list(_parts(arrays, where))
    seen = hashlib.sha256()
    for part, (images, labels) in parts:
        seen.update(f"{part} {images.shape}".encode())
        seen.update(np.ascontiguousarray(images).data)
        seen.update(labels.tobytes())
    total = sum(len(labels) for _, (_, labels) in parts)

    def decode(skipped: Skipped) -> Blocks:
        yield from parts

    return Source(config.name, Path(), (), {}, decode, total, content=seen.hexdigest())


def _call(where: str, root: str | None) -> Mapping[str, Any]:
    """What the function ``module:function`` returns."""
    try:
        function = find_function("data.function", where)
    except UserError as error:
        raise DataError(str(error)) from error
    try:
        found = function(root)
    except Exception as error:  # the user's code may raise anything
        raise DataError(f"data.function = {where} failed: {reason(error)}") from error
    if not isinstance(found, Mapping):
        raise DataError(
            f"{where} returned {type(found).__name__}, not a mapping of {', '.join(_NAMES)}"
        )
    return found


def _count(file: Path) -> int:
    try:
        return sum(len(labels) for labels in read_npz(file, ("y", "y_test")).values())
    except (DataError, TypeError):  # whatever is wrong is said when it is decoded
        return 0


def _parts(arrays: Mapping[str, Any], where: str) -> Blocks:
    """The arrays in blocks, checked."""
    for name in ("x", "y"):
        if name not in arrays:
            there = ", ".join(arrays) or "nothing"
            raise DataError(f"{where} has no array {name}, but {there}; it needs x and y")
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{where} has one of x_test and y_test; give both or neither")
    classes = 0
    for part, x, y in ((TRAIN, "x", "y"), (TEST, "x_test", "y_test")):
        if x not in arrays:
            continue
        images = _images(np.asarray(arrays[x]), f"{where}: {x}")
        labels = _labels(np.asarray(arrays[y]), len(images), f"{where}: {y}")
        if part == TRAIN:
            classes = _class_count(labels, f"{where}: {y}")
        elif labels.max(initial=0) >= classes:
            raise DataError(f"{where}: {y} has the label {labels.max()}, which y has not")
        for start in range(0, len(images), _BLOCK):
            block = slice(start, start + _BLOCK)
            yield part, (_bytes(images[block], f"{where}: {x}"), labels[block])


def _images(x: NDArray[Any], where: str) -> NDArray[Any]:
    """``[N, C, H, W]`` of images with or without channels, first or last."""
    if x.ndim == 3:
        return x[:, None]
    if x.ndim != 4:
        raise DataError(
            f"{where} has the shape {x.shape}; give [N, H, W], [N, C, H, W] or [N, H, W, C]"
        )
    first, last = x.shape[1] in _CHANNELS, x.shape[3] in _CHANNELS
    if first and last:
        raise DataError(f"{where} has the shape {x.shape}: channels first or last? pad the images")
    if not first and not last:
        raise DataError(f"{where} has the shape {x.shape}, but an image has 1 or 3 channels")
    return x if first else x.transpose(0, 3, 1, 2)


def _bytes(x: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Pixels as uint8: 0..255 as they are, floats of 0..1 scaled."""
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.dtype.kind not in "iuf":
        raise DataError(f"{where} is {x.dtype}; give integers of 0..255 or floats of 0..1")
    low, high = float(x.min(initial=0)), float(x.max(initial=0))
    if x.dtype.kind in "iu" and low >= 0 and high <= 255:
        return x.astype(np.uint8)
    if x.dtype.kind == "f" and low >= 0 and high <= 1:
        scaled: NDArray[np.uint8] = np.rint(x * 255).astype(np.uint8)
        return scaled
    raise DataError(
        f"{where} is {x.dtype} with values from {low:g} to {high:g}; give integers of 0..255 or "
        "floats of 0..1"
    )


def _labels(y: NDArray[Any], count: int, where: str) -> NDArray[np.int64]:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(
            f"{where} has the shape {y.shape}; give one class number a sample, "
            "e.g. y.argmax(1) of one-hot rows"
        )
    if y.dtype.kind not in "iu":
        raise DataError(f"{where} is {y.dtype}; give integers 0..classes - 1")
    if len(y) != count:
        raise DataError(f"{where} has {len(y)} labels for {count} images")
    if count == 0:
        raise DataError(f"{where} is empty")
    if y.min() < 0:
        raise DataError(f"{where} has the label {y.min()}; give integers 0..classes - 1")
    return y.astype(np.int64)


def _class_count(labels: NDArray[np.int64], where: str) -> int:
    """Number of classes, each of which must have samples."""
    kinds = np.unique(labels)
    if len(kinds) < 2:
        raise DataError(f"{where} has the label {kinds[0]} alone; two classes are needed")
    if len(kinds) <= kinds[-1]:
        missing = next(label for label in range(len(kinds)) if label not in kinds)
        raise DataError(
            f"{where} has labels up to {kinds[-1]}, but none is {missing}; number the classes "
            "0..classes - 1, e.g. with np.unique(y, return_inverse=True)[1]"
        )
    return len(kinds)
