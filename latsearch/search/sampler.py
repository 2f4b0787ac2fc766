"""Who proposes the next trial: `Sampler`, and Optuna's samplers behind it.

A sampler is a pure function of what was observed, the number of the next trial and the study's
seed, so that a search that goes on after a crash proposes what it would have proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
from optuna.trial import FrozenTrial

from latsearch.config import Space, StudyConfig, Value
from latsearch.search.distributions import suggest
from latsearch.search.models import MODELS, Request, study_with
from latsearch.search.observations import Observation


class Sampler(Protocol):
    """Proposes the values of the next trial."""

    def propose(
        self, history: Sequence[Observation], number: int, attempt: int = 0
    ) -> dict[str, Value]:
        """Values for the active parameters of trial ``number``, given all trials before it.

        Args:
            history: the trials before it by number.
            number: number of the trial.
            attempt: how many proposals for this trial were refused as duplicates; another one is
                drawn from another seed.
        """
        ...


def sampler_for(
    config: StudyConfig,
    reference: Mapping[str, float],
    cost: Callable[[Mapping[str, Value]], float] | None = None,
    ceilings: Callable[[Mapping[str, Value]], Mapping[str, float]] | None = None,
) -> Sampler:
    """The sampler that a study asks for.

    Args:
        config: the study.
        reference: its hypervolume's reference point by objective.
        cost: of a full training, for a sampler that weighs it; None: its epochs.
        ceilings: the most that a configuration allows, by objective, for a sampler that models
            what is measured in relation to it; None: nothing is known.
    """
    search, objectives = config.search, tuple(config.objectives)
    if search.chosen_sampler != "curves":
        return OptunaSampler(config.space, len(objectives), search.chosen_sampler, search.seed)
    from latsearch.search.curve_sampler import CurveSampler  # scipy takes half a second to import

    def epochs(values: Mapping[str, Value]) -> float:
        return float(config.space.trial(values).train.epochs)

    start = OptunaSampler(config.space, len(objectives), "qmc", search.seed)
    return CurveSampler(
        config.space, reference, search.seed, start, cost or epochs, ceilings or _none_known
    )


def _none_known(values: Mapping[str, Value]) -> Mapping[str, float]:
    return {}


class OptunaSampler:
    """Optuna's samplers, made and fitted anew at each proposal (`models` says how).

    Each row of a finished training is one observation (one training teaches several trade-offs).
    """

    def __init__(self, space: Space, objectives: int, name: str, seed: int):
        """Keep what proposals depend on.

        Args:
            space: the search space.
            objectives: how many objectives there are.
            name: one of `models.MODELS`.
            seed: seed of the study.
        """
        self._space = space
        self._objectives = objectives
        self._name = name
        self._seed = seed
        self._known: WeakKeyDictionary[Observation, list[FrozenTrial]] = WeakKeyDictionary()

    def propose(
        self, history: Sequence[Observation], number: int, attempt: int = 0
    ) -> dict[str, Value]:
        """Values for the active parameters of trial ``number``, given all trials before it."""
        # a seed of its own for each trial: a restarted search must not repeat earlier draws
        entropy = np.random.SeedSequence([self._seed, number, attempt])
        seed = int(entropy.generate_state(1)[0])
        request = Request(self._space, number, seed, self._seed, self._known)
        model = MODELS[self._name]
        ended = sum(seen.trained for seen in history)
        # a sequence has one point for a trial: where that was refused, a random one
        if ended < model.startup_trials or (attempt and self._name == "qmc"):
            model = MODELS["random"]
        shown = model.shown(request, history)
        study = study_with(shown, self._objectives, model.sampler(request))
        with model.within():
            trial = study.ask()
            return self._space.ask(lambda parameter: suggest(trial, parameter))
