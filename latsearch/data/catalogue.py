"""What data sets are known, where each is looked for, and how to get it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from latsearch.errors import DataError

ROOT_VARIABLE = "LATSEARCH_DATA"
USUAL_ROOT = "~/data"


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A data set that latsearch knows.

    Attributes:
        name: as written in the YAML.
        title: what it is, in a few words.
        classes: number of classes.
        train: number of training samples, those for validation included.
        test: number of test samples.
        shape: ``(C, H, W)`` of an image.
        how_to_get: how to get it, in one line.
        folder: where its files are; None where they were not found.
    """

    name: str
    title: str
    classes: int
    train: int
    test: int
    shape: tuple[int, int, int]
    how_to_get: str
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a data set's files are.

    Attributes:
        subfolder: torchvision's folder below a root.
        files: names of the files, all of which are needed.
        gz: whether each file may have the suffix ``.gz`` instead.
        package: folder in which a system package puts the files; None where there is no package.
    """

    subfolder: str
    files: tuple[str, ...]
    gz: bool = False
    package: str | None = None


_DOWNLOAD = "`latsearch run FILE --download`"
_DEBIAN = "(on Debian also `apt install dataset-fashion-mnist`)"

DATASETS: Mapping[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo(
            "digits",
            "scikit-learn's handwritten digits",
            10,
            1438,
            359,
            (1, 8, 8),
            "comes with scikit-learn",
        ),
        DatasetInfo(
            "fashion-mnist",
            "grey pictures of clothes",
            10,
            60_000,
            10_000,
            (1, 28, 28),
            f"{_DOWNLOAD} {_DEBIAN}",
        ),
        DatasetInfo(
            "cifar10",
            "colour photographs of 10 kinds",
            10,
            50_000,
            10_000,
            (3, 32, 32),
            _DOWNLOAD,
        ),
        DatasetInfo(
            "cifar100",
            "colour photographs of 100 kinds",
            100,
            50_000,
            10_000,
            (3, 32, 32),
            _DOWNLOAD,
        ),
    )
}

LAYOUTS: Mapping[str, Layout] = {
    "digits": Layout("", ("digits.csv.gz",)),
    "fashion-mnist": Layout(
        "FashionMNIST/raw",
        tuple(
            f"{part}-{what}-ubyte"
            for part in ("train", "t10k")
            for what in ("images-idx3", "labels-idx1")
        ),
        gz=True,
        package="/usr/share/datasets/fashion-mnist",
    ),
    "cifar10": Layout(
        "cifar-10-batches-py",
        (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
    ),
    "cifar100": Layout("cifar-100-python", ("train", "test", "meta")),
}


def catalogue() -> tuple[DatasetInfo, ...]:
    """The known data sets and where each is present; looks at file names alone."""
    return tuple(replace(info, folder=_present(info.name)) for info in DATASETS.values())


def locate(name: str, root: str | None) -> Path:
    """The folder that holds a data set's files, all of them.

    Args:
        name: of the data set.
        root: folder that holds the data set; None: the usual places.

    Raises:
        DataError: the files, or some of them, are not there or may not be looked at.
    """
    places = list(_places(name, root))
    faults: list[DataError] = []
    for place in places:
        try:
            folder = _folder_below(name, place)
        except DataError as error:
            faults.append(error)  # another place may have the data set
            continue
        if folder is not None:
            return folder
    if faults:
        raise faults[0]
    searched = " or ".join(str(place) for place in places)
    raise DataError(
        f"{name} is not in {searched}; get it with {DATASETS[name].how_to_get}, "
        "or point data.root at it"
    )


def download_root(root: str | None) -> Path:
    """The folder below which a data set is downloaded."""
    return _expanded(root or os.environ.get(ROOT_VARIABLE) or USUAL_ROOT)


def present_file(folder: Path, file: str, gz: bool) -> Path | None:
    """The file in ``folder``, or its compressed form, if one is there.

    Raises:
        DataError: the folder may not be looked at.
    """
    names = (file, f"{file}.gz") if gz else (file,)
    return next((folder / name for name in names if _is_file(folder / name)), None)


def _present(name: str) -> Path | None:
    try:
        return locate(name, None)
    except DataError:
        return None


def _places(name: str, root: str | None) -> Iterator[Path]:
    """The folders in which to look, the first before the others."""
    if name == "digits":
        spec = find_spec("sklearn")  # finds the package without importing it
        assert spec is not None
        assert spec.origin is not None
        yield Path(spec.origin).parent / "datasets" / "data"
    elif root is not None:
        yield _expanded(root)
    else:
        if os.environ.get(ROOT_VARIABLE):
            yield _expanded(os.environ[ROOT_VARIABLE])
        yield _expanded(USUAL_ROOT)
        package = LAYOUTS[name].package
        if package:
            yield Path(package)


def _expanded(folder: str) -> Path:
    return Path(os.path.expanduser(folder))  # unlike Path's own, silent where there is no home


def _folder_below(name: str, root: Path) -> Path | None:
    """The folder at or below ``root`` with all files of the data set; None if it has none."""
    if _is_file(root):
        raise DataError(f"{root} is a file, but the root of {name} is a folder")
    layout = LAYOUTS[name]
    for folder in (root / layout.subfolder, root):
        missing = [file for file in layout.files if not present_file(folder, file, layout.gz)]
        if not missing:
            return folder
        if len(missing) < len(layout.files):
            raise DataError(
                f"{name} in {folder} lacks {missing[0]}; get it with {DATASETS[name].how_to_get}"
            )
    return None


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
