"""Which networks of the front are trained anew, with which seeds, and as which variants."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latsearch import pareto
from latsearch.config import TrialConfig
from latsearch.config.pipeline import RefitStage, variant_values
from latsearch.objectives import OperatingPoint
from latsearch.pipelines.context import DATA, FRONT, Context
from latsearch.pipelines.searching import point_from_json
from latsearch.pipelines.workspace import digest_of
from latsearch.search.results import hypervolume, point_losses, reference_losses


@dataclass(frozen=True)
class Member:
    """A network of the front, or a variant of one.

    Attributes:
        trial: number of the trial that found it.
        variant: name of the variant; None for the network as it was found.
        config: what is trained.
        points: its operating points of the front that matter most.
        params: values of the searched parameters.
    """

    trial: int
    variant: str | None
    config: TrialConfig
    points: Sequence[OperatingPoint]
    params: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name in files and tables."""
        return f"{self.trial}" if self.variant is None else f"{self.trial}-{self.variant}"


@dataclass(frozen=True)
class Job:
    """One training of a member.

    Attributes:
        member: what is trained.
        index: which of its trainings.
        seed: of everything random in it.
        key: digest of everything that the result depends on.
    """

    member: Member
    index: int
    seed: int
    key: str

    @property
    def name(self) -> str:
        """Its name in files and tables."""
        return f"{self.member.name}-seed{self.index}"

    @property
    def number(self) -> int:
        """A number that no other training has: checkpoints of other settings are not taken.

        Of nine digits, as checkpoints' names have it.
        """
        return int(self.key[:12], 16) % 10**9


def jobs(context: Context) -> list[Job]:
    """Every training of the stage, in the order of the front."""
    data = context.read(DATA)
    found = {"data": data["digests"], "split": context.study_config.identity()["data"]}
    return [
        _job(member, index, context.study_config.search.seed, found)
        for member in members(context)
        for index in range(context.config.refit.seeds)
    ]


def members(context: Context) -> list[Member]:
    """The front's networks that matter most, then the variants of the one at its knee."""
    config, front = context.config.refit, context.read(FRONT)
    objectives, reference = tuple(front["objectives"]), front["reference"]
    points = [point_from_json(point) for point in front["points"]]
    knee = points[pareto.knee(point_losses(points, objectives))].trial
    trials = _most_important(points, objectives, reference, config.members)
    if config.variants and knee not in trials:  # what variants are compared with
        trials = [*trials[: config.members - 1], knee]
    found = []
    for trial in trials:
        own = [point for point in points if point.trial == trial]
        losses = point_losses(own, objectives)
        rows = pareto.thin(losses, reference_losses(reference, objectives), config.points)
        built = _trained(context, own[0], config)
        found.append(Member(trial, None, built, [own[row] for row in rows], own[0].params))
    return [*found, *_variants(next((m for m in found if m.trial == knee), found[0]), config)]


def _most_important(
    points: Sequence[OperatingPoint],
    objectives: Sequence[str],
    reference: Mapping[str, float],
    most: int,
) -> list[int]:
    """Trials that keep the front's hypervolume: the one that adds least goes, again and again."""
    trials = list(dict.fromkeys(point.trial for point in points))
    while len(trials) > most:
        left = {
            trial: hypervolume(
                [p for p in points if p.trial in trials and p.trial != trial], objectives, reference
            )
            for trial in trials
        }
        trials.remove(max(trials, key=left.__getitem__))
    return trials


def _variants(member: Member, config: RefitStage) -> Iterator[Member]:
    """The member with other values of some fields, at its knee."""
    for name, variant in config.variants.items():
        trial = member.config
        for field, value in variant_values(variant).items():
            section, _, column = field.partition(".")
            part = dataclasses.replace(getattr(trial, section), **{column: value})
            trial = dataclasses.replace(trial, **{section: part})
        yield Member(member.trial, name, trial, member.points, member.params)


def _trained(context: Context, point: OperatingPoint, config: RefitStage) -> TrialConfig:
    trial = context.study_config.space.trial(point.params)
    if config.epochs is None:
        return trial
    return dataclasses.replace(trial, train=dataclasses.replace(trial.train, epochs=config.epochs))


def _job(member: Member, index: int, seed: int, data: Mapping[str, Any]) -> Job:
    # the third word keeps these seeds apart from the search's own
    words = [seed, member.trial, 2, index]
    own = int(np.random.SeedSequence(words).generate_state(1)[0])
    key = digest_of({"trial": dataclasses.asdict(member.config), "seed": own, **data})
    return Job(member, index, own, key)
