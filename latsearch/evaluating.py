"""Evaluating one trained network: `latsearch evaluate`, on test samples or under corruptions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latsearch.config import DataConfig
from latsearch.errors import UserError
from latsearch.located import open_model
from latsearch.runs import DEFAULT_RUNS

if TYPE_CHECKING:
    from latsearch.data import Progress, Samples, Splits
    from latsearch.data.corruptions import CorruptedSet
    from latsearch.robustness import Robustness

_SEED = (0, 0)  # of the choice of test samples: the same for every network


@dataclass(frozen=True)
class EvaluationOptions:
    """How a network is evaluated.

    Attributes:
        corruptions: measure under corruptions too.
        decision_threshold: potential above which a class spikes; None for the one set for the
            network, else the knee of the curve on the validation split.
        samples: number of test samples, stratified; None for all.
        names: corruptions to measure under; empty for all.
        root: folder that holds the data; None as in the study.
        severities: of the corruptions, 1..5; empty for all.
        drawn: draw corruptions even where CIFAR-10-C or CIFAR-100-C is present.
        allow_code: the user allows that Python code named in a study is run.
        progress: told of the preparation of data.
    """

    corruptions: bool = False
    decision_threshold: float | None = None
    samples: int | None = 1000
    names: Sequence[str] = ()
    root: str | None = None
    severities: Sequence[int] = ()
    drawn: bool = False
    allow_code: bool = False
    progress: Progress | None = None


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
    from latsearch.robustness import measure_robustness

    options = options or EvaluationOptions()
    opened = open_model(
        model,
        runs,
        root=options.root,
        allow_code=options.allow_code,
        progress=options.progress,
    )
    splits, found = opened.splits, opened.model
    threshold = opened.threshold(options.decision_threshold)
    assert splits.test is not None
    clean = chosen(splits.test, options.samples)
    corrupted, label = corrupted_samples(splits, clean, opened.config, options)
    return measure_robustness(
        opened.network,
        clean,
        corrupted,
        decision_threshold=threshold,
        profile=found.profile,
        model=found.name,
        corruptions=label,
    )


def chosen(test: Samples, count: int | None) -> Samples:
    """Some of the test samples, stratified; all where there are not more."""
    from latsearch.data.splitting import stratified

    if count is None or count >= len(test):
        return test
    return test.take(stratified(test.labels, count, _SEED))


def corrupted_samples(
    splits: Splits, clean: Samples, config: DataConfig, options: EvaluationOptions
) -> tuple[Iterable[CorruptedSet], str]:
    """The corrupted samples, and whose corruptions these are.

    Args:
        splits: the data set.
        clean: samples of its test split; of images, which are corrupted anew with
            ``options.drawn``, those of any split.
        config: of the data set.
        options: which corruptions.

    Raises:
        UserError: there is no such corruption, or the corruption library is not installed.
    """
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
    severities = tuple(options.severities) or corruptions.SEVERITIES
    folder = None if options.drawn else corruptions.published_folder(config.name, config.root)
    if folder is not None:
        sets = corruptions.published_sets(folder, clean, names, severities, options.progress)
        return sets, f"{folder.name} as published"
    drawn = corruptions.corrupted_sets(clean, names, severities, options.progress)
    return drawn, corruptions.IMAGENET_C
