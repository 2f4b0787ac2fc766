"""A study's results as rows, tables and files."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from latsearch.config import StudyConfig
from latsearch.objectives import ROBUST, OperatingPoint
from latsearch.search.driver import study_hypervolume
from latsearch.search.outlook import cause
from latsearch.search.results import METRICS, front, operating_points
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState

_LEADING = ("trial", "decision_threshold", "accuracy", "latency", "energy")


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands.

    Attributes:
        study: its name.
        folder: its folder.
        trials: trials that it is going to have in total.
        complete: trials trained to their full budget.
        pruned: trials stopped early.
        failed: trials that failed for good.
        why: how many trials failed for each reason, the most common first.
        refused: points that were not trained since they break a constraint known before; of many
            before one trial the last hundred are known.
        running: trials in training now.
        interrupted: trials that wait for the study to go on.
        front: rows on the front.
        hypervolume: volume that they dominate.
        seconds: wall time that the search has taken.
        trials_per_minute: ended trials a minute of it.
        exhausted: whether the space has no further point to try.
        fingerprint: digest of all ended trials and their curves: equal where studies are.
        driver: the process that drives it now; None where nobody does.
    """

    study: str
    folder: str
    trials: int
    complete: int
    pruned: int
    failed: int
    refused: int
    running: int
    interrupted: int
    front: int
    hypervolume: float
    seconds: float
    trials_per_minute: float
    exhausted: bool
    fingerprint: str
    driver: str | None
    why: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def study_status(study: Study) -> StudyStatus:
    """Where the study stands, read from its storage."""
    records = study.trials()
    count = {state: sum(r.state is state for r in records) for state in TrialState}
    driver = study.driver()
    seconds = study.seconds(records)
    ended = len(records) - count[TrialState.RUNNING]
    return StudyStatus(
        study=study.config.study,
        folder=str(study.folder),
        trials=study.config.search.trials,
        complete=count[TrialState.COMPLETE],
        pruned=count[TrialState.PRUNED],
        failed=count[TrialState.FAILED],
        refused=sum(len(record.refused) for record in records),
        running=count[TrialState.RUNNING] if driver else 0,
        interrupted=0 if driver else count[TrialState.RUNNING],
        front=len(study_front(study, records)),
        hypervolume=study_hypervolume(study, records),
        seconds=round(seconds, 1),
        trials_per_minute=round(60 * ended / seconds, 2) if seconds else 0.0,
        exhausted=study.exhausted,
        fingerprint=fingerprint(records),
        driver=driver,
        why=dict(Counter(cause(r.reason) for r in records if r.reason).most_common()),
    )


def fingerprint(records: Sequence[TrialRecord]) -> str:
    """Digest of the ended trials: their values, states and last curves, not the time they took."""
    seen = hashlib.sha256()
    for record in records:
        if record.state.finished:
            last = record.log[record.epoch] if record.log else {}
            known = [record.number, dict(record.values), record.state, record.epoch]
            told = [last.get("curve"), last.get("weights")]
            seen.update(json.dumps([*known, *told], sort_keys=True).encode() + b"\n")
    return seen.hexdigest()[:16]


def study_front(study: Study, records: Sequence[TrialRecord]) -> list[OperatingPoint]:
    """The study's front, best in the first objective first."""
    objectives = tuple(study.config.objectives)
    return front(operating_points(records, objectives, study.config.constraints), objectives)


def point_row(point: OperatingPoint, config: StudyConfig) -> dict[str, Any]:
    """A point as one flat row: `row_columns` in their order; None where a parameter is unused."""
    row = {
        "trial": point.trial,
        "decision_threshold": point.decision_threshold,
        "kind": point.kind,
        "epoch": point.epoch,
        "state": point.state,
        **point.metrics,
        "latency_ms": point.metrics["latency"] * (config.energy.timestep_ms or math.nan),
        **{p.name: point.params.get(p.name) for p in config.space.parameters},
    }
    return {column: row[column] for column in row_columns(config)}


def row_columns(config: StudyConfig) -> tuple[str, ...]:
    """Columns of `point_row`: the point, its figures, then the searched parameters.

    Latency is in milliseconds too where the study says how long a timestep takes.
    """
    further = [name for name in METRICS if name not in _LEADING]
    if config.robust is not None:
        further.insert(0, ROBUST)
    parameters = [parameter.name for parameter in config.space.parameters]
    if config.energy.timestep_ms is not None:
        further.append("latency_ms")
    return (*_LEADING, *further, "kind", "epoch", "state", *parameters)


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], file: Path) -> None:
    """Write rows as CSV; inf is ``inf``, an unused parameter is empty."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_json(rows: Iterable[Mapping[str, Any]], file: Path) -> None:
    """Write rows as a JSON list; an infinite threshold becomes null."""
    text = json.dumps([json_row(row) for row in rows], indent=1)
    file.write_text(text + "\n", encoding="utf-8")


def json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as JSON has it: what is not finite becomes null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
