"""Mirrors a study's storage into MLflow, as often as wanted: what is there already stays.

What MLflow has is read once; from then on the publisher writes differences. A trial's run is ended
last, so a run that has ended is complete, and one that has not is completed by the next publisher.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from latsearch.objectives import OperatingPoint
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord
from latsearch.tracking import layout
from latsearch.tracking.attachments import Attach, checkpoint_files, git_commit, trial_files
from latsearch.tracking.dataset import dataset_of
from latsearch.tracking.findings import Findings
from latsearch.tracking.known import Known, KnownPoint, KnownTrial, RowKey
from latsearch.tracking.layout import MetricValue, RunSpec
from latsearch.tracking.overview import Overview

if TYPE_CHECKING:
    from latsearch.tracking.client import Tracker

_CHUNK = 100  # trials written at once: what a kill loses, and what is held in memory


class Publisher:
    """Publishes one study to one store. Not thread-safe; the caller holds the `PublisherLock`.

    Attributes:
        known: what the store has.
        written: runs created or changed so far.
    """

    def __init__(self, study: Study, tracker: Tracker, attach: Attach | None = None):
        """Read what the store has."""
        self._study = study
        self._config = study.config
        self._tracker = tracker
        self._runs = tracker.runs
        self._findings = Findings(study.config, study.reference)
        self._overview = Overview(study, tracker, attach)
        self._dataset = dataset_of(study.config)
        self._now = time.time()
        self.known = Known.read(tracker, study.name)
        self.written = 0
        self._optimized = 0
        for run_id in self.known.spare:
            tracker.delete(run_id)

    def publish(self, *, settle: bool) -> None:
        """Publish what is new.

        Args:
            settle: bring up to date also what changes with every trial and is looked at now and
                then: ranks off the front, tables, pictures, checkpoints.
        """
        self._now = time.time()
        records = self._study.trials()
        self._findings.take(records, self._now)
        parent = self._parent()
        trials = self.known.trials
        open_ = [r for r in records if r.number not in trials or not trials[r.number].ended]
        for start in range(0, len(open_), _CHUNK):
            self._publish_trials(open_[start : start + _CHUNK], parent)
        self._mark_front()
        self._log_progress(parent)
        if settle:
            self._log_ranks()
            self._upload_checkpoints(records)
            self._overview.attach(self.known, self._findings)
            self._end_study(parent, records)
            if self.written > self._optimized:
                self._runs.optimize()
                self._optimized = self.written
        self._overview.show(self.known, self._findings, records)

    # --- trials and their operating points ------------------------------------------------------

    def _publish_trials(self, records: Sequence[TrialRecord], parent: str) -> None:
        ended = [record for record in records if record.state.finished]
        points = {record.number: self._findings.published(record) for record in ended}
        self._write_trials(records, points, parent)
        self._write_points(ended, points)
        self._upload_files(ended)
        ends = {
            self._run_id(record): (
                layout.trial_status(record),
                layout.trial_end(record, self._now),
            )
            for record in ended
        }
        self._runs.end(ends)
        for record in ended:
            self.known.trials[record.number].ended = True

    def _write_trials(
        self,
        records: Sequence[TrialRecord],
        points: Mapping[int, Sequence[OperatingPoint]],
        parent: str,
    ) -> None:
        """Create or complete the runs of trials, add to those that are complete so far."""
        runs: dict[int, tuple[str | None, RunSpec]] = {}
        metrics: dict[str, list[MetricValue]] = {}
        tags: dict[str, dict[str, str]] = {}
        for record in records:
            known = self.known.trials.get(record.number)
            after = known.epoch if known and known.epoch is not None else -1
            new = self._trial_metrics(record, points, after)
            if known is None or known.epoch is None:
                spec = layout.trial_run(
                    record, self._config, self._study.name, parent, new, self._now
                )
                runs[record.number] = (known.run_id if known else None, spec)
                continue
            if new:
                metrics[known.run_id] = new
            if record.state.finished:
                tags[known.run_id] = layout.trial_tags(record)
        ids = self._write(list(runs.values()))
        self._runs.use(ids, self._dataset)
        self._runs.log(metrics)
        self._runs.tag(tags)
        self.written += len(metrics)
        self.known.trials |= {n: KnownTrial(i) for n, i in zip(runs, ids, strict=True)}
        for record in records:
            self.known.trials[record.number].epoch = max(record.log, default=-1)

    def _trial_metrics(
        self, record: TrialRecord, points: Mapping[int, Sequence[OperatingPoint]], after: int
    ) -> list[MetricValue]:
        """Metrics of a trial's epochs, and what is said once where it has ended."""
        metrics = list(layout.epoch_metrics(record, self._config, after))
        if record.state.finished:
            metrics += layout.trial_metrics(
                record, points[record.number], self._config, self._study.reference, self._now
            )
        return metrics

    def _write_points(
        self, records: Sequence[TrialRecord], points: Mapping[int, Sequence[OperatingPoint]]
    ) -> None:
        runs: dict[RowKey, tuple[str | None, RunSpec]] = {}
        for record in records:
            end = layout.trial_end(record, self._now)
            for point in points[record.number]:
                key = (point.trial, point.row)
                known = self.known.points.get(key)
                if known is None or known.rank is None:
                    spec = layout.point_run(
                        point,
                        self._findings.ranks[key],
                        self._config,
                        self._study.name,
                        self._run_id(record),
                        end,
                        self._step,
                    )
                    runs[key] = (known.run_id if known else None, spec)
        for key, run_id in zip(runs, self._write(list(runs.values())), strict=True):
            self.known.points[key] = KnownPoint(
                run_id, rank=self._findings.ranks[key], on_front=self._findings.ranks[key] == 1
            )

    def _upload_files(self, records: Sequence[TrialRecord]) -> None:
        for record in records:
            with trial_files(record, self._config) as folder:
                if folder is not None:
                    self._runs.upload(self._run_id(record), folder)

    # --- the front ------------------------------------------------------------------------------

    def _mark_front(self) -> None:
        """Set the tags of the points that came onto the front or left it."""
        changed = {
            key: point
            for key, point in self.known.points.items()
            if point.on_front != (self._findings.ranks.get(key) == 1)
        }
        self._runs.tag(
            {
                point.run_id: layout.front_tags(self._findings.ranks.get(key, 0))
                for key, point in changed.items()
            }
        )
        for point in changed.values():
            point.on_front = not point.on_front
        self.written += len(changed)

    def _log_progress(self, parent: str) -> None:
        new = self._findings.progress[self.known.step :]
        if new:
            self._runs.log({parent: [m for entry in new for m in layout.progress_metrics(entry)]})
            self.known.step = new[-1].step

    def _log_ranks(self) -> None:
        ranks = self._findings.ranks
        changed = {
            key: point
            for key, point in self.known.points.items()
            if key in ranks and point.rank != ranks[key]
        }
        time_ = layout.milliseconds(self._now)
        self._runs.log(
            {
                point.run_id: [layout.rank_metric(ranks[key], self._step, time_)]
                for key, point in changed.items()
            }
        )
        for key, point in changed.items():
            point.rank = ranks[key]
        self.written += len(changed)

    # --- the study ------------------------------------------------------------------------------

    def _parent(self) -> str:
        if self.known.parent is None:
            spec = layout.study_run(
                self._config, self._study.name, self._study.created, git_commit()
            )
            [self.known.parent] = self._write([(None, spec)])
            self._runs.use([self.known.parent], self._dataset)
        return self.known.parent

    def _upload_checkpoints(self, records: Sequence[TrialRecord]) -> None:
        """Upload the networks on the front, and the other kept ones once the search is over."""
        front = {point.trial for point in self._findings.front}
        over = self._over(records)
        for record in records:
            wanted = record.number in front or (over and record.state.finished)
            known = self.known.trials[record.number]
            if not wanted or known.checkpoint == record.checkpoint:
                continue
            with checkpoint_files(self._study, record) as folder:
                if folder is not None:
                    self._runs.upload(known.run_id, folder, "checkpoint")
                    known.checkpoint = str(record.checkpoint)
                    self._runs.tag({known.run_id: {layout.CHECKPOINT: known.checkpoint}})

    def _end_study(self, parent: str, records: Sequence[TrialRecord]) -> None:
        over = self._over(records)
        if over and not self.known.ended:
            last = max(entry.time for entry in self._findings.progress)
            self._runs.end({parent: (layout.FINISHED, last)})
        elif self.known.ended and not over:
            self._tracker.reopen(parent)
        self.known.ended = over

    def _over(self, records: Sequence[TrialRecord]) -> bool:
        ended = sum(record.state.finished for record in records)
        return 0 < self._config.search.trials <= ended == len(records)

    # --- small things ---------------------------------------------------------------------------

    @property
    def _step(self) -> int:
        return len(self._findings.progress)

    def _run_id(self, record: TrialRecord) -> str:
        return self.known.trials[record.number].run_id

    def _write(self, runs: Sequence[tuple[str | None, RunSpec]]) -> list[str]:
        self.written += sum(run_id is None for run_id, _ in runs)
        return self._runs.write(runs) if runs else []
