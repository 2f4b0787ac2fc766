"""Tiny-ImageNet: 200 kinds of 64×64 pixels, in its own layout.

``train/<wnid>/images/*.JPEG``, but ``val/images/*.JPEG`` with the classes in
``val/val_annotations.txt``. The labels of ``test/images`` were never published: the official
validation images are the test split here, as in the literature.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from latsearch.data.image_folder import Files, decode_files
from latsearch.data.known import Dataset, LoadOptions
from latsearch.data.locating import is_plain
from latsearch.data.sources import TEST, TRAIN, Blocks, Skipped, Source
from latsearch.errors import DataError

_PIXELS = 64
_ANNOTATIONS = "val_annotations.txt"


def open_tiny_imagenet(dataset: Dataset, folder: Path, options: LoadOptions) -> Source:
    """The source of Tiny-ImageNet in its folder.

    Raises:
        DataError: a list or folder is missing, damaged, or names what is not there.
    """
    wnids = sorted(line.strip() for line in _lines(folder / "wnids.txt") if line.strip())
    for wnid in wnids:
        if not is_plain(wnid):
            raise DataError(
                f"{folder / 'wnids.txt'} has {wnid!r}, which names no folder; replace it"
            )
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    train = [(path, labels[wnid]) for wnid in wnids for path in _images(folder / "train" / wnid)]
    test = [*_annotated(folder / "val", labels)]
    if not test:
        raise DataError(f"{folder / 'val' / _ANNOTATIONS} lists no images; replace it")
    parts = [
        Files(tuple(path for path, _ in found), tuple(label for _, label in found), part)
        for found, part in ((train, TRAIN), (test, TEST))
    ]

    def decode(skipped: Skipped) -> Blocks:
        # a few hundred of its images are grey: all become RGB
        yield from decode_files(parts, size=_PIXELS, channels=3, skipped=None)

    files = (*(path for part in parts for path in part.paths), folder / "val" / _ANNOTATIONS)
    return Source(
        dataset.info.name, folder, files, {}, decode, len(files) - 1, _names(folder, wnids)
    )


def _annotated(folder: Path, labels: dict[str, int]) -> Iterator[tuple[Path, int]]:
    """The validation images with their labels, in the order of the list."""
    listed = folder / _ANNOTATIONS
    for number, line in enumerate(_lines(listed), start=1):
        if not line.strip():
            continue
        file, wnid, *_ = (*line.split("\t"), "", "")
        if wnid.strip() not in labels:
            raise DataError(
                f"{listed} has the class {wnid.strip() or 'missing'!r} in line {number}, which is "
                "not in wnids.txt; replace both"
            )
        if not is_plain(file):
            raise DataError(
                f"{listed} has {file!r} in line {number}, which names no image; replace it"
            )
        yield folder / "images" / file, labels[wnid.strip()]


def _images(folder: Path) -> list[Path]:
    try:
        found = sorted(path for path in (folder / "images").iterdir() if path.suffix == ".JPEG")
    except OSError as error:
        raise DataError(f"{folder / 'images'} cannot be read: {error.strerror}") from None
    if not found:
        raise DataError(f"{folder / 'images'} holds no .JPEG images; replace the folder")
    return found


def _names(folder: Path, wnids: list[str]) -> tuple[str, ...]:
    """The classes' names: the first word of each in ``words.txt``, else its number."""
    words: dict[str, str] = {}
    if (folder / "words.txt").is_file():
        for line in _lines(folder / "words.txt"):
            wnid, _, name = line.partition("\t")
            words[wnid] = name.split(",")[0].strip()
    return tuple(words.get(wnid) or wnid for wnid in wnids)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise DataError(f"{file} cannot be read: {reason}") from None
