"""The runs folder: where studies are, by folder or by name; it may be in object storage.

Of a runs folder in object storage there is a mirror on this machine, with each study's header and
what was fetched. Everything else works with the mirror.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from latsearch.config import is_postgres
from latsearch.errors import StudyError, UserError
from latsearch.search.header import HEADER, read_header, write_header
from latsearch.search.lock import DriverLock
from latsearch.search.objects import (
    below,
    first_line,
    folders_with,
    read_text,
    remove_below,
    remove_empty,
    remove_object,
)
from latsearch.search.storage import Study

if TYPE_CHECKING:
    from latsearch.search.advisory import DatabaseLock

DEFAULT_RUNS = Path("runs")
Runs = Path | str  # a folder, or a URI such as s3://bucket/prefix


def find_study(run: str | Path, runs: Runs = DEFAULT_RUNS) -> Path:
    """The folder of a study given as a path or URI, or as a name in the runs folder.

    Raises:
        StudyError: there is no such study.
        UserError: object storage cannot be reached.
    """
    if isinstance(run, str) and is_uri(run):
        path, mark, query = run.partition("?")
        above, _, run = path.rstrip("/").rpartition("/")
        runs = above + mark + query
    elif Study.exists(Path(run)):
        return Path(run)
    folder = study_folder(runs, str(run))
    if Study.exists(folder):
        return folder
    known = [folder.name for folder in list_studies(runs)]
    there = f"there are {', '.join(known)}" if known else f"{shown(runs)} holds none"
    raise StudyError(f"{run}: no such study; {there}")


def list_studies(runs: Runs = DEFAULT_RUNS) -> Iterator[Path]:
    """The folders of all studies in the runs folder, by name."""
    if isinstance(runs, str) and is_uri(runs):
        with _reaching(runs):
            names = folders_with(runs, HEADER)
        yield from (study_folder(runs, name) for name in names)
    elif Path(runs).is_dir():
        yield from (folder for folder in sorted(Path(runs).iterdir()) if Study.exists(folder))


def is_uri(runs: str) -> bool:
    """Whether a runs folder is in object storage."""
    return "://" in runs


def local_folder(runs: Runs) -> Path:
    """The runs folder on this machine: itself, or the mirror of one in object storage."""
    if isinstance(runs, Path) or not is_uri(runs):
        return Path(runs)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "latsearch" / sha256(runs.encode()).hexdigest()[:16]


def study_folder(runs: Runs, name: str) -> Path:
    """The folder of a study on this machine, its mirror brought up to date.

    Raises:
        UserError: object storage cannot be reached.
    """
    folder = local_folder(runs) / name
    if isinstance(runs, str) and is_uri(runs):
        with _reaching(runs):
            text = read_text(below(runs, name), HEADER)
        if text is None:
            (folder / HEADER).unlink(missing_ok=True)
        elif not Study.exists(folder) or (folder / HEADER).read_text() != text:
            folder.mkdir(parents=True, exist_ok=True)
            aside = folder / f"{HEADER}.fetched"
            aside.write_text(text)
            aside.replace(folder / HEADER)
    return folder


def home_of(runs: Runs, name: str) -> str | None:
    """Where a study of this name is in object storage; None where it is on this machine."""
    return below(runs, name) if isinstance(runs, str) and is_uri(runs) else None


def shown(runs: Runs) -> str:
    """The runs folder in messages."""
    return str(runs).partition("?")[0]


@contextmanager
def _reaching(runs: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{shown(runs)}: cannot be read: {first_line(error)}; check the address, the "
            "credentials (AWS_ACCESS_KEY_ID, …) and ?endpoint_override=…"
        ) from None


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
    header = read_header(folder)
    for entry in folder.iterdir():
        if entry.name != "driver.lock":
            entry.rename(aside / entry.name)
    if "home" in header:  # the objects stay where they are
        path, mark, query = header["home"].partition("?")
        home = below(path.rpartition("/")[0] + mark + query, aside.name)
        write_header(aside, {**header, "home": home})
        remove_object(header["home"], HEADER)
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
        header = read_header(folder)
        if "home" in header:
            remove_object(header["home"], HEADER)
        (folder / HEADER).unlink()
        if "home" in header:
            remove_below(header["checkpoints"])
            remove_empty(header["home"])  # one that was put aside may have its objects there
        shutil.rmtree(folder)


def folder_lock(
    folder: Path, storage: str | None, home: str | None = None
) -> DriverLock | DatabaseLock:
    """The right to make or open the study in a folder; of one that is there, where it is stored.

    Args:
        folder: the study's folder.
        storage: where a study that is not there yet is going to be stored.
        home: where it is in object storage, if it is.
    """
    url = Study.storage_of(folder) if Study.exists(folder) else storage
    if not is_postgres(url):
        return DriverLock(folder)
    from latsearch.search.advisory import DatabaseLock

    return DatabaseLock(str(url), f"folder {home or folder.resolve()}", str(folder))


def _held(folder: Path) -> AbstractContextManager[None]:
    """The study's own lock, where it has one beside its folder's."""
    if is_postgres(Study.storage_of(folder)):
        return Study.open(folder).driven()
    return nullcontext()
