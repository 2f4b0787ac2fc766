"""Evaluating one trained network: `latsearch evaluate`, on test samples or under corruptions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latsearch.config import PROFILES, DataConfig, StudyConfig
from latsearch.config.energy import DEFAULT_PROFILE, EnergyProfile
from latsearch.errors import UserError
from latsearch.runs import DEFAULT_RUNS, find_study
from latsearch.search.storage import Study

if TYPE_CHECKING:
    from latsearch.data import Progress, Samples, Splits
    from latsearch.data.corruptions import CorruptedSet
    from latsearch.objectives import DecisionCurve
    from latsearch.robustness import Robustness

_OBJECTIVES = ("accuracy", "latency", "energy")
_SEED = (0, 0)  # of the choice of test samples: the same for every network


@dataclass(frozen=True)
class EvaluationOptions:
    """How a network is evaluated.

    Attributes:
        corruptions: measure under corruptions too.
        decision_threshold: potential above which a class spikes; None for the knee of the curve
            on the validation split.
        samples: number of test samples, stratified; None for all.
        names: corruptions to measure under; empty for all.
        root: folder that holds the data; None as in the study.
        drawn: draw corruptions even where CIFAR-10-C or CIFAR-100-C is present.
        allow_code: the user allows that Python code named in a study is run.
        progress: told of the preparation of data.
    """

    corruptions: bool = False
    decision_threshold: float | None = None
    samples: int | None = 1000
    names: Sequence[str] = ()
    root: str | None = None
    drawn: bool = False
    allow_code: bool = False
    progress: Progress | None = None


@dataclass(frozen=True)
class _Model:
    """Where a network's weights are, and what is known of its study."""

    name: str
    checkpoint: Path
    study: StudyConfig | None

    @property
    def profile(self) -> EnergyProfile:
        return PROFILES[self.study.energy.profile] if self.study else DEFAULT_PROFILE


def evaluate(
    model: str, options: EvaluationOptions | None = None, runs: Path = DEFAULT_RUNS
) -> Robustness:
    """Measure a network on the test split, and under corruptions of it.

    Args:
        model: a trial such as ``runs/digits:22``, or the folder of a checkpoint.
        options: how.
        runs: folder of all studies.

    Raises:
        UserError: there is no such network, or its data are not there.
    """
    from latsearch.data import load
    from latsearch.evaluation import load_checkpoint
    from latsearch.robustness import measure_robustness

    options = options or EvaluationOptions()
    found = _locate(model, runs)
    network = load_checkpoint(found.checkpoint)
    config = found.study.data if found.study else _data(network.info.dataset)
    if options.root is not None:
        config = config.model_copy(update={"root": options.root})
    splits = load(config, allow_code=options.allow_code, progress=options.progress)
    splits = splits.at(network.info.trial.network.timesteps)
    if splits.input_shape != network.info.input_shape or splits.classes != network.info.classes:
        raise UserError(
            f"{model} takes {network.info.input_shape} and knows {network.info.classes} classes, "
            f"but {config.name} has {splits.input_shape} and {splits.classes}; is it other data?"
        )
    threshold = options.decision_threshold
    if threshold is None:
        curve = network.curve(splits.validation, found.profile)
        threshold = _knee(curve, found.study)
    assert splits.test is not None
    clean = _chosen(splits.test, options.samples)
    corrupted, label = _corrupted(splits, clean, config, options)
    return measure_robustness(
        network,
        clean,
        corrupted,
        decision_threshold=threshold,
        profile=found.profile,
        model=found.name,
        corruptions=label,
    )


def _locate(model: str, runs: Path) -> _Model:
    run, _, trial = model.rpartition(":")
    if run and trial.isdigit():
        study = Study.open(find_study(run, runs))
        record = next((r for r in study.trials() if r.number == int(trial)), None)
        if record is None:
            raise UserError(f"{study.folder}: there is no trial {trial}; try `latsearch front`")
        return _Model(f"{study.config.study}:{trial}", study.checkpoint(record), study.config)
    folder = Path(model)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{model} is neither a trial, such as runs/digits:22, nor the folder of a checkpoint"
        )
    owner = next((p for p in folder.resolve().parents if Study.exists(p)), None)
    return _Model(str(folder), folder, Study.open(owner).config if owner else None)


def _data(name: str) -> DataConfig:
    try:
        return DataConfig.model_validate({"name": name})
    except ValueError:
        raise UserError(
            f"the checkpoint was trained on {name}, whose settings are in its study alone; name "
            "the network as RUN:TRIAL"
        ) from None


def _knee(curve: DecisionCurve, study: StudyConfig | None) -> float:
    """The decision threshold at the knee of a curve, by the study's objectives."""
    from latsearch.search.results import knee_row

    names = tuple(study.objectives) if study else _OBJECTIVES
    measured = tuple(name for name in names if name in _OBJECTIVES)
    row = knee_row(curve, measured or _OBJECTIVES, study.constraints if study else {})
    return float(curve.decision_threshold[row])


def _chosen(test: Samples, count: int | None) -> Samples:
    """Some of the test samples, stratified; all where there are not more."""
    from latsearch.data.splitting import stratified

    if count is None or count >= len(test):
        return test
    return test.take(stratified(test.labels, count, _SEED))


def _corrupted(
    splits: Splits, clean: Samples, config: DataConfig, options: EvaluationOptions
) -> tuple[Iterable[CorruptedSet], str]:
    """The corrupted samples, and whose corruptions these are."""
    from latsearch.data import corruptions
    from latsearch.data.events.corrupted import EVENT_CONSTANTS, corrupted_recordings
    from latsearch.data.events.corruptions import EVENT_CORRUPTIONS

    if not options.corruptions:
        return (), ""
    known = tuple(EVENT_CORRUPTIONS) if splits.events else corruptions.CORRUPTIONS
    unknown = [name for name in options.names if name not in known]
    if unknown:
        raise UserError(
            f"{unknown[0]} is no corruption of {config.name}; known are {', '.join(known)}"
        )
    if splits.events:
        wanted = tuple(options.names) or known
        return corrupted_recordings(splits, clean, wanted, options.progress), EVENT_CONSTANTS
    names = tuple(options.names) or corruptions.CORRUPTIONS
    folder = None if options.drawn else corruptions.published_folder(config.name, config.root)
    if folder is not None:
        sets = corruptions.published_sets(folder, clean, names, progress=options.progress)
        return sets, f"{folder.name} as published"
    drawn = corruptions.corrupted_sets(clean, names, progress=options.progress)
    return drawn, corruptions.IMAGENET_C
