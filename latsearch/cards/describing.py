"""The card of one trained network, measured here: `latsearch card`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latsearch.cards.card import ModelCard
from latsearch.cards.figures import measure_seed
from latsearch.cards.making import data_note, make_card
from latsearch.errors import UserError
from latsearch.evaluating import chosen
from latsearch.located import Opened, open_model
from latsearch.runs import DEFAULT_RUNS, Runs

if TYPE_CHECKING:
    from latsearch.data import Progress

_OF_EACH_ROW = {"corruption", "severity", "accuracy", "latency", "energy", "silent_fraction"}
_OF_ROBUSTNESS = {"corruptions", "decision_threshold", "samples", "latency_unit", "rows"}


@dataclass(frozen=True)
class CardOptions:
    """How a network is measured for its card.

    Attributes:
        decision_threshold: potential above which a class spikes; None for the one set for the
            network, else the knee of the curve on the validation split.
        samples: number of test samples, stratified; None for all.
        robustness: file that ``latsearch evaluate --corruptions --json`` wrote; None: no section.
        root: folder that holds the data; None as in the study.
        created: a date to print; None for none.
        allow_code: the user allows that Python code named in a study is run.
        progress: told of the preparation of data.
    """

    decision_threshold: float | None = None
    samples: int | None = None
    robustness: Path | None = None
    root: str | None = None
    created: str | None = None
    allow_code: bool = False
    progress: Progress | None = None


def model_card(
    model: str, options: CardOptions | None = None, runs: Runs = DEFAULT_RUNS
) -> ModelCard:
    """Measure a network on the test split and make its card.

    Args:
        model: a trial such as ``runs/digits:22``, or the folder of a checkpoint.
        options: how.
        runs: folder of all studies.

    Raises:
        UserError: there is no such network, its data are not there, or the file of its robustness
            is none.
    """
    options = options or CardOptions()
    robustness = _read_robustness(options.robustness) if options.robustness else None
    opened = open_model(
        model,
        runs,
        root=options.root,
        allow_code=options.allow_code,
        progress=options.progress,
    )
    threshold = opened.threshold(options.decision_threshold)
    assert opened.splits.test is not None
    samples = chosen(opened.splits.test, options.samples)
    found = opened.model
    return make_card(
        found.name,
        opened.network,
        [measure_seed(opened.network, samples, threshold)],
        data_note(opened.config, opened.splits),
        command=_commands(model, opened, options),
        energy_profile=found.profile.name,
        class_names=opened.splits.class_names or found.class_names(),
        robustness=robustness,
        protocol=[_how_chosen(opened, options)],
        created=options.created,
    )


def _commands(model: str, opened: Opened, options: CardOptions) -> list[str]:
    lines = []
    if (study := opened.model.study) is not None:
        search = study.search
        lines.append(
            f"latsearch run {study.study}.yaml --trials {search.trials} --seed {search.seed} "
            "--workers 1"
        )
    words = ["latsearch", "card", model]
    if options.decision_threshold is not None:
        words += ["--threshold", repr(options.decision_threshold)]
    if options.samples is not None:
        words += ["--samples", str(options.samples)]
    return [*lines, " ".join(words)]


def _how_chosen(opened: Opened, options: CardOptions) -> str:
    deployment = opened.model.deployment
    if options.decision_threshold is not None:
        return "The decision threshold was given by hand."
    if deployment is not None:
        return deployment.note or "The decision threshold is the one stored with the network."
    return "The decision threshold is the knee of the network's curve on the validation split."


def _read_robustness(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None
    whole = isinstance(found, dict) and found.keys() >= _OF_ROBUSTNESS and found["rows"]
    if not whole or not all(row.keys() >= _OF_EACH_ROW for row in found["rows"]):
        raise UserError(
            f"{file}: is not what `latsearch evaluate MODEL --corruptions --json FILE` writes"
        )
    return dict(found)
