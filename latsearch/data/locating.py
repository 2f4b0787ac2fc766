"""Where a data set's files are looked for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from latsearch.data.known import Dataset
from latsearch.errors import DataError

ROOT_VARIABLE = "LATSEARCH_DATA"
USUAL_ROOT = "~/data"


def locate(dataset: Dataset, root: str | None) -> Path:
    """The folder that holds a data set's files, all of them.

    Args:
        dataset: one whose layout is known.
        root: folder that holds the data set; None: the usual places.

    Raises:
        DataError: the files, or some of them, are not there or may not be looked at.
    """
    name = dataset.info.name
    places = list(_places(dataset, root))
    faults: list[DataError] = []
    for place in places:
        try:
            folder = _folder_below(dataset, place)
        except DataError as error:
            faults.append(error)  # another place may have the data set
            continue
        if folder is not None:
            return folder
    if faults:
        raise faults[0]
    searched = " or ".join(str(place) for place in places)
    raise DataError(
        f"{name} is not in {searched}; get it with {dataset.info.how_to_get}, "
        "or point data.root at it"
    )


def download_root(root: str | None) -> Path:
    """The folder below which a data set is downloaded."""
    return expanded(root or os.environ.get(ROOT_VARIABLE) or USUAL_ROOT)


def present_file(folder: Path, file: str, gz: bool) -> Path | None:
    """The file in ``folder``, or its compressed form, if one is there.

    Raises:
        DataError: the folder may not be looked at.
    """
    names = (file, f"{file}.gz") if gz else (file,)
    return next((folder / name for name in names if _kind(folder / name) == "file"), None)


def present(dataset: Dataset) -> Path | None:
    """The folder of a data set in the usual places; None where it is in none, or unknown."""
    try:
        return locate(dataset, None) if dataset.layout else None
    except DataError:
        return None


def expanded(folder: str) -> Path:
    """The folder with the user's home folder put in for ``~``."""
    return Path(os.path.expanduser(folder))  # unlike Path's own, silent where there is no home


def is_plain(name: str) -> bool:
    """Whether a name from a file names something in a folder, and nothing outside of it."""
    return name.isprintable() and name not in ("", ".", "..") and not set(name) & set("/\\")


def roots(root: str | None) -> Iterator[Path]:
    """The folders below which data sets are: the one that is given, or the usual ones."""
    if root is not None:
        yield expanded(root)
        return
    if os.environ.get(ROOT_VARIABLE):
        yield expanded(os.environ[ROOT_VARIABLE])
    yield expanded(USUAL_ROOT)


def _places(dataset: Dataset, root: str | None) -> Iterator[Path]:
    """The folders in which to look, the first before the others."""
    if dataset.info.name == "digits":
        spec = find_spec("sklearn")  # finds the package without importing it
        assert spec is not None
        assert spec.origin is not None
        yield Path(spec.origin).parent / "datasets" / "data"
        return
    yield from roots(root)
    if root is None and dataset.layout and dataset.layout.package:
        yield Path(dataset.layout.package)


def _folder_below(dataset: Dataset, root: Path) -> Path | None:
    """The folder at or below ``root`` with all files of the data set; None if it has none."""
    layout, info = dataset.layout, dataset.info
    assert layout is not None
    if _kind(root) == "file":
        raise DataError(f"{root} is a file, but the root of {info.name} is a folder")
    for folder in (root / layout.subfolder, root):
        missing = [file for file in layout.files if not _there(folder, file, layout.gz)]
        if not missing:
            return folder
        if len(missing) < len(layout.files):
            raise DataError(
                f"{info.name} in {folder} lacks {missing[0]}; get it with {info.how_to_get}"
            )
    return None


def _there(folder: Path, file: str, gz: bool) -> bool:
    if file.endswith("/"):
        return _kind(folder / file) == "folder"
    return present_file(folder, file, gz) is not None


def _kind(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if stat.S_ISREG(mode):
        return "file"
    return "folder" if stat.S_ISDIR(mode) else None
