"""What a study knows of a trial: `TrialRecord`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from latsearch.config import Value
from latsearch.objectives import DecisionCurve, EpochReport

SCREENED = 0  # epoch as which a trial's screening is reported


class TrialState(StrEnum):
    """Where a trial stands."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"

    @property
    def finished(self) -> bool:
        """Whether the trial has ended for good."""
        return self is not TrialState.RUNNING


@dataclass(frozen=True)
class TrialRecord:
    """One trial as its study's storage has it.

    Attributes:
        number: number of the trial in its study, from 0.
        state: where it stands; a running trial of a dead driver is an interrupted one.
        values: values of its searched parameters by their dotted name.
        log: its reports as JSON objects by epoch, in order; that of a screening by `SCREENED`.
        attempts: crashes so far.
        reason: why it failed, in one line; None for any other state.
        trace: traceback of the failure, if there was one.
        refused: points that were refused without a training before this one was found.
        parts: in how many parts a batch is computed now, since memory ran out.
        ran: where it ran, of a trial that failed; reports have their own.
    """

    number: int
    state: TrialState
    values: Mapping[str, Value]
    log: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    attempts: int = 0
    reason: str | None = None
    trace: str | None = None
    refused: tuple[Mapping[str, Value], ...] = ()
    parts: int = 1
    ran: Mapping[str, Any] | None = None

    @property
    def epoch(self) -> int:
        """Epochs reported so far."""
        return max(self.log, default=0)

    @property
    def checkpoint(self) -> str | None:
        """Folder of the newest checkpoint relative to the study's; None where there is none."""
        return next(
            (log["checkpoint"] for _, log in sorted(self.log.items(), reverse=True)
             if log["checkpoint"]),
            None,
        )  # fmt: skip

    @property
    def seconds(self) -> float:
        """Wall time of its reported epochs in seconds."""
        return sum(float(log["seconds"]) for log in self.log.values())

    @cached_property
    def last(self) -> EpochReport | None:
        """The newest report."""
        return EpochReport.from_json(self.log[self.epoch]) if self.log else None

    def packed(self) -> TrialRecord:
        """A copy that has not unpacked its newest report, for whoever keeps thousands of them."""
        return replace(self)

    @property
    def curve(self) -> DecisionCurve | None:
        """The decision curve of the newest report."""
        return self.last.curve if self.last else None
