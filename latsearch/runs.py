"""The runs folder: where studies are, by folder or by name."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from latsearch.config import is_postgres
from latsearch.errors import StudyError
from latsearch.search.lock import DriverLock
from latsearch.search.storage import Study

if TYPE_CHECKING:
    from latsearch.search.advisory import DatabaseLock

DEFAULT_RUNS = Path("runs")


def find_study(run: str | Path, runs: Path = DEFAULT_RUNS) -> Path:
    """The folder of a study given as a path or as a name in the runs folder.

    Raises:
        StudyError: there is no such study.
    """
    for folder in (Path(run), runs / run):
        if Study.exists(folder):
            return folder
    known = [folder.name for folder in list_studies(runs)]
    there = f"there are {', '.join(known)}" if known else f"{runs} holds none"
    raise StudyError(f"{run}: no such study; {there}")


def list_studies(runs: Path = DEFAULT_RUNS) -> Iterator[Path]:
    """The folders of all studies in the runs folder, by name."""
    if runs.is_dir():
        yield from (folder for folder in sorted(runs.iterdir()) if Study.exists(folder))


def put_aside(folder: Path) -> Path | None:
    """Move a study out of the way of a fresh one of its name; where it is now.

    Its files go to a folder named after the hour, the lock stays (the caller holds it).
    """
    if not Study.exists(folder):
        return None
    with _held(folder):
        return _moved_aside(folder)


def _moved_aside(folder: Path) -> Path:
    aside = folder.with_name(f"{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    aside.mkdir()
    for entry in folder.iterdir():
        if entry.name != "driver.lock":
            entry.rename(aside / entry.name)
    return aside


def remove_study(folder: Path) -> None:
    """Delete a study that nobody drives.

    Raises:
        StudyError: it is being driven.
    """
    url = Study.storage_of(folder)
    with folder_lock(folder, url), _held(folder):
        if url is not None:
            Study.open(folder, drive=True).delete()
        # the header first: what a kill in between leaves is no study any more
        (folder / "study.json").unlink()
        shutil.rmtree(folder)


def folder_lock(folder: Path, storage: str | None) -> DriverLock | DatabaseLock:
    """The right to make or open the study in a folder; of one that is there, where it is stored.

    Args:
        folder: the study's folder.
        storage: where a study that is not there yet is going to be stored.
    """
    url = Study.storage_of(folder) if Study.exists(folder) else storage
    if not is_postgres(url):
        return DriverLock(folder)
    from latsearch.search.advisory import DatabaseLock

    return DatabaseLock(str(url), f"folder {folder.resolve()}", str(folder))


def _held(folder: Path) -> AbstractContextManager[None]:
    """The study's own lock, where it has one beside its folder's."""
    if is_postgres(Study.storage_of(folder)):
        return Study.open(folder).driven()
    return nullcontext()
