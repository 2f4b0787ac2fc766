"""Journals with damaged lines: found by a checksum, and mended as far as anybody can.

A line is an entry of Optuna's journal with a checksum in its last field. Trials have no names
there: they count from 0 in the order of their creation, so a lost creation would give every later
trial the reports of another. Hence each creation says its number, and the first report of a trial
repeats its parameters: with them a creation is written anew.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.distributions import json_to_distribution
from optuna.trial import TrialState

from latsearch.errors import StudyError

NUMBER = "number"  # attribute of a trial's creation
VALUES = "values"  # in the entry of its first report
REPORT = "report:"  # prefix of a report's attribute

_SEAL = re.compile(rb',"crc":"([0-9a-f]{8})"}$')
_START = re.compile(rb'(?=\{"op_code":)')
_CREATE_STUDY, _CREATE_TRIAL, _END_TRIAL, _TRIAL_ATTRIBUTE = 0, 4, 6, 8
_LONGEST_LINE = 1 << 20  # bytes of a journal line; a report has some 10 kB

Entry = dict[str, Any]


@dataclass(frozen=True)
class _Gap:
    """What cannot be read."""

    line: int
    text: bytes


def sealed(entry: Mapping[str, Any]) -> bytes:
    """The line of an entry, with its checksum."""
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b'%s,"crc":"%08x"}\n' % (text[:-1], zlib.crc32(text))


def intact(line: bytes) -> bool:
    """Whether a line is what was written; one without a checksum, whether it can be read."""
    seal = _SEAL.search(line.rstrip(b"\n"))
    if seal is not None:
        return zlib.crc32(line[: seal.start()] + b"}") == int(seal[1], 16)
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def mend(journal: Path) -> list[str]:
    """Mend a journal that nobody writes to; what was damaged, in words.

    A last line that a killed driver did not finish is cut off: it was never acknowledged, and
    Optuna reads over it only until another line follows.

    Raises:
        StudyError: what is lost is needed for all that is left.
    """
    _cut_unfinished(journal)
    with journal.open("rb") as file:
        if all(intact(line) for line in file):
            return []
    with journal.open("rb") as file:
        pieces = list(_pieces(file))
    entries, lost = _filled(journal, pieces)
    stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    kept = journal.with_name(f"{journal.name}.damaged-{stamp}")
    shutil.copyfile(journal, kept)
    aside = journal.with_name(f".{journal.name}.part")
    aside.write_bytes(b"".join(sealed(entry) for entry in entries))
    aside.replace(journal)
    found = [
        f"{journal}: line {piece.line} is damaged: lost is {_content(piece.text)}"
        for piece in pieces
        if isinstance(piece, _Gap)
    ]
    return [*found, *lost, f"everything else is there; the damaged journal is kept as {kept}"]


def _cut_unfinished(journal: Path) -> None:
    with journal.open("rb+") as file:
        start = max(0, file.seek(0, 2) - _LONGEST_LINE)
        file.seek(start)
        tail = file.read()
        if not tail.endswith(b"\n"):
            file.truncate(start + tail.rfind(b"\n") + 1)


def _pieces(lines: Iterable[bytes]) -> Iterator[Entry | _Gap]:
    """Entries and gaps; where the end of a line was damaged, the next one is found within it."""
    for number, line in enumerate(lines, 1):
        if intact(line):
            yield _entry(line)
            continue
        for part in filter(None, _START.split(line)):
            text = part.rstrip(b"\n")
            whole = next((t for t in (text, text[:-1]) if t and intact(t)), None)
            yield _Gap(number, text) if whole is None else _entry(whole)


def _entry(line: bytes) -> Entry:
    entry: Entry = json.loads(line)
    entry.pop("crc", None)
    return entry


def _filled(journal: Path, pieces: list[Entry | _Gap]) -> tuple[list[Entry], list[str]]:
    """The entries with creations of trials that were lost written anew, and what that means."""
    entries = [piece for piece in pieces if isinstance(piece, dict)]
    if not any(entry.get("op_code") == _CREATE_STUDY for entry in entries):
        raise StudyError(
            f"{journal}: its first line, which names the study, is damaged: nothing else can be "
            "read without it; restore the file from a backup, or start anew with --fresh"
        )
    out: list[Entry] = []
    notes: list[str] = []
    gap: int | None = None  # where in `out` something is missing
    created, uncertain = 0, False
    for piece in pieces:
        if isinstance(piece, _Gap):
            gap, uncertain = len(out), False
            continue
        there, creates = _trials_by(piece, created)
        if there > created and gap is not None:
            if uncertain:
                raise StudyError(
                    f"{journal}: the creation of a trial is damaged, and it is of a version that "
                    "did not number them: restore the file from a backup"
                )
            for number in range(created, there):
                entry, note = _creation(number, entries)
                out.insert(gap, entry)
                gap += 1
                notes.append(note)
            created = there
        out.append(piece)
        created += creates
        uncertain |= creates and gap is not None and NUMBER not in piece.get("user_attrs", {})
    return out, notes


def _trials_by(entry: Entry, created: int) -> tuple[int, bool]:
    """How many trials must have been created before an entry, and whether it creates one."""
    if entry.get("op_code") == _CREATE_TRIAL:
        return entry.get("user_attrs", {}).get(NUMBER, created), True
    return entry.get("trial_id", -1) + 1, False


def _creation(number: int, entries: Iterable[Entry]) -> tuple[Entry, str]:
    """An entry that creates a trial, from what others say of it; and what that means in words."""
    distributions: dict[str, str] = {}
    values: Mapping[str, Any] | None = None
    for entry in entries:
        distributions |= entry.get("distributions", {})
        if entry.get("trial_id") == number:
            for key, report in entry.get("user_attr", {}).items():
                if key.startswith(REPORT) and VALUES in report:
                    values = report[VALUES]
    now = datetime.now().astimezone().isoformat()
    start: Entry = {
        "op_code": _CREATE_TRIAL, "worker_id": "mended", "study_id": 0, "datetime_start": now,
        "user_attrs": {NUMBER: number},
    }  # fmt: skip
    if values is not None and values.keys() <= distributions.keys():
        own = {name: distributions[name] for name in values}
        params = {
            name: json_to_distribution(own[name]).to_internal_repr(value)
            for name, value in values.items()
        }
        return start | {
            "state": TrialState.RUNNING.value, "distributions": own, "params": params
        }, f"trial {number}: its start is written anew from its first report"  # fmt: skip
    start["user_attrs"]["reason"] = "its start in the study's journal was damaged"
    start |= {"state": TrialState.FAIL.value, "datetime_complete": now}
    return start, f"trial {number} is lost: it had reported nothing, and counts as failed"


def _content(text: bytes) -> str:
    """What a damaged line held, as far as it can be seen."""

    def number(pattern: bytes) -> int | None:
        found = re.search(pattern, text)
        return int(found[1]) if found else None

    operation, trial = number(rb'"op_code":(\d+)'), number(rb'"trial_id":(\d+)')
    epoch = number(rb'"report:0*(\d+)"')
    if operation == _CREATE_TRIAL:
        return "the start of a trial"
    if epoch is not None and trial is not None:
        return f"the report of epoch {epoch} of trial {trial}"
    if operation == _END_TRIAL and trial is not None:
        return f"the end of trial {trial}, which is taken up again"
    if trial is not None:
        return f"something about trial {trial}"
    if operation is not None:
        return f"something about {'a trial' if operation > _CREATE_TRIAL else 'the study'}"
    return f"nothing that can be told ({len(text)} bytes)"
