"""What MLflow shows of a study as a whole: its views, its note, its tables."""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from latsearch.search.storage import Study
from latsearch.tracking import layout
from latsearch.tracking.attachments import study_files
from latsearch.tracking.findings import Findings
from latsearch.tracking.views import view_tags

if TYPE_CHECKING:
    from latsearch.tracking.client import Tracker

_FILES = "latsearch.files"  # tag of the parent run: fingerprint of the files it has


class Overview:
    """Keeps the experiment's tags and the parent run's artifacts."""

    def __init__(self, study: Study, tracker: Tracker):
        self._study = study
        self._tracker = tracker
        self._tags = tracker.experiment_tags()

    def show(self, parent: str, findings: Findings) -> None:
        """Set the experiment's views where they are not there as they should be."""
        created = layout.milliseconds(self._study.created)
        wanted = view_tags(self._study.config, self._study.name, created)
        changed = {key: tag for key, tag in wanted.items() if self._tags.get(key) != tag}
        self._tracker.tag_experiment(changed)
        self._tags |= changed

    def attach(self, parent: str, tags: MutableMapping[str, str], findings: Findings) -> None:
        """Upload the study's files where they differ from those that are there."""
        with TemporaryDirectory(prefix="latsearch-") as name:
            folder = Path(name)
            study_files(findings.front, self._study.config, folder)
            fingerprint = _fingerprint(folder)
            if tags.get(_FILES) != fingerprint:
                self._tracker.upload(parent, folder)
                self._tracker.writer.tag({parent: {_FILES: fingerprint}})
                tags[_FILES] = fingerprint


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]
