"""`image-folder`: any folder of class folders of images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latsearch.config import DataConfig
from latsearch.data.known import LoadOptions
from latsearch.data.locating import expanded
from latsearch.data.pictures import SUFFIXES, Unreadable, in_order, read_all, read_header
from latsearch.data.sources import TEST, TRAIN, Blocks, Skipped, Source
from latsearch.errors import DataError

_PARTS = {"train": TRAIN, "val": TRAIN, "valid": TRAIN, "validation": TRAIN, "test": TEST}
_HELD_OUT = ("val", "valid", "validation")  # the test split where there is no `test`
_BLOCK = 256  # images written at a time


@dataclass(frozen=True)
class Files:
    """Image files and their classes.

    Attributes:
        paths: the files.
        labels: index of each one's class.
        part: ``train`` or ``test``.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    part: str


def open_image_folder(config: DataConfig, options: LoadOptions) -> Source:
    """The source of a folder of class folders.

    The folder holds a folder for each class, or ``train`` and ``test`` (or ``val``) that do. Where
    there are three, ``train`` and ``val`` together are the training samples, of which
    ``data.validation`` are held out like everywhere.

    Raises:
        DataError: the folder is not there or has another structure, or a class has no images.
    """
    if config.root is None:
        raise DataError("data.root is missing: point it at the folder of class folders")
    root = expanded(config.root)
    if not root.is_dir():
        raise DataError(f"{root} is no folder; point data.root at the folder of class folders")
    skipped_classes = Skipped()
    skip = config.unreadable == "skip"
    folders = _parts(root)
    names = _class_names(folders, skipped_classes if skip else None)
    parts = [
        Files(*_listed(folder, names, skipped_classes if skip else None), part)
        for folder, part in folders
    ]
    files = tuple(path for part in parts for path in part.paths)
    for (folder, part), listed in zip(folders, parts, strict=True):
        if part == TEST and not listed.paths:
            raise DataError(f"{folder} holds no images of the classes; fill it or remove it")

    def decode(skipped: Skipped) -> Blocks:
        skipped.count += skipped_classes.count
        skipped.first += skipped_classes.first
        yield from decode_files(
            parts, size=config.size, channels=config.channels, skipped=skipped if skip else None
        )

    decoding: dict[str, object] = {
        "size": config.size,
        "channels": config.channels,
        "unreadable": config.unreadable,
        "parts": [part.part for part in parts for _ in part.paths],
    }
    return Source(config.name, root, files, decoding, decode, len(files), tuple(names))


def decode_files(
    parts: list[Files], *, size: int | None, channels: int | None, skipped: Skipped | None
) -> Blocks:
    """Decode image files in blocks, train before test.

    Args:
        parts: the files; those of one part may come in several.
        size: pixels along each axis to scale to; None: all images must have one size.
        channels: 1 or 3; None: 1 where all images are grey, else 3.
        skipped: counts unreadable files, which are left out; None: they are an error.

    Raises:
        DataError: a file cannot be read, or the sizes differ.
    """
    if channels is None or size is None:
        channels = _agreed(parts, size, channels, skipped)
    for part in sorted(parts, key=lambda files: files.part != TRAIN):
        yield from _blocks(part, size, channels, skipped)


def _blocks(files: Files, size: int | None, channels: int, skipped: Skipped | None) -> Blocks:
    images, labels = [], []
    with closing(read_all(files.paths, channels, size)) as pictures:
        for index, (picture, label) in enumerate(zip(pictures, files.labels, strict=True), start=1):
            if isinstance(picture, Unreadable):
                if skipped is None:
                    raise DataError(f"{picture.reason}, or set data.unreadable to skip")
                skipped.add(picture.reason)
            else:
                images.append(picture)
                labels.append(label)
            if images and (len(images) == _BLOCK or index == len(files.paths)):
                yield files.part, (np.stack(images), np.array(labels, dtype=np.int64))
                images, labels = [], []
    if images:
        yield files.part, (np.stack(images), np.array(labels, dtype=np.int64))


def _agreed(
    parts: list[Files], size: int | None, channels: int | None, skipped: Skipped | None
) -> int:
    """The channels that all images fit into, after a look at their headers and sizes."""
    paths = [path for files in parts for path in files.paths]
    grey, first = True, None

    def header(path: Path) -> object:
        try:
            return read_header(path)
        except DataError as error:
            return error

    with closing(in_order(header, paths)) as headers:
        for path, found in zip(paths, headers, strict=True):
            if isinstance(found, DataError):
                if skipped is None:
                    raise DataError(f"{found}, or set data.unreadable to skip")
                continue  # counted when it is decoded
            grey = grey and found.grey
            shape = (found.height, found.width)
            if first is None:
                first = (path, shape)
            elif size is None and shape != first[1]:
                raise DataError(
                    f"{path} has {shape[1]}x{shape[0]} pixels, but {first[0]} has "
                    f"{first[1][1]}x{first[1][0]}; set data.size, to which all are scaled, e.g. 32"
                )
    return channels or (1 if grey else 3)


def _parts(root: Path) -> list[tuple[Path, str]]:
    """The folders that hold class folders, with the part that each is."""
    found = {folder.name.lower(): folder for folder in _folders(root)}
    if "train" not in found:
        return [(root, TRAIN)]
    named = [name for name in _PARTS if name in found]
    held = "test" if "test" in found else next((n for n in _HELD_OUT if n in found), None)
    return [(found[name], TEST if name == held else TRAIN) for name in named]


def _class_names(folders: list[tuple[Path, str]], skipped: Skipped | None) -> list[str]:
    """Names of the classes: the training folders'."""
    names = {folder.name for base, part in folders if part == TRAIN for folder in _folders(base)}
    filled = {
        name
        for name in names
        if any(_has_images(base / name) for base, part in folders if part == TRAIN)
    }
    base = folders[0][0]
    for empty in sorted(names - filled):
        message = f"{base / empty} is a class folder without images"
        if skipped is None:
            raise DataError(
                f"{message} ({', '.join(sorted(SUFFIXES))}); fill it, remove it, or set "
                "data.unreadable to skip"
            )
        skipped.add(message)
    if len(filled) < 2:
        raise DataError(
            f"{base} holds {len(filled)} class folders with images, but two are needed: one folder "
            "a class, with its images in it"
        )
    for held, _ in (entry for entry in folders if entry[1] == TEST):
        for folder in _folders(held):
            if folder.name not in filled and _has_images(folder):
                raise DataError(f"{folder} is a class without training images in {base}")
    return sorted(filled)


def _listed(
    base: Path, names: list[str], skipped: Skipped | None
) -> tuple[tuple[Path, ...], tuple[int, ...]]:
    """The images below the class folders in ``base``, and the class of each."""
    found = [(path, label) for label, name in enumerate(names) for path in _images(base / name)]
    paths, labels = zip(*found, strict=True) if found else ((), ())
    return tuple(paths), tuple(labels)


def _has_images(folder: Path) -> bool:
    return next(_images(folder), None) is not None


def _images(folder: Path) -> Iterator[Path]:
    """The image files in a folder and below it, sorted; what is hidden is passed over."""
    seen = set()
    for place, below, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not _hidden(name))
        yield from (
            Path(place, name)
            for name in sorted(files)
            if not _hidden(name) and Path(name).suffix.lower() in SUFFIXES
        )


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not _hidden(path.name))
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error.strerror}") from None


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))
