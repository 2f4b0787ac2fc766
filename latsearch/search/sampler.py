"""Who proposes the next trial: `Sampler`, and Optuna's samplers behind it.

A sampler is a pure function of what was observed, the number of the next trial and the study's
seed, so that a search that goes on after a crash proposes what it would have proposed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from latsearch import pareto
from latsearch.config import Parameter, Space, Value
from latsearch.objectives import DecisionCurve, FloatArray
from latsearch.search.results import Constraints, Objectives, best_rows, curve_losses, violations

_STARTUP_TRIALS = 10  # proposed at random before a model is fitted
_ROWS_A_TRIAL = 4  # a curve's rows that a model sees; more weigh one training too much


@dataclass(frozen=True)
class Observation:
    """What a sampler knows of one trial.

    Attributes:
        values: values of its searched parameters.
        losses: ``[R, M]`` rows of its curve on the scale of fronts, M objectives; None while it
            runs. No rows where it failed.
        violation: by how much its rows break the constraints; 0 where they keep them.
    """

    values: Mapping[str, Value]
    losses: FloatArray | None
    violation: float = 0.0


def observe(
    values: Mapping[str, Value],
    curve: DecisionCurve | None,
    objectives: Objectives,
    constraints: Constraints,
) -> Observation:
    """The observation of an ended trial; ``curve`` is None where it failed."""
    if curve is None:
        return Observation(values, np.empty((0, len(objectives))))
    losses = curve_losses(curve, objectives)
    rows = best_rows(curve, objectives, constraints)
    if not rows:
        broken = violations(curve, constraints)
        least = int(np.argmin(broken))
        return Observation(values, losses[[least]], float(broken[least]))
    chosen = losses[rows]
    worst = chosen.max(axis=0) + 1e-9
    return Observation(values, chosen[pareto.thin(chosen, worst, _ROWS_A_TRIAL)])


class Sampler(Protocol):
    """Proposes the values of the next trial."""

    def propose(self, history: Sequence[Observation], number: int) -> dict[str, Value]:
        """Values for the active parameters of trial ``number``, given all trials before it."""
        ...


class OptunaSampler:
    """Optuna's random and TPE samplers, fitted anew to the history at each proposal.

    Each row of a finished training is one observation (one training teaches several trade-offs);
    failed trials are shown as pruned, which TPE takes as bad; running ones as running.
    """

    def __init__(self, space: Space, objectives: int, name: str, seed: int):
        """Keep what proposals depend on.

        Args:
            space: the search space.
            objectives: how many objectives there are.
            name: ``tpe`` or ``random``.
            seed: seed of the study.
        """
        self._space = space
        self._objectives = objectives
        self._name = name
        self._seed = seed
        self._distributions = {
            parameter.name: distribution(parameter) for parameter in space.parameters
        }

    def propose(self, history: Sequence[Observation], number: int) -> dict[str, Value]:
        """Values for the active parameters of trial ``number``, given all trials before it."""
        informed = sum(observation.losses is not None for observation in history)
        sampler = self._sampler(number, informed >= _STARTUP_TRIALS)
        study = optuna.create_study(directions=["minimize"] * self._objectives, sampler=sampler)
        if not isinstance(sampler, optuna.samplers.RandomSampler):
            study.add_trials([t for seen in history for t in self._trials(seen)])
        trial = study.ask()
        return self._space.ask(lambda parameter: suggest(trial, parameter))

    def _sampler(self, number: int, informed: bool) -> optuna.samplers.BaseSampler:
        # a seed of its own for each trial: a restarted search must not repeat earlier draws
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        if self._name == "random" or not informed:
            return optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=0, multivariate=True, group=True
            )

    def _trials(self, seen: Observation) -> list[optuna.trial.FrozenTrial]:
        distributions = {name: self._distributions[name] for name in seen.values}

        def trial(state: optuna.trial.TrialState, **more: object) -> optuna.trial.FrozenTrial:
            return optuna.trial.create_trial(
                state=state,
                params=dict(seen.values),
                distributions=distributions,
                **more,  # type: ignore[arg-type]
            )

        if seen.losses is None:
            return [trial(optuna.trial.TrialState.RUNNING)]
        if len(seen.losses) == 0:
            return [trial(optuna.trial.TrialState.PRUNED)]
        constraints = {"rows": seen.violation}
        return [
            trial(optuna.trial.TrialState.COMPLETE, values=list(row), constraints=constraints)
            for row in seen.losses
        ]


def distribution(parameter: Parameter) -> BaseDistribution:
    """Optuna's distribution of a parameter."""
    if parameter.kind == "categorical":
        return CategoricalDistribution(parameter.choices)
    assert parameter.low is not None
    assert parameter.high is not None
    if parameter.kind == "int":
        return IntDistribution(
            int(parameter.low),
            int(parameter.high),
            log=parameter.log,
            step=int(parameter.step or 1),
        )
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def suggest(trial: optuna.Trial, parameter: Parameter) -> Value:
    """Ask Optuna's trial for a value of the parameter."""
    if parameter.kind == "categorical":
        return trial.suggest_categorical(parameter.name, parameter.choices)
    assert parameter.low is not None
    assert parameter.high is not None
    if parameter.kind == "int":
        low, high, step = int(parameter.low), int(parameter.high), int(parameter.step or 1)
        return trial.suggest_int(parameter.name, low, high, log=parameter.log, step=step)
    return trial.suggest_float(
        parameter.name, parameter.low, parameter.high, log=parameter.log, step=parameter.step
    )
