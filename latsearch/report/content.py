"""What a report tells of a study, taken from its storage alone."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latsearch.config import DataConfig, Parameter, StudyConfig, Value
from latsearch.data.catalogue import DATASETS
from latsearch.objectives import OperatingPoint
from latsearch.reporting import StudyStatus, study_status
from latsearch.search.results import knee_row, operating_points, thinned
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState
from latsearch.selection import Rule, select_all
from latsearch.tracking.findings import Findings
from latsearch.tracking.layout import Progress

_MOST_LINES = 10  # trials of the front that have a line of their own


@dataclass(frozen=True)
class Knee:
    """The row that stands for a complete trial.

    Attributes:
        trial: number of the trial.
        metrics: figures of the row by objective.
        params: values of the trial's searched parameters.
    """

    trial: int
    metrics: Mapping[str, float]
    params: Mapping[str, Value]


@dataclass(frozen=True)
class Recommendation:
    """An operating point that one or more rules choose.

    Attributes:
        rules: which, e.g. ``knee``.
        point: what they choose.
        error: standard error of its accuracy, a fraction.
        weights: whether its trial's weights are still there.
    """

    rules: tuple[Rule, ...]
    point: OperatingPoint
    error: float
    weights: bool


@dataclass(frozen=True)
class Content:
    """A study as its report shows it.

    Attributes:
        folder: the study's folder, as commands name it.
        config: its configuration.
        status: where it stands.
        created: when it was created, in seconds since 1970.
        reference: the hypervolume's reference point by objective.
        parameters: what is searched.
        records: all trials by number.
        points: measured operating points off the front, those near it first.
        front: those on it, best in the first objective first.
        lines: trials of the front that are drawn as lines, in the order of the front.
        progress: one entry for each ended trial.
        knees: of the complete trials.
        recommended: the front's points that stand out.
        samples: size of the validation split.
    """

    folder: str
    config: StudyConfig
    status: StudyStatus
    created: float
    reference: Mapping[str, float]
    parameters: Sequence[Parameter]
    records: Sequence[TrialRecord]
    points: Sequence[OperatingPoint]
    front: Sequence[OperatingPoint]
    lines: Sequence[int]
    progress: Sequence[Progress]
    knees: Sequence[Knee]
    recommended: Sequence[Recommendation]
    samples: int

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives."""
        return tuple(self.config.objectives)

    def record(self, trial: int) -> TrialRecord:
        """The trial of a number."""
        return next(record for record in self.records if record.number == trial)

    def error(self, accuracy: float) -> float:
        """Standard error of an accuracy that was measured on the validation split."""
        return standard_error(accuracy, self.samples)


def gather(study: Study) -> Content:
    """Read everything that a report shows; the study may be running."""
    config, records = study.config, study.trials()
    objectives = tuple(config.objectives)
    findings = Findings(config, study.reference)
    findings.take(records, time.time())
    points = operating_points(records, objectives, config.constraints)
    off = [point for point in points if findings.ranks[point.trial, point.row] > 1]
    samples = study.validation_samples or validation_samples(config.data)
    return Content(
        folder=str(study.folder),
        config=config,
        status=study_status(study),
        created=study.created,
        reference=study.reference,
        parameters=config.space.parameters,
        records=records,
        points=sorted(off, key=lambda point: findings.ranks[point.trial, point.row]),
        front=findings.front,
        lines=_lines(findings.front, objectives, study.reference),
        progress=findings.progress,
        knees=knees_of(records, config),
        recommended=_recommended(findings.front, study, records, samples),
        samples=samples,
    )


def validation_samples(data: DataConfig) -> int:
    """Number of samples that the accuracies were measured on, for studies that did not note it."""
    part, train = data.validation, DATASETS[data.name].info.train
    return round(part * train) if part < 1 and train else max(1, int(part))


def standard_error(accuracy: float, samples: int) -> float:
    """``sqrt(p (1 - p) / n)``, the binomial standard error of a measured fraction.

    Example:
        >>> standard_error(0.9, 100)
        0.03
    """
    return math.sqrt(max(0.0, accuracy * (1 - accuracy)) / samples)


def _lines(
    front: Sequence[OperatingPoint], objectives: tuple[str, ...], reference: Mapping[str, float]
) -> list[int]:
    """Trials of the front, each once; of many those that matter to the hypervolume."""
    trials = list(dict.fromkeys(point.trial for point in front))
    if len(trials) <= _MOST_LINES:
        return trials
    kept = thinned(front, objectives, reference, _MOST_LINES)
    return list(dict.fromkeys(point.trial for point in kept))


def knees_of(records: Sequence[TrialRecord], config: StudyConfig) -> list[Knee]:
    """The knee rows of the complete trials."""
    knees = []
    for record in records:
        curve = record.curve
        if record.state is TrialState.COMPLETE and curve is not None:
            row = knee_row(curve, tuple(config.objectives), config.constraints)
            figures: dict[str, float] = {
                name: float(getattr(curve, name)[row]) for name in config.objectives
            }
            knees.append(Knee(record.number, figures, record.values))
    return knees


def _recommended(
    front: Sequence[OperatingPoint], study: Study, records: Sequence[TrialRecord], samples: int
) -> list[Recommendation]:
    """What each rule about the study's objectives chooses; one entry for each point."""
    if not front:
        return []
    chosen: dict[tuple[int, int], list[Rule]] = {}
    for rule, point in select_all(front, tuple(study.config.objectives)).items():
        chosen.setdefault((point.trial, point.row), []).append(rule)
    by_key = {(point.trial, point.row): point for point in front}
    by_number = {record.number: record for record in records}
    return [
        Recommendation(
            rules=tuple(rules),
            point=by_key[key],
            error=standard_error(by_key[key].metrics["accuracy"], samples),
            weights=_has_weights(study, by_number[key[0]]),
        )
        for key, rules in chosen.items()
    ]


def _has_weights(study: Study, record: TrialRecord) -> bool:
    return (
        record.checkpoint is not None and study.checkpoints.fetched(record.checkpoint) is not None
    )
