"""A study's results brought to this machine: its front, and the networks on it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latsearch import selection
from latsearch.errors import StudyError, UserError
from latsearch.objectives import OperatingPoint
from latsearch.reporting import point_row, row_columns, study_front, write_csv, write_json
from latsearch.runs import Runs, find_study
from latsearch.search.query import parse
from latsearch.search.storage import Study
from latsearch.selection import Rule


@dataclass(frozen=True)
class Fetched:
    """What was brought.

    Attributes:
        folder: where it is: `front.csv`, `front.json`, and `networks/<trial>/`.
        study: the study's folder on this machine.
        points: the operating points that were chosen, as on the front.
        networks: trials whose networks were brought.
        missing: a line for each trial whose weights are not there.
    """

    folder: Path
    study: Path
    points: Sequence[OperatingPoint]
    networks: Sequence[int]
    missing: Sequence[str]


def fetch(
    run: str | Path,
    to: Path,
    runs: Runs,
    where: str | None = None,
    rule: Rule | None = None,
    models: bool = True,
) -> Fetched:
    """Write a study's front and the networks on it into a folder.

    Args:
        run: name of the study.
        to: the folder; files of an earlier time are replaced.
        runs: folder or URI of all studies.
        where: condition on the front's columns, e.g. ``latency <= 1.5``.
        rule: choose one row; None for all.
        models: whether to bring networks.

    Raises:
        StudyError: there is no such study.
        UserError: nothing meets the condition, or the folder cannot be written.
    """
    study = Study.open(find_study(run, runs))
    records = study.trials()
    points = study_front(study, records)
    if where is not None:
        holds = parse(where, row_columns(study.config))
        points = [point for point in points if holds(point_row(point, study.config))]
    if rule is not None:
        points = [selection.select(points, tuple(study.config.objectives), rule)]
    rows = [point_row(point, study.config) for point in points]
    networks, missing = [], []
    try:
        to.mkdir(parents=True, exist_ok=True)
        write_csv(rows, row_columns(study.config), to / "front.csv")
        write_json(rows, to / "front.json")
        chosen = {point.trial for point in points} if models else set[int]()
        for record in (record for record in records if record.number in chosen):
            try:
                _copy(study.checkpoint(record), to / "networks" / f"{record.number:05d}")
                networks.append(record.number)
            except StudyError as error:
                missing.append(str(error))
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None
    return Fetched(to, study.folder, points, networks, missing)


def _copy(checkpoint: Path, to: Path) -> None:
    """Copy a checkpoint aside, then move it: it is complete or absent."""
    aside = to.with_name(f".{to.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(checkpoint, aside)
    shutil.rmtree(to, ignore_errors=True)
    aside.replace(to)
