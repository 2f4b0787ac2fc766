"""What MLflow has of a study, read once and kept up by the publisher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from latsearch.tracking import layout

if TYPE_CHECKING:
    from latsearch.tracking.client import FoundRun, Tracker

RowKey = tuple[int, int]  # trial and row


@dataclass
class KnownTrial:
    """A trial's run.

    Attributes:
        run_id: its id.
        ended: whether all that belongs to the trial is there.
        epoch: last epoch that is there, -1 for none; None where this publisher has not completed
            the run.
        checkpoint: the checkpoint that is among its artifacts.
    """

    run_id: str
    ended: bool = False
    epoch: int | None = None
    checkpoint: str | None = None


@dataclass
class KnownPoint:
    """An operating point's run.

    Attributes:
        run_id: its id.
        rank: the rank it shows; None where the run is not complete.
        on_front: whether it is tagged and coloured as a member of the front.
    """

    run_id: str
    rank: int | None
    on_front: bool


@dataclass
class Known:
    """All runs of a study.

    Attributes:
        parent: id of the parent run; None where there is none yet.
        tags: its tags.
        ended: whether it has ended.
        step: ended trials that its progress goes up to.
        trials: runs of trials by number.
        points: runs of operating points by trial and row.
        spare: ids of second runs of the same thing, from a request that was sent twice.
    """

    parent: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    step: int = 0
    trials: dict[int, KnownTrial] = field(default_factory=dict)
    points: dict[RowKey, KnownPoint] = field(default_factory=dict)
    spare: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, tracker: Tracker, study_id: str) -> Known:
        """Read what the store has of a study."""
        known = cls()
        # those that ended first: of two runs of the same thing they are the complete ones
        for run in sorted(
            tracker.runs.find(study_id), key=lambda run: run.status == layout.RUNNING
        ):
            known._add(run)
        if known.parent is not None:
            known.step = tracker.last_step(known.parent, layout.FRONT_SIZE)
        return known

    def _add(self, run: FoundRun) -> None:
        kind = run.tags.get(layout.KIND)
        ended = run.status != layout.RUNNING
        if kind == layout.STUDY_KIND and self.parent is None:
            self.parent, self.tags, self.ended = run.run_id, dict(run.tags), ended
        elif kind == layout.TRIAL_KIND and _trial(run) not in self.trials:
            checkpoint = run.tags.get(layout.CHECKPOINT)
            self.trials[_trial(run)] = KnownTrial(run.run_id, ended, checkpoint=checkpoint)
        elif kind == layout.POINT_KIND and _row_key(run) not in self.points:
            self.points[_row_key(run)] = KnownPoint(
                run.run_id,
                _rank(run.metrics) if ended else None,
                run.tags.get(layout.PARETO) == "true",
            )
        else:
            self.spare.append(run.run_id)


def _trial(run: FoundRun) -> int:
    return int(run.tags[layout.TRIAL_ID])


def _row_key(run: FoundRun) -> RowKey:
    return _trial(run), int(run.tags[layout.ROW])


def _rank(metrics: Mapping[str, float]) -> int | None:
    rank = metrics.get(layout.RANK)
    return None if rank is None else int(rank)
