"""A model card as data, and the two files it becomes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latsearch.cards.figures import SeedFigures, Spread
from latsearch.errors import UserError

FORMAT_VERSION = 1
JSON_FILE, MARKDOWN_FILE = "model_card.json", "model_card.md"


@dataclass(frozen=True, kw_only=True)
class DataNote:
    """What a network was trained and measured on.

    Attributes:
        name: of the data set.
        title: what it is, in a few words.
        split: name of the split that the card's figures are of, e.g. ``test``.
        train: samples that the weights were trained on.
        validation: samples that everything was chosen on.
        test: samples of the test split, those that were not measured included.
        latency_unit: ``timesteps``, of event data ``ms``.
    """

    name: str
    title: str
    split: str
    train: int
    validation: int
    test: int
    latency_unit: str = "timesteps"


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How the figures come about again.

    Attributes:
        command: the commands, in order.
        seeds: of the trainings.
        versions: of what ran, by name.
        commit: of latsearch's git repository; None where it was installed from a package.
    """

    command: tuple[str, ...]
    seeds: tuple[int, ...]
    versions: Mapping[str, str]
    commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Everything that a card tells of a network.

    Attributes:
        name: of the network.
        input_shape: ``(C, H, W)`` of an image, ``(P, H, W)`` of an event frame.
        classes: how many.
        class_names: their names; empty where they have numbers alone.
        timesteps: T.
        weights: type of the weights, e.g. ``float32``.
        parameters: how many are learned.
        network: its configuration, by field.
        training: that of its training, by field.
        data: what it was trained and measured on.
        protocol: how it was chosen and measured, in sentences.
        rule: what decides, a key of `decoding.RULES`.
        seeds: the figures of each training, one or more.
        energy_profile: the profile that the network was chosen by.
        prices: what an operation costs, by profile.
        counting: what is counted, by profile.
        robustness: what ``latsearch evaluate --corruptions --json`` wrote; None: not measured.
        limits: what the figures do not say, in sentences.
        reproduction: how they come about again.
        created: a date to print; None for none, so that equal inputs give equal files.
    """

    name: str
    input_shape: tuple[int, int, int]
    classes: int
    class_names: tuple[str, ...]
    timesteps: int
    weights: str
    parameters: int
    network: Mapping[str, Any]
    training: Mapping[str, Any]
    data: DataNote
    protocol: tuple[str, ...]
    rule: str
    seeds: tuple[SeedFigures, ...]
    energy_profile: str
    prices: Mapping[str, str]
    counting: Mapping[str, str]
    robustness: Mapping[str, Any] | None
    limits: tuple[str, ...]
    reproduction: Reproduction
    created: str | None = None

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("a card needs the figures of one training at least")

    @property
    def accuracy(self) -> Spread:
        """Accuracy over the seeds."""
        return Spread.of([seed.accuracy for seed in self.seeds])

    @property
    def latency(self) -> Spread:
        """Mean decision time over the seeds."""
        return Spread.of([seed.latency for seed in self.seeds])

    @property
    def silent_fraction(self) -> Spread:
        """Fraction of the samples without an output spike, over the seeds."""
        return Spread.of([seed.silent / seed.samples for seed in self.seeds])

    @property
    def decision_times(self) -> tuple[int, ...]:
        """Samples of all seeds that decide at each timestep 1..T."""
        counts = zip(*(seed.decision_times for seed in self.seeds), strict=True)
        return tuple(sum(column) for column in counts)

    def energy(self, profile: str) -> Spread:
        """Mean energy of an inference in nJ under a profile, over the seeds."""
        return Spread.of([seed.energy[profile] for seed in self.seeds])

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the card, and what is computed over its seeds under ``results``."""
        low, high = self.seeds[0].interval
        results = {
            "accuracy": asdict(self.accuracy),
            "accuracy_interval_95": [low, high] if len(self.seeds) == 1 else None,
            "latency": asdict(self.latency),
            "latency_unit": self.data.latency_unit,
            "silent_fraction": asdict(self.silent_fraction),
            "decision_times": list(self.decision_times),
            "energy_nJ": {name: asdict(self.energy(name)) for name in self.prices},
        }
        return {
            "version": FORMAT_VERSION,
            **asdict(self),
            "seeds": [seed.to_json() for seed in self.seeds],
            "results": results,
        }


def write_card(card: ModelCard, folder: Path) -> tuple[Path, Path]:
    """Write a card as Markdown and as JSON; where they are.

    Equal cards give equal files.

    Args:
        card: the card.
        folder: made where it is missing.

    Raises:
        UserError: a file cannot be written.
    """
    from latsearch.cards.markdown import markdown

    texts = {
        MARKDOWN_FILE: markdown(card),
        JSON_FILE: json.dumps(card.to_json(), indent=1, ensure_ascii=False) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            aside = folder / f".{name}.part"
            aside.write_text(text, encoding="utf-8")
            os.replace(aside, folder / name)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None
    return folder / MARKDOWN_FILE, folder / JSON_FILE
