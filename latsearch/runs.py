"""The runs folder: where studies are, by folder or by name."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from latsearch.errors import StudyError
from latsearch.search.lock import DriverLock
from latsearch.search.storage import Study

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
    with DriverLock(folder):
        # the header first: what a kill in between leaves is no study any more
        (folder / "study.json").unlink()
        shutil.rmtree(folder)
