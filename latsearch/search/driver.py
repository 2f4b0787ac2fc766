"""The search's decisions, free of Ray: what to train next, what a report means, when it is over.

`Search` is asked and told by an executor (`engine.py` on Ray, `inline.py` in this process) and
writes every fact to the study's storage before anything is built on it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from latsearch.config import ScreeningConfig, TrialConfig, Value
from latsearch.errors import StudyError, StudyFailed
from latsearch.objectives import FIRST_SPIKE, DecisionCurve, EpochReport
from latsearch.search.history import History
from latsearch.search.keeping import Keeper
from latsearch.search.observations import Observation
from latsearch.search.outlook import Outlook
from latsearch.search.proposals import Proposals, Refuse, accept
from latsearch.search.results import (
    curve_losses,
    hypervolume,
    operating_points,
    violations,
)
from latsearch.search.rungs import Rungs, Standing
from latsearch.search.sampler import Sampler
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState

_FEW_SAMPLES = 16  # in a part of a batch: what batch normalisation estimates from fewer is noise
_TRIM_EVERY = 20  # ended trials between two looks at whose weights may go


@dataclass(frozen=True)
class Assignment:
    """A training to carry out.

    Attributes:
        number: number of the trial.
        trial: what to train.
        seed: seed of the training.
        checkpoint: checkpoint to go on from, relative to the study's folder; None for a start.
        rungs: epochs after which it may be stopped early; each needs a checkpoint, so that what
            was measured there can be used.
        parts: in how many parts a batch is computed, since memory ran out before.
        screening: a short training that comes first; None: there is none, or it was.
    """

    number: int
    trial: TrialConfig
    seed: int
    checkpoint: str | None
    rungs: tuple[int, ...] = ()
    parts: int = 1
    screening: ScreeningConfig | None = None


@dataclass(frozen=True)
class TrialStarted:
    """A trial starts, or goes on from its checkpoint."""

    assignment: Assignment
    values: Mapping[str, Value]
    epoch: int


@dataclass(frozen=True)
class TrialReported:
    """A trial reported an epoch."""

    number: int
    report: EpochReport


@dataclass(frozen=True)
class TrialEnded:
    """A trial ended for good, or crashed and is tried again (state running)."""

    number: int
    state: TrialState
    reason: str | None = None


Event = TrialStarted | TrialReported | TrialEnded
Observer = Callable[[Event], None]


class Trainings(Protocol):
    """Trainings to carry out: asked for and told of by an executor; `Search` is one kind."""

    @property
    def done(self) -> bool:
        """Whether all have ended."""
        ...

    @property
    def idle(self) -> bool:
        """Whether there is nothing to start now (a running one may still crash)."""
        ...

    def ask(self) -> Assignment:
        """The next training."""
        ...

    def report(self, number: int, report: EpochReport) -> bool:
        """Take a report of an epoch; whether the training goes on."""
        ...

    def complete(self, number: int) -> None:
        """Take the end of a training that reached its full budget."""
        ...

    def fail(
        self,
        number: int,
        reason: str,
        trace: str | None = None,
        ran: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a failure that a second attempt would repeat."""
        ...

    def crash(
        self,
        number: int,
        reason: str,
        *,
        lost: bool = False,
        memory: bool = False,
        trace: str | None = None,
    ) -> None:
        """Take the death of a training's worker, or that its memory ran out."""
        ...

    def lose_checkpoint(self, number: int, reason: str) -> None:
        """Take it that a training's newest checkpoint is damaged or gone."""
        ...

    def lack_storage(self, number: int, reason: str) -> None:
        """Take it that a checkpoint could not be read or written: no fault of the training's."""
        ...


class Search:
    """Asks the sampler, keeps the study, decides. Not thread-safe: one driver, one thread."""

    def __init__(
        self,
        study: Study,
        sampler: Sampler,
        *,
        before: Sequence[Observation] = (),
        refuse: Refuse = accept,
    ):
        """Take up a study where its storage says it stands.

        Args:
            study: opened to be driven.
            sampler: proposes what to train.
            before: observations of earlier studies that the sampler is shown.
            refuse: says why a point is not worth a training, None where it is.
        """
        config = study.config
        self._study = study
        self._proposals = Proposals(
            config.space, sampler, config.search.seed, config.search.enqueue, refuse
        )
        self._rungs = Rungs(config.search.stopping, config.search.screening)
        self._stops_early = config.search.stops_early
        self._screening_cost = config.search.screening_cost
        self._budgets: dict[int, int] = {}
        self._observers: list[Observer] = []
        self._token = study.start_session()
        self._records = {record.number: record for record in study.trials()}
        self._running: set[int] = set()
        self._busiest = 0  # most trials at a time
        self._ran: dict[int, Mapping[str, Any]] = {}  # of reports that were there already
        self._lost_at: dict[int, int] = {}  # number → epoch of its checkpoint when last lost
        self._lacks = 0  # times in a row that checkpoints could not be read or written
        self._history = History(tuple(config.objectives), config.constraints, before)
        self._keeper = Keeper(tuple(config.objectives), config.constraints, config.run.keep)
        self._untrimmed: list[int] = []  # ended trials that may still have weights
        self._outlook = Outlook(record.state for record in self._records.values())
        for record in self._records.values():
            self._take_up(record)
        self._waiting = deque(n for n, r in self._records.items() if not r.state.finished)
        self._settle(self._replay())
        self._trim()

    def observe(self, observer: Observer) -> None:
        """Call the observer at every event from now on, after it was stored."""
        self._observers.append(observer)

    # --- asked by the executor ------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether every trial of the study has ended."""
        return not self._waiting and not self._running and not self._may_propose

    @property
    def idle(self) -> bool:
        """Whether there is nothing to start now (a running trial may still crash)."""
        return not self._waiting and not self._may_propose

    @property
    def exhausted(self) -> bool:
        """Whether every point of the space has its trial: the search ends with fewer trials."""
        return self._proposals.exhausted

    @property
    def records(self) -> Mapping[int, TrialRecord]:
        """Every trial by number, as the storage has it."""
        return self._records

    @property
    def history(self) -> Sequence[Observation]:
        """What the sampler is shown of the trials so far."""
        return self._history.shown()

    def ask(self) -> Assignment:
        """The next training: an interrupted one first, then a new proposal.

        Raises:
            LookupError: there is nothing to start.
        """
        if self.idle:
            raise LookupError("no trial is left to start")
        record = self._records[self._waiting.popleft()] if self._waiting else self._propose()
        self._running.add(record.number)
        self._busiest = max(self._busiest, len(self._running))
        assignment = Assignment(
            number=record.number,
            trial=self._study.config.space.trial(record.values),
            seed=training_seed(self._study.config.search.seed, record.number),
            # a training does not go on from the network of its screening
            checkpoint=record.checkpoint if _epoch_of(record.checkpoint) else None,
            rungs=self._levels(record),
            parts=record.parts,
            screening=None if record.log else self._study.config.search.screening,
        )
        self._tell(TrialStarted(assignment, record.values, _epoch_of(record.checkpoint)))
        return assignment

    def report(self, number: int, report: EpochReport) -> bool:
        """Take a trial's report of an epoch; whether the trial goes on.

        An epoch that was reported before a crash is not written twice. At a rung the trial may be
        stopped, if the report has a checkpoint.
        """
        record = self._records[number]
        fault = _fault(report, self._study.config.objectives)
        if not fault and report.epoch == 1 and 1 not in record.log and self._stops_early:
            fault = _silence(report)
        if fault:
            self.fail(number, fault)
            return False
        if report.epoch in record.log:
            if report.ran is not None:
                self._ran[number] = report.ran  # for the next one that is written
            self._take_checkpoint(record, report)
            return True
        if (held := self._ran.pop(number, None)) is not None:
            report = replace(report, ran=report.ran or held)
        decided = self._decide(record, report)
        copy = None if record.log else record.values
        entry = self._study.append_report(number, report, self._token, decided, copy)
        log = {**record.log, report.epoch: entry}
        self._records[number] = record = replace(record, log=log)
        self._lacks = self._lacks if report.checkpoint is None else 0
        self._tell(TrialReported(number, report))
        if decided is None or decided["goes_on"]:
            return True
        self._finish(number, TrialState.PRUNED)
        return False

    def complete(self, number: int) -> None:
        """Take the end of a training that reached its full budget."""
        self._finish(number, TrialState.COMPLETE)

    def fail(
        self,
        number: int,
        reason: str,
        trace: str | None = None,
        ran: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a failure that a second attempt would repeat.

        Args:
            number: of the trial.
            reason: what happened, in one line.
            trace: where it happened.
            ran: on which machine, with which versions.

        Raises:
            StudyFailed: it is the last of a handful that all failed alike.
        """
        self._study.fail_trial(number, reason, trace, ran)
        record = replace(self._records[number], state=TrialState.FAILED, ran=ran)
        self._end(replace(record, reason=reason, trace=trace))
        self._outlook.failed(reason)
        if not self.done and (cause := self._outlook.hopeless(self._busiest)):
            raise StudyFailed(f"{self._study.folder}: {cause}; traces: {self._study.failures}")

    def crash(
        self,
        number: int,
        reason: str,
        *,
        lost: bool = False,
        memory: bool = False,
        trace: str | None = None,
    ) -> None:
        """Take the death of a trial's worker: try again from its checkpoint, but not for ever.

        Args:
            number: of the trial.
            reason: what happened, in words.
            lost: whether the worker's whole machine went away, which is no attempt of a trial
                that has come further since it last did.
            memory: whether memory ran out: the next attempt takes a batch in twice as many parts.
            trace: what is known of where it happened.

        Raises:
            StudyFailed: the trial failed for good, as the last of a handful that all did alike.
        """
        record = self._records[number]
        epoch = _epoch_of(record.checkpoint)
        further = lost and epoch > self._lost_at.get(number, -1)
        self._lost_at[number] = epoch
        attempts = record.attempts + (not further)
        parts = self._parts(record) if memory else record.parts
        if attempts > self._study.config.run.retries or (memory and parts == record.parts):
            times = f", {attempts} times" if attempts > 1 else ""
            split = f", at last with batches in {record.parts} parts" if record.parts > 1 else ""
            self.fail(number, f"{reason}{times}{split}", trace)
            return
        if attempts != record.attempts:
            self._study.count_attempt(number, attempts, parts)
        self._records[number] = replace(record, attempts=attempts, parts=parts)
        if memory:
            reason += f" (next time with batches in {parts} parts{self._few(record, parts)})"
        self._again(number, reason)

    def lose_checkpoint(self, number: int, reason: str) -> None:
        """Take it that a trial's newest checkpoint is damaged or gone: go on from the one before.

        What was reported stays; epochs after the older checkpoint are trained again.
        """
        record = self._records[number]
        last = _epoch_of(record.checkpoint)
        entry = self._study.note_checkpoint(number, last, record.log[last], None)
        self._records[number] = record = replace(record, log={**record.log, last: entry})
        first = _epoch_of(record.checkpoint) + 1
        epochs = f"epoch {last} is" if first == last else f"epochs {first} to {last} are"
        self._again(number, f"{reason}; its reports are all there, {epochs} trained again")

    def lack_storage(self, number: int, reason: str) -> None:
        """Take it that a checkpoint could not be read or written, which is no fault of the trial's.

        Raises:
            StudyError: that goes on, whatever is tried: every trial would fail in turn.
        """
        self._lacks += 1
        if self._lacks > self._study.config.run.retries:
            raise StudyError(
                f"{reason}; the search stops here, with all that was reported: once that is mended "
                "the same command goes on"
            )
        self._again(number, reason)

    # --- the state of the search ----------------------------------------------------------------

    @property
    def _may_propose(self) -> bool:
        return len(self._records) < self._study.config.search.trials and not self.exhausted

    def _again(self, number: int, reason: str) -> None:
        """Let a trial wait for its next attempt."""
        self._running.discard(number)
        self._waiting.append(number)
        self._tell(TrialEnded(number, TrialState.RUNNING, reason))

    def _take_checkpoint(self, record: TrialRecord, report: EpochReport) -> None:
        """Take the checkpoint of an epoch that is trained again and has none, or none any more."""
        known = record.log[report.epoch]
        if report.checkpoint is not None and known["checkpoint"] is None:
            entry = self._study.note_checkpoint(
                record.number, report.epoch, known, report.checkpoint
            )
            log = {**record.log, report.epoch: entry}
            self._records[record.number] = replace(record, log=log)

    def _propose(self) -> TrialRecord:
        proposal = self._proposals.propose(self.history, len(self._records))
        number = self._study.new_trial(proposal.values, proposal.refused)
        record = TrialRecord(number, TrialState.RUNNING, proposal.values, refused=proposal.refused)
        self._records[number] = record
        self._take_up(record)
        return record

    def _take_up(self, record: TrialRecord) -> None:
        """Count a trial that is new, or that the storage has."""
        self._proposals.note(record.values, record.refused)
        self._history.started(record)
        if record.state.finished:
            # one without a report may lack its parameters too: its start was damaged
            budget = self._budget(record) if record.log else 0
            self._history.ended(record.packed(), budget, self._screening_cost)
            self._untrimmed.append(record.number)

    def _budget(self, record: TrialRecord) -> int:
        """Epochs of the trial's full training."""
        if record.number not in self._budgets:
            trial = self._study.config.space.trial(record.values)
            self._budgets[record.number] = trial.train.epochs
        return self._budgets[record.number]

    def _levels(self, record: TrialRecord) -> tuple[int, ...]:
        return self._rungs.levels(self._budget(record))

    def _decide(self, record: TrialRecord, report: EpochReport) -> dict[str, Any] | None:
        """What the rungs decide on a report, as the log keeps it; None where there is no rung."""
        if report.epoch not in self._levels(record):
            return None
        level = report.epoch
        goes_on = self._rungs.report(level, self._standing(record.number, report.curve))
        # every report counts for the others, but only at a checkpoint can a trial be stopped:
        # where stopping was switched on in between, an earlier driver saved none at a rung
        stays = report.checkpoint is None
        return {"rule": self._rungs.rule(level), "passes": goes_on, "goes_on": goes_on or stays}

    def _standing(self, number: int, curve: DecisionCurve) -> Standing:
        config = self._study.config
        losses = curve_losses(curve, tuple(config.objectives))
        return Standing.of(number, losses, violations(curve, config.constraints))

    def _replay(self) -> list[int]:
        """Build the rungs from the log; interrupted trials that were to stop at their last report.

        The driver died between the report and the end of such a trial. What was decided is in the
        log; only where the rule was changed since is it decided anew.
        """
        arrivals = sorted(
            (record.log[epoch]["sequence"], record.number, epoch)
            for record in self._records.values()
            if record.log
            for epoch in self._levels(record)
            if epoch in record.log
        )
        stopped = []
        for _, number, epoch in arrivals:
            record = self._records[number]
            entry = record.log[epoch]
            known = entry.get("rung") or {}
            passes = known["passes"] if known.get("rule") == self._rungs.rule(epoch) else None
            curve = DecisionCurve.from_json(entry["curve"])
            passes = self._rungs.report(epoch, self._standing(number, curve), passes)
            goes_on = passes or entry["checkpoint"] is None
            if not goes_on and not record.state.finished and epoch == record.epoch:
                stopped.append(number)
        return stopped

    def _settle(self, stopped: Sequence[int]) -> None:
        """End interrupted trials of which the log says that they are over."""
        for number in list(self._waiting):
            record = self._records[number]
            if number in stopped:
                self._waiting.remove(number)
                self._finish(number, TrialState.PRUNED)
            elif record.epoch >= self._budget(record):
                self._waiting.remove(number)
                self._finish(number, TrialState.COMPLETE)

    def _parts(self, record: TrialRecord) -> int:
        """In how many parts a batch is computed next where memory ran out."""
        return min(2 * record.parts, max(1, self._batch_size(record) // 2))

    def _batch_size(self, record: TrialRecord) -> int:
        return self._study.config.space.trial(record.values).train.batch_size

    def _few(self, record: TrialRecord, parts: int) -> str:
        """What to know of parts so small that normalisation suffers; nothing for larger ones."""
        samples = self._batch_size(record) // parts
        if samples >= _FEW_SAMPLES:
            return ""
        return (
            f" of {samples} samples, from which batch normalisation may learn worse: more memory "
            "for a trial, or a smaller network, helps"
        )

    def _finish(self, number: int, state: TrialState) -> None:
        self._outlook.succeeded()
        record = replace(self._records[number], state=state)
        self._study.end_trial(record, state)
        self._end(record)

    def _end(self, record: TrialRecord) -> None:
        self._records[record.number] = record
        self._running.discard(record.number)
        self._history.ended(record, self._budget(record), self._screening_cost)
        self._untrimmed.append(record.number)
        if len(self._untrimmed) >= _TRIM_EVERY or self.done:
            self._trim()
        self._tell(TrialEnded(record.number, record.state, record.reason))
        self._records[record.number] = record.packed()

    def _trim(self) -> None:
        """Drop the weights of ended trials that are neither on the front nor among the kept."""
        decided = self._keeper.take(self._records[number].packed() for number in self._untrimmed)
        self._untrimmed.clear()
        for number, stay in decided.items():
            self._study.trim_checkpoints(self._records[number], keep_weights=stay)

    def _tell(self, event: Event) -> None:
        for observer in self._observers:
            observer(event)


def _fault(report: EpochReport, objectives: Iterable[str]) -> str | None:
    """What makes a report unusable."""
    # energy only where it is asked for: of a user's own network it may not be known
    for column in dict.fromkeys(("accuracy", "latency", "silent_fraction", *objectives)):
        values = report.curve.figures(column)
        if len(values) == 0 or not np.isfinite(values).all():
            return f"epoch {report.epoch}: {column} is not finite on every row of the curve"
    for name in ("train_loss", "grad_norm"):
        if not math.isfinite(report.metrics.get(name, 0.0)):
            return f"epoch {report.epoch}: {name} is not finite"
    return None


def _silence(report: EpochReport) -> str | None:
    """What is wrong with a network that decides nothing, whatever its decision threshold."""
    spiking = [kind == FIRST_SPIKE for kind in report.curve.kind]
    silent = report.curve.silent_fraction[spiking]
    if len(silent) == 0 or silent.min() < 1:
        return None
    return (
        f"silent after epoch {report.epoch}: no sample makes an output spike at any decision "
        "threshold; a lower network.firing_threshold or more timesteps may help"
    )


def training_seed(seed: int, number: int) -> int:
    """Seed of a trial's training: that of the study and the trial's number alone."""
    return int(np.random.SeedSequence([seed, number, 1]).generate_state(1)[0])


def _epoch_of(checkpoint: str | None) -> int:
    return int(checkpoint.rsplit("/", 1)[1]) if checkpoint else 0


def study_hypervolume(study: Study, records: Sequence[TrialRecord]) -> float:
    """Hypervolume of everything the study found so far."""
    objectives = tuple(study.config.objectives)
    points = operating_points(records, objectives, study.config.constraints)
    return hypervolume(points, objectives, study.reference)
