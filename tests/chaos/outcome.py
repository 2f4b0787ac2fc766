"""What a search that was disturbed comes to: what is lost, done twice, trained again."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState


@dataclass
class Outcome:
    """Trials of the finished study.

    Attributes:
        lost: that are not there, or did not end complete.
        twice: that were written to after they had ended, or train what another one does.
        missing: epochs without a report.
    """

    lost: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)
    missing: list[tuple[int, int]] = field(default_factory=list)


def outcome(
    records: Sequence[TrialRecord],
    trials: int,
    epochs: int,
    ended: Mapping[int, Mapping[int, Mapping[str, object]]],
) -> Outcome:
    """Judge the records of a finished study.

    Args:
        records: as its storage has them.
        trials: that were asked for.
        epochs: of each.
        ended: logs of trials, as they were when they were first seen to have ended.
    """
    found = Outcome()
    there = {record.number: record for record in records}
    for number in range(max(trials, len(records))):
        record = there.get(number)
        if record is None or record.state is not TrialState.COMPLETE or number >= trials:
            found.lost.append(number)
            continue
        found.missing += [(number, e) for e in range(1, epochs + 1) if e not in record.log]
        before = ended.get(number, {})
        if any(e in before and before[e] != entry for e, entry in record.log.items()):
            found.twice.append(number)
    points: dict[str, int] = {}
    for record in records:
        point = json.dumps(dict(record.values), sort_keys=True)
        if record.values and points.setdefault(point, record.number) != record.number:
            found.twice.append(record.number)
    return found


def reports_in(study: Path) -> int:
    """Reports in the journal of the study in a folder."""
    journal = study / "study.journal"
    return journal.read_bytes().count(b'"report:') if journal.exists() else 0


def records_in(study: Path) -> list[TrialRecord]:
    """The trials of the study in a folder as its storage has them; none before it was made."""
    return Study.open(study).trials() if Study.exists(study) else []


def note_ended(
    records: Sequence[TrialRecord], ended: dict[int, Mapping[int, Mapping[str, object]]]
) -> None:
    """Keep the logs of trials that have ended."""
    for record in records:
        if record.state.finished:
            ended.setdefault(record.number, dict(record.log))


def again(before: Sequence[TrialRecord], log: str) -> dict[int, int]:
    """Trials that went on after a kill, by the driver's lines: number → epochs trained again."""
    reported = {record.number: record for record in before}
    taken_up: dict[int, int] = {}
    for number, epoch in re.findall(r"trial (\d+) goes on after epoch (\d+)", log):
        taken_up.setdefault(int(number), int(epoch))
    for number in re.findall(r"trial (\d+) (?:starts|started)\b", log):
        if int(number) in reported:
            taken_up.setdefault(int(number), 0)
    return {
        number: max(0, reported[number].epoch - epoch)  # it may report between look and kill
        for number, epoch in taken_up.items()
        if number in reported and reported[number].state is TrialState.RUNNING
    }


def longest_pause(changes: Sequence[float], start: float, end: float) -> float:
    """Seconds without a further report after a fault, the longest until the next one."""
    moments = [start, *(moment for moment in changes if start < moment <= end)]
    return max((b - a for a, b in itertools.pairwise(moments)), default=0.0)


def said(log: str) -> list[str]:
    """The driver's lines that tell of damage, of waiting or of what died."""
    words = ("damaged", "does not answer", "cannot be written", "trained again", "lost", "died")
    return [line for line in log.splitlines() if any(word in line for word in words)]
