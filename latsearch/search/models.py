"""The samplers by name: which of Optuna's samplers, and how it is shown the trials before.

A sampler is made anew for each proposal, from a seed of the proposal's own, and shown an
in-memory study that is rebuilt from the history. So nothing has to be restored after a crash.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from latsearch.config import Space, Value
from latsearch.search.distributions import distribution
from latsearch.search.observations import Observation, best_and_newest
from latsearch.search.points import identity, value_at

_STARTUP_TRIALS = 10  # ended ones, proposed at random before a model is fitted
_GENERATION = 40  # rows of a generation: some ten trainings
_MOST_TRIALS = 600  # that a model is shown
_MOST_TRIALS_GP = 40  # its cost grows with the cube of the rows
_ROW = "row"  # which of a curve's rows: a parameter of the Gaussian processes alone


@dataclass(frozen=True)
class Request:
    """What a proposal depends on besides the history.

    Attributes:
        space: the search space.
        number: number of the next trial.
        seed: seed of this proposal alone.
        study_seed: seed of the study.
        known: observations in Optuna's words, from proposals before; they are shown again and
            again, and changed by nobody.
    """

    space: Space
    number: int
    seed: int
    study_seed: int
    known: MutableMapping[Observation, list[FrozenTrial]]

    @cached_property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """Optuna's distribution of each parameter, and of the place along a curve."""
        known = {parameter.name: distribution(parameter) for parameter in self.space.parameters}
        return {**known, _ROW: FloatDistribution(0.0, 1.0)}

    def shown(
        self, seen: Observation, convert: Callable[[Request, Observation], list[FrozenTrial]]
    ) -> list[FrozenTrial]:
        """The observation in Optuna's words, converted once."""
        if seen not in self.known:
            self.known[seen] = convert(self, seen)
        return self.known[seen]


@dataclass(frozen=True)
class Model:
    """A kind of sampler.

    Attributes:
        sampler: makes it.
        shown: the history as Optuna's trials.
        startup_trials: ended trials that it needs; before, proposals are random.
        within: what it proposes within.
    """

    sampler: Callable[[Request], BaseSampler]
    shown: Callable[[Request, Sequence[Observation]], list[FrozenTrial]]
    startup_trials: int = 0
    within: Callable[[], AbstractContextManager[None]] = nullcontext


# --- without a model ----------------------------------------------------------------------------


def _random(request: Request) -> BaseSampler:
    return optuna.samplers.RandomSampler(seed=request.seed)


def _nothing(request: Request, history: Sequence[Observation]) -> list[FrozenTrial]:
    return []


class _At(BaseSampler):
    """Proposes one point of the unit cube, a coordinate for each parameter of the space."""

    def __init__(self, space: Space, units: Sequence[float]):
        self._places = {p.name: (p, unit) for p, unit in zip(space.parameters, units, strict=True)}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Value:
        return value_at(*self._places[param_name])


def _qmc(request: Request) -> BaseSampler:
    """Point ``number`` of the study's scrambled Sobol sequence.

    Optuna's own counts its points in the storage and draws conditional parameters at random; here
    a parameter keeps its coordinate whether it is active or not.
    """
    from scipy.stats import qmc  # type: ignore[import-untyped]  # half a second to import

    sequence = qmc.Sobol(len(request.space.parameters), seed=request.study_seed)
    if request.number:
        sequence.fast_forward(request.number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that one point is no power of two
        units = sequence.random(1)[0]
    return _At(request.space, [min(float(unit), 1 - 1e-12) for unit in units])


# --- TPE ----------------------------------------------------------------------------------------


def _tpe(request: Request) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=request.seed, n_startup_trials=0, multivariate=True, group=True
        )


def _all_rows(request: Request, history: Sequence[Observation]) -> list[FrozenTrial]:
    """Each row an observation; running as running; failed and stopped as pruned, which is bad."""
    recent = best_and_newest(history, _MOST_TRIALS)
    return [trial for seen in recent for trial in request.shown(seen, _rows)]


def _rows(request: Request, seen: Observation) -> list[FrozenTrial]:
    if seen.losses is None:
        return [_trial(request, seen.values, TrialState.RUNNING)]
    if not seen.measured:
        return [_trial(request, seen.values, TrialState.PRUNED)]
    return [_measured(request, seen.values, seen, row) for row in seen.losses]


# --- genetic ------------------------------------------------------------------------------------


def _nsgaii(request: Request) -> BaseSampler:
    return optuna.samplers.NSGAIISampler(seed=request.seed, population_size=_GENERATION)


def _nsgaiii(request: Request) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.NSGAIIISampler(seed=request.seed, population_size=_GENERATION)


def _closed_generations(key: str) -> Callable[[Request, Sequence[Observation]], list[FrozenTrial]]:
    """How the genetic samplers are shown the history; ``key`` is where they keep a generation.

    Generations are read off the history: measured trials in the order of their numbers, a
    generation is full with `_GENERATION` rows. All full ones are shown as one, of which Optuna
    selects the parents; the one that is being filled is not shown, so that parents stay the same
    within a generation. Selecting from all former rows (an archive) rather than from parents and
    children never loses a good one, and needs no state.

    A conditional parameter that was inactive is a silent gene, drawn at random once and passed on:
    without it Optuna would not cross over conditional parameters at all.
    """

    def convert(request: Request, seen: Observation) -> list[FrozenTrial]:
        point = crc32(repr(identity(seen.values)).encode())
        units = np.random.default_rng([request.study_seed, point]).random(
            len(request.space.parameters)
        )
        values = _all_values(request.space, seen.values, [float(unit) for unit in units])
        rows = np.asarray(seen.losses)
        return [_measured(request, values, seen, row, system_attrs={key: 0}) for row in rows]

    def shown(request: Request, history: Sequence[Observation]) -> list[FrozenTrial]:
        closed = _closed([seen for seen in history if seen.measured])
        recent = best_and_newest(closed, _MOST_TRIALS)
        return [trial for seen in recent for trial in request.shown(seen, convert)]

    return shown


def _closed(measured: Sequence[Observation]) -> Sequence[Observation]:
    """The observations of the generations that are full."""
    end, rows = 0, 0
    for index, seen in enumerate(measured, start=1):
        rows += len(np.asarray(seen.losses))
        if rows >= _GENERATION:
            end, rows = index, 0
    return measured[:end]


# --- Gaussian processes -------------------------------------------------------------------------


def _gp(request: Request) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.GPSampler(
            seed=request.seed,
            n_startup_trials=1,
            deterministic_objective=False,
            warn_independent_sampling=False,
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Its matrices are small: threads only wait for each other, most of all on busy cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _rows_at_places(request: Request, history: Sequence[Observation]) -> list[FrozenTrial]:
    """Each row an observation at a place of its own along the curve, 0 to 1.

    A process can have one value at a point: which row it is becomes a parameter of the model,
    which nobody asks for afterwards. Inactive parameters are set to their middle.
    """
    middle = [0.5] * len(request.space.parameters)
    shown = []
    known = [seen for seen in history if seen.losses is None or seen.measured]
    for seen in best_and_newest(known, _MOST_TRIALS_GP):
        values = _all_values(request.space, seen.values, middle)
        if seen.losses is None:
            shown.append(_trial(request, {**values, _ROW: 0.5}, TrialState.RUNNING))
            continue
        places = np.linspace(0, 1, len(seen.losses)) if len(seen.losses) > 1 else [0.5]
        for place, row in zip(places, seen.losses, strict=True):
            shown.append(_measured(request, {**values, _ROW: float(place)}, seen, row))
    return shown


# --- in Optuna's words --------------------------------------------------------------------------


def _trial(
    request: Request,
    params: Mapping[str, Value],
    state: TrialState,
    values: Sequence[float] | None = None,
    **more: Any,
) -> FrozenTrial:
    return create_trial(
        state=state,
        params=dict(params),
        distributions={name: request.distributions[name] for name in params},
        values=values,
        **more,
    )


def _measured(
    request: Request, params: Mapping[str, Value], seen: Observation, row: Any, **more: Any
) -> FrozenTrial:
    constraints = {"rows": seen.violation}
    losses = [float(loss) for loss in row]
    return _trial(request, params, TrialState.COMPLETE, losses, constraints=constraints, **more)


def _all_values(
    space: Space, values: Mapping[str, Value], units: Sequence[float]
) -> dict[str, Value]:
    """The values, and for each inactive parameter the one at its coordinate."""
    return {
        p.name: values[p.name] if p.name in values else value_at(p, unit)
        for p, unit in zip(space.parameters, units, strict=True)
    }


def study_with(
    trials: Sequence[FrozenTrial], objectives: int, sampler: BaseSampler
) -> optuna.Study:
    """A study in memory that has these trials.

    They are put there as they are: Optuna would copy each one deeply, which costs more than the
    proposal itself.
    """
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(
        storage=storage, directions=["minimize"] * objectives, sampler=sampler
    )
    for number, trial in enumerate(trials):
        trial.number = trial._trial_id = number
        storage._trial_id_to_study_id_and_number[number] = (study._study_id, number)
    storage._studies[study._study_id].trials.extend(trials)
    storage._max_trial_id = len(trials) - 1
    return study


MODELS: Mapping[str, Model] = {
    "random": Model(_random, _nothing),
    "qmc": Model(_qmc, _nothing),
    "tpe": Model(_tpe, _all_rows, _STARTUP_TRIALS),
    "nsgaii": Model(_nsgaii, _closed_generations("NSGAIISampler:generation")),
    "nsgaiii": Model(_nsgaiii, _closed_generations("NSGAIIISampler:generation")),
    "gp": Model(_gp, _rows_at_places, _STARTUP_TRIALS, _one_thread),
}
