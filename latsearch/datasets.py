"""Looking at data sets: `latsearch datasets NAME --check` and `--preview`."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from latsearch.config import DataConfig
from latsearch.data import DATASETS, Samples, Splits
from latsearch.data.events.preview import paint
from latsearch.data.known import Dataset
from latsearch.data.locating import locate, present, present_file
from latsearch.data.md5 import check_md5
from latsearch.errors import DataError, UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_CLASSES = 10  # rows of a preview
_EACH = 8  # pictures of a class
_CELL = 0.75  # inches


@dataclass(frozen=True)
class Remark:
    """One thing that was checked.

    Attributes:
        what: the thing.
        found: what was found.
        good: whether it is as it should be.
    """

    what: str
    found: str
    good: bool = True


def entry(name: str) -> Dataset:
    """The catalogue's entry of a data set.

    Raises:
        UserError: there is none of this name.
    """
    if name not in DATASETS:
        raise UserError(f"{name} is no data set; known are {', '.join(DATASETS)}")
    return DATASETS[name]


def size_on_disk(dataset: Dataset) -> int | None:
    """Bytes of a data set's files where it is present; None where it is not."""
    folder, layout = present(dataset), dataset.layout
    if folder is None or layout is None:
        return None
    total = 0
    for file in layout.files:
        if file.endswith("/"):
            for place, _, names in os.walk(folder / file):
                total += sum(os.stat(os.path.join(place, name)).st_size for name in names)
        else:
            found = present_file(folder, file, layout.gz)
            total += found.stat().st_size if found else 0
    return total


def check(config: DataConfig, splits: Splits) -> Iterator[Remark]:
    """Compare a data set with what is known of it: counts, classes, checksums.

    Args:
        config: which data set, and where it is.
        splits: the data set, loaded.
    """
    dataset = entry(config.name)
    info = dataset.info
    assert splits.test is not None
    trained = np.concatenate([splits.train.labels, splits.validation.labels])
    counts = (
        ("training samples", trained, info.train),
        ("test samples", splits.test.labels, info.test),
    )
    for what, labels, expected in counts:
        good = expected is None or len(labels) == expected
        yield Remark(what, f"{len(labels):,}" + ("" if good else f", not {expected:,}"), good)
    good = info.classes is None or splits.classes == info.classes
    yield Remark("classes", str(splits.classes), good)
    for what, labels, _ in counts:
        each = np.bincount(labels, minlength=splits.classes)
        text = (
            f"{each.min():,} to {each.max():,} a class"
            if each.min() < each.max()
            else (f"{each.min():,} a class")
        )
        yield Remark(what, text, bool(each.min() > 0))
    yield Remark("shape", "x".join(map(str, splits.input_shape)))
    if splits.duration_ms is not None:
        yield Remark("used of a recording", f"{splits.duration_ms:g} ms")
    else:
        parts = (splits.mean, splits.std)
        mean, std = (" ".join(f"{value:.4f}" for value in part) for part in parts)
        yield Remark("pixels", f"mean {mean}, standard deviation {std} (of 0..1)")
    if dataset.md5 and dataset.layout is not None:
        yield from _checksums(dataset, locate(dataset, config.root))


def _checksums(dataset: Dataset, folder: Path) -> Iterator[Remark]:
    """The published checksums, of files as they are or as they are once decompressed."""
    for name, md5 in dataset.md5.items():
        plain, packed = folder / name, folder / f"{name}.gz"
        try:
            if plain.is_file():
                check_md5(plain, md5)
            elif packed.is_file():
                with gzip.open(packed) as stream, tempfile.NamedTemporaryFile() as aside:
                    shutil.copyfileobj(stream, aside)
                    aside.flush()
                    _check_unpacked(Path(aside.name), packed, md5)
            else:
                continue  # a checksum of a compressed file, and here is the plain one
        except (DataError, OSError, EOFError) as error:
            yield Remark(f"MD5 of {name}", str(error), False)
        else:
            yield Remark(f"MD5 of {name}", md5)


def _check_unpacked(unpacked: Path, packed: Path, md5: str) -> None:
    try:
        check_md5(unpacked, md5)
    except DataError:
        raise DataError(
            f"{packed} is damaged: unpacked, its MD5 is not {md5}; replace it"
        ) from None


def write_preview(splits: Splits, class_names: tuple[str, ...], file: Path) -> None:
    """Draw samples of each class: of images a grid, of recordings a strip of frames each.

    Args:
        splits: the data set; event data with the frames to be shown.
        class_names: names of its classes; empty where they have numbers alone.
        file: PNG to write.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # pyplot would keep state for the whole process

    rows = _picked(splits.train, splits.classes)
    shown = [_strip(splits.train, chosen, splits.events) for _, chosen in rows]
    columns = max(len(strip) for strip in shown)
    figure = Figure(figsize=(1.3 + columns * _CELL, 0.5 + len(rows) * _CELL), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, (label, _), strip in zip(grid, rows, shown, strict=True):
        for index, axes in enumerate(line):
            _draw(axes, strip[index] if index < len(strip) else None)
        name = class_names[label] if label < len(class_names) else str(label)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    what = "frames of one recording a class" if splits.events else "training images"
    figure.suptitle(f"{splits.name}: {what}", fontsize=9)
    try:
        figure.savefig(file, dpi=110)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from None


def _picked(samples: Samples, classes: int) -> list[tuple[int, NDArray[np.intp]]]:
    """The first samples of some classes, spread over all of them."""
    labels = np.unique(np.linspace(0, classes - 1, min(classes, _MOST_CLASSES)).round().astype(int))
    return [(int(label), np.flatnonzero(samples.labels == label)[:_EACH]) for label in labels]


def _strip(samples: Samples, chosen: NDArray[np.intp], events: bool) -> list[NDArray[np.uint8]]:
    """The pictures of a row, ``[H, W, 3]`` each."""
    if not events:
        return [_picture(image) for image in samples.take(chosen).images]
    return list(paint(samples.take(chosen[:1]).images[0]))


def _picture(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (
        np.repeat(image, 3, axis=0).transpose(1, 2, 0)
        if len(image) == 1
        else (image.transpose(1, 2, 0))
    )


def _draw(axes: Axes, picture: NDArray[np.uint8] | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    if picture is not None:
        axes.imshow(picture, interpolation="nearest")
