"""What a study looks like in MLflow: its runs with their tags, params and metrics (no mlflow).

A study is a parent run, every trial a run below it, and below that a run for each operating
point. Times are in milliseconds since 1970, as MLflow has them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from latsearch.config import StudyConfig, Value
from latsearch.objectives import READOUT, EpochReport, OperatingPoint
from latsearch.plots import DOMINATED_COLOR, FRONT_COLOR
from latsearch.search.results import hypervolume, knee_row
from latsearch.search.trials import TrialRecord, TrialState

KIND = "latsearch.kind"
STUDY_ID = "latsearch.study_id"
TRIAL_ID = "latsearch.trial_id"
ROW = "latsearch.row"
STATE = "latsearch.state"
DECISION = "latsearch.decision"
REASON = "latsearch.reason"
CHECKPOINT = "latsearch.checkpoint"
FILES = "latsearch.files"  # of the parent run: fingerprint of what its files were made from
PARENT = "mlflow.parentRunId"
COLOR = "mlflow.runColor"
PARETO = "pareto"
KNOWN_TAGS = (KIND, TRIAL_ID, ROW, PARETO, CHECKPOINT, FILES)  # what a publisher goes by

STUDY_KIND, TRIAL_KIND, POINT_KIND = "study", "trial", "operating_point"
RANK = "pareto_rank"
FRONT_SIZE, HYPERVOLUME = "pareto/size", "pareto/hypervolume"
EPOCH_MARK = "val/accuracy"  # an epoch's last metric: where it is, the whole epoch is

RUNNING, FINISHED, FAILED = "RUNNING", "FINISHED", "FAILED"
_OF_TRAINING = ("train_", "grad_norm", "weight_t", "lr")
_CONSTANT = ("parameters",)  # the same after every epoch
_ALWAYS_SHOWN = ("network.family", "network.timesteps")
_LONGEST_TAG = 5000


@dataclass(frozen=True, slots=True)
class MetricValue:
    """One value of one metric."""

    key: str
    value: float
    step: int
    time: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a study stood at a ``time`` at which its ``step``-th trial had ended."""

    step: int
    time: int
    front_size: int
    hypervolume: float


@dataclass(frozen=True, slots=True)
class RunSpec:
    """A run to create.

    Attributes:
        name: what the UI shows.
        tags: all of them.
        params: all of them.
        metrics: those known already, in the order of their steps.
        start: when it began.
        end: when it ended; None for a run that is still to be ended.
        status: ``RUNNING``, or how it ended.
    """

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[MetricValue] = ()
    start: int = 0
    end: int | None = None
    status: str = RUNNING


def study_run(config: StudyConfig, study_id: str, created: float, commit: str | None) -> RunSpec:
    """The parent run of a study."""
    params = {
        "data": config.data.name,
        "objectives": ", ".join(config.objectives),
        "energy_profile": config.energy.profile,
        "sampler": config.search.chosen_sampler,
        "seed": str(config.search.seed),
    }
    tags = {KIND: STUDY_KIND, STUDY_ID: study_id, "mlflow.source.name": "latsearch"}
    if commit:
        tags["mlflow.source.git.commit"] = commit
    return RunSpec(study_id, tags, params, start=milliseconds(created))


def trial_run(
    record: TrialRecord,
    config: StudyConfig,
    study_id: str,
    parent: str,
    metrics: Sequence[MetricValue],
    now: float,
) -> RunSpec:
    """The run of a trial; it is ended separately, once all that belongs to it is there."""
    return RunSpec(
        name=f"trial {record.number}",
        tags={
            KIND: TRIAL_KIND,
            STUDY_ID: study_id,
            TRIAL_ID: str(record.number),
            PARENT: parent,
            **trial_tags(record),
        },
        params=params(record.values, config),
        metrics=metrics,
        start=_start(record, now),
    )


def trial_tags(record: TrialRecord) -> dict[str, str]:
    """The tags of a trial's run that change."""
    tags = {STATE: str(record.state)}
    if record.reason:
        tags[REASON] = record.reason[:_LONGEST_TAG]
    return tags


def trial_status(record: TrialRecord) -> str:
    """Status of a trial's run."""
    if record.state is TrialState.FAILED:
        return FAILED
    return FINISHED if record.state.finished else RUNNING


def trial_end(record: TrialRecord, now: float) -> int:
    """When an ended trial ended: at its last report, or now where there is none."""
    return milliseconds(max((float(log["time"]) for log in record.log.values()), default=now))


def epoch_metrics(
    record: TrialRecord, config: StudyConfig, after: int = -1
) -> Iterator[MetricValue]:
    """Metrics of a trial's epochs later than ``after``, by epoch."""
    for epoch, entry in sorted(record.log.items()):
        if epoch > after:
            yield from _one_epoch(EpochReport.from_json(entry), config, milliseconds(entry["time"]))


def _one_epoch(report: EpochReport, config: StudyConfig, time: int) -> Iterator[MetricValue]:
    values = {"train/seconds": report.seconds}
    for name, value in report.metrics.items():
        if name in _CONSTANT:
            continue
        part = "train" if name.startswith(_OF_TRAINING) else "val"
        values[f"{part}/{name.removeprefix('train_')}"] = value
    curve = report.curve
    row = knee_row(curve, tuple(config.objectives), config.constraints)
    for name in ("latency", "energy", "silent_fraction", "decision_threshold", "accuracy"):
        values[f"val/{name}"] = float(getattr(curve, name)[row])
    yield from finite(values, report.epoch, time)


def trial_metrics(
    record: TrialRecord,
    points: Sequence[OperatingPoint],
    config: StudyConfig,
    reference: Mapping[str, float],
    now: float,
) -> Iterator[MetricValue]:
    """What is said of an ended trial once.

    Its figures at the objectives belong to its operating points: were they here too, every chart
    would show them twice.
    """
    values: dict[str, float] = {"epochs": record.epoch, "seconds": record.seconds}
    if record.last:
        values |= {k: v for k, v in record.last.metrics.items() if k in _CONSTANT}
    values["operating_points"] = len(points)
    values["hypervolume"] = hypervolume(points, tuple(config.objectives), reference)
    yield from finite(values, record.epoch, trial_end(record, now))


def point_run(
    point: OperatingPoint,
    rank: int,
    config: StudyConfig,
    study_id: str,
    parent: str,
    time: int,
    step: int,
) -> RunSpec:
    """The run of an operating point below its trial's."""
    values = dict(point.metrics)
    values["decision_threshold"] = point.decision_threshold
    return RunSpec(
        name=point_name(point),
        tags={
            KIND: POINT_KIND,
            STUDY_ID: study_id,
            TRIAL_ID: str(point.trial),
            ROW: str(point.row),
            PARENT: parent,
            STATE: point.state,
            DECISION: point.kind,
            **front_tags(rank),
        },
        params=params(point.params, config),
        metrics=[*finite(values, point.epoch, time), rank_metric(rank, step, time)],
        start=time,
        end=time,
        status=FINISHED,
    )


def point_name(point: OperatingPoint) -> str:
    """What an operating point is called."""
    where = "readout" if point.kind == READOUT else f"@ {point.decision_threshold:.3g}"
    return f"trial {point.trial} {where}"


def front_tags(rank: int) -> dict[str, str]:
    """The tags by which an operating point is filtered and coloured; rank 1 is the front."""
    on_front = rank == 1
    return {
        PARETO: "true" if on_front else "false",
        COLOR: FRONT_COLOR if on_front else DOMINATED_COLOR,
    }


def rank_metric(rank: int, step: int, time: int) -> MetricValue:
    """Rank of an operating point when ``step`` trials had ended."""
    return MetricValue(RANK, float(rank), step, time)


def params(values: Mapping[str, Value], config: StudyConfig) -> dict[str, str]:
    """Searched parameters as MLflow's, with family and timesteps where those are fixed."""
    fixed = config.space.fixed
    shown: dict[str, Any] = {name: fixed[name] for name in _ALWAYS_SHOWN if name in fixed}
    return {name: _param(value) for name, value in {**shown, **values}.items()}


def _param(value: Value) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)


def progress_metrics(entry: Progress) -> list[MetricValue]:
    """The parent run's metrics after a trial has ended."""
    values = {FRONT_SIZE: entry.front_size, HYPERVOLUME: entry.hypervolume}
    return list(finite(values, entry.step, entry.time))


def finite(values: Mapping[str, float], step: int, time: int) -> Iterator[MetricValue]:
    """The values as metrics; MLflow would store inf as a number, so it gets finite ones alone."""
    for key, value in values.items():
        if math.isfinite(value):
            yield MetricValue(key, float(value), step, time)


def milliseconds(seconds: float) -> int:
    """MLflow's clock."""
    return round(1000 * seconds)


def _start(record: TrialRecord, now: float) -> int:
    first: Iterable[float] = (
        float(log["time"]) - float(log["seconds"]) for log in record.log.values()
    )
    return milliseconds(min(first, default=now))
