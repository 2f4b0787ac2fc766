"""What MLflow shows of a study as a whole: its views, its note, its tables and pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from latsearch.plots import FrontData, front_page, write_front_png
from latsearch.search.results import thinned
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState
from latsearch.tracking import layout, note
from latsearch.tracking.attachments import Attach, environment, study_files
from latsearch.tracking.findings import Findings
from latsearch.tracking.known import Known, RowKey
from latsearch.tracking.views import ALL, FRONT, PREFIX, published_views, view_key, view_tags

if TYPE_CHECKING:
    from latsearch.tracking.client import Tracker

_PICTURES = "1"  # how the pictures are drawn: another number has them drawn anew
_MOST_STUDIES = 15  # of an experiment that have views: MLflow takes some forty
_NOTE_ROWS = 8
_PAGE = 100  # runs that MLflow's pages load at a time


class Overview:
    """Keeps the experiment's tags and the parent run's artifacts."""

    def __init__(self, study: Study, tracker: Tracker, attach: Attach | None):
        self._study = study
        self._attach = attach
        self._tracker = tracker
        self._tags = tracker.experiment_tags()
        self._created = layout.milliseconds(study.created)

    def show(self, known: Known, findings: Findings, records: Sequence[TrialRecord]) -> None:
        """Bring the views and the note of the experiment up to date."""
        studies = {**published_views(self._tags), self._study.name: self._created}
        newest = sorted(studies, key=lambda name: studies[name], reverse=True)
        if self._study.name not in newest[:_MOST_STUDIES]:
            return
        wanted = view_tags(self._study.config, self._study.name, self._created)
        if self._study.name == newest[0]:
            data = self._note_data(known, findings, records, newest[1:_MOST_STUDIES])
            wanted[note.KEY] = note.note(data, self._tags.get(note.KEY, ""))
        self._set(wanted)
        self._unset(
            PREFIX + view_key(name, view)
            for name in newest[_MOST_STUDIES:]
            for view in (FRONT, ALL)
        )

    def attach(self, known: Known, findings: Findings) -> None:
        """Upload the study's files where what they are made from has changed."""
        assert known.parent is not None
        with TemporaryDirectory(prefix="latsearch-") as name:
            folder = Path(name)
            study_files(findings.front, self._study.config, folder)
            fingerprint = _fingerprint(folder, len(findings.progress))
            if known.tags.get(layout.FILES) == fingerprint:
                return
            (folder / "environment.json").write_text(json.dumps(environment(), indent=1) + "\n")
            if findings.front:
                run_ids = {key: point.run_id for key, point in known.points.items()}
                self._draw(folder / "pareto", findings, run_ids)
            if self._attach:
                self._attach(self._study, folder)
            self._tracker.runs.upload(known.parent, folder)
        self._tracker.runs.tag({known.parent: {layout.FILES: fingerprint}})
        known.tags[layout.FILES] = fingerprint

    def _draw(self, folder: Path, findings: Findings, run_ids: Mapping[RowKey, str]) -> None:
        values, trials = findings.dominated()
        data = FrontData(
            title=self._study.name,
            objectives=tuple(self._study.config.objectives),
            front=findings.front,
            dominated=values,
            trials=trials,
            run_ids=run_ids,
            events=self._study.config.events,
        )
        write_front_png(data, folder / "front.png")
        (folder / "front.html").write_text(front_page(data), encoding="utf-8")

    def _note_data(
        self,
        known: Known,
        findings: Findings,
        records: Sequence[TrialRecord],
        earlier: Sequence[str],
    ) -> note.NoteData:
        assert known.parent is not None
        config = self._study.config
        objectives = tuple(config.objectives)
        front = findings.front
        return note.NoteData(
            experiment_id=self._tracker.experiment_id,
            study_id=self._study.name,
            parent=known.parent,
            summary=_summary(findings, records, config.search.trials),
            points=thinned(front, objectives, self._study.reference, _NOTE_ROWS),
            run_ids={key: point.run_id for key, point in known.points.items()},
            earlier=earlier,
            picture=bool(front) and layout.FILES in known.tags,
            latency_unit=config.unit("latency"),
        )

    def _set(self, wanted: Mapping[str, str]) -> None:
        changed = {key: tag for key, tag in wanted.items() if self._tags.get(key) != tag}
        self._tracker.tag_experiment(changed)
        self._tags |= changed

    def _unset(self, keys: Iterable[str]) -> None:
        there = [key for key in keys if key in self._tags]
        self._tracker.untag_experiment(there)
        for key in there:
            del self._tags[key]


def _summary(findings: Findings, records: Sequence[TrialRecord], planned: int) -> str:
    ended = len(findings.progress)
    failed = sum(record.state is TrialState.FAILED for record in records)
    text = f"{ended} of {max(planned, len(records))} trials have ended"
    if failed:
        text += f" ({failed} failed)"
    front = findings.front
    if not front:
        return text + "; nothing is on the front yet"
    volume = findings.progress[-1].hypervolume
    text += (
        f"; {len(front)} operating points of {len({point.trial for point in front})} "
        f"networks are on the front, hypervolume {volume:.4g}"
    )
    if len(front) > _PAGE:
        text += f"; MLflow's charts show the first {_PAGE} runs, the interactive plots show all"
    return text


def _fingerprint(folder: Path, ended: int) -> str:
    """What the files are made from, in a few letters."""
    digest = hashlib.sha256(f"{_PICTURES} {ended}".encode())
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]
