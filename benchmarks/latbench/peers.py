"""The other search tools, each as its own documentation says, behind one small interface.

All get the same encoding: an axis of numbers is an integer from 0 to its length - 1, an axis of
names a category; objectives as losses (accuracy negated, energy as log10). Where the decision
threshold is a hyperparameter, it is one more integer axis.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import optuna
from latbench.scoring import THRESHOLDS

from latsearch.config import Bound, Value
from latsearch.objectives import DecisionCurve

optuna.logging.set_verbosity(optuna.logging.ERROR)
LOSSES = ("loss0", "loss1", "loss2")
_THRESHOLD = "decision_threshold"

Axes = Mapping[str, tuple[Value, ...]]
Constraints = Mapping[str, Bound]
Proposal = tuple[Any, dict[str, Value], int | None]


@dataclass(frozen=True)
class Told:
    """What a peer is told of an epoch: one row's losses, and by how much it breaks constraints.

    Attributes:
        epoch: epochs trained.
        losses: ``[3]``.
        violation: 0 where the row keeps the constraints.
        curve: the whole curve, in the setting in which peers get ours.
    """

    epoch: int
    losses: np.ndarray
    violation: float
    curve: DecisionCurve | None


class Peer(Protocol):
    """A search tool.

    Attributes:
        reports: whether it wants to hear of every epoch, and may stop a training there.
    """

    reports: bool

    def ask(self) -> Proposal:
        """A handle, values of the axes, and the index of a decision threshold (None: not asked)."""
        ...

    def report(self, handle: Any, told: Told) -> bool:
        """Hear of an epoch; whether the training goes on."""
        ...

    def tell(self, handle: Any, told: Told) -> None:
        """Hear of the end of a full training."""
        ...


class Encoding:
    """The axes in the words of the tools.

    Args:
        axes: the grid's.
        threshold: whether the decision threshold is one more axis.
    """

    def __init__(self, axes: Axes, threshold: bool):
        self.axes = axes
        self.threshold = threshold

    def sizes(self) -> dict[str, int]:
        """Number of values of each axis."""
        sizes = {name: len(values) for name, values in self.axes.items()}
        return sizes | ({_THRESHOLD: len(THRESHOLDS)} if self.threshold else {})

    def ordered(self, name: str) -> bool:
        """Whether an axis is one of numbers."""
        return name == _THRESHOLD or not isinstance(self.axes[name][0], str)

    def decode(self, places: Mapping[str, int]) -> tuple[dict[str, Value], int | None]:
        """Values of the axes, and the index of the decision threshold."""
        values = {name: axis[int(places[name])] for name, axis in self.axes.items()}
        return values, int(places[_THRESHOLD]) if self.threshold else None

    def optuna(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """Optuna's distributions."""
        return {
            name: optuna.distributions.IntDistribution(0, size - 1)
            if self.ordered(name)
            else optuna.distributions.CategoricalDistribution(list(range(size)))
            for name, size in self.sizes().items()
        }

    def syne_tune(self) -> dict[str, Any]:
        """Syne Tune's search space."""
        from syne_tune.config_space import choice, randint

        return {
            name: randint(0, size - 1) if self.ordered(name) else choice(list(range(size)))
            for name, size in self.sizes().items()
        }


class OptunaPeer:
    """Optuna's ask and tell; full trainings, for its pruners refuse several objectives."""

    reports = False

    def __init__(self, encoding: Encoding, sampler: optuna.samplers.BaseSampler):
        self._encoding = encoding
        self._space = encoding.optuna()
        self._study = optuna.create_study(directions=["minimize"] * 3, sampler=sampler)

    def ask(self) -> Proposal:
        """See `Peer`."""
        trial = self._study.ask(self._space)
        return trial, *self._encoding.decode(trial.params)

    def report(self, handle: Any, told: Told) -> bool:
        """See `Peer`."""
        return True

    def tell(self, handle: Any, told: Told) -> None:
        """See `Peer`."""
        handle.set_constraint("rows", told.violation)
        self._study.tell(handle, [float(value) for value in told.losses])


class RayPeer:
    """Ray Tune's OptunaSearch, driven through its Searcher interface; it takes no constraints."""

    reports = False

    def __init__(self, encoding: Encoding, seed: int):
        from ray.tune.search.optuna import OptunaSearch

        self._encoding = encoding
        self._searcher = OptunaSearch(
            space=encoding.optuna(), metric=list(LOSSES), mode=["min"] * 3, seed=seed
        )
        self._count = 0

    def ask(self) -> Proposal:
        """See `Peer`."""
        self._count += 1
        handle = f"trial{self._count}"
        return handle, *self._encoding.decode(self._searcher.suggest(handle))

    def report(self, handle: Any, told: Told) -> bool:
        """See `Peer`."""
        return True

    def tell(self, handle: Any, told: Told) -> None:
        """See `Peer`."""
        self._searcher.on_trial_complete(handle, _result(told))


class SyneTunePeer:
    """A scheduler of Syne Tune, driven through its own interface; it takes no constraints."""

    def __init__(self, encoding: Encoding, make: Callable[[dict[str, Any]], Any], reports: bool):
        from syne_tune.backend.trial_status import Trial

        self.reports = reports
        self._encoding = encoding
        self._scheduler = make(encoding.syne_tune())
        self._trial = Trial
        self._count = 0

    def ask(self) -> Proposal:
        """See `Peer`."""
        import datetime

        config = self._scheduler.suggest().config
        trial = self._trial(self._count, config, datetime.datetime(2026, 1, 1))
        self._count += 1
        self._scheduler.on_trial_add(trial)
        return trial, *self._encoding.decode(config)

    def report(self, handle: Any, told: Told) -> bool:
        """See `Peer`."""
        return self._scheduler.on_trial_result(handle, _result(told)) == "CONTINUE"

    def tell(self, handle: Any, told: Told) -> None:
        """See `Peer`."""
        if not self.reports:
            self._scheduler.on_trial_result(handle, _result(told))
        self._scheduler.on_trial_complete(handle, _result(told))


def _result(told: Told) -> dict[str, float]:
    losses = {name: float(value) for name, value in zip(LOSSES, told.losses, strict=True)}
    return {**losses, "epoch": told.epoch}


def make_peer(name: str, encoding: Encoding, seed: int, epochs: int) -> Peer:
    """A peer by name, its random numbers from the seed."""
    random.seed(seed)
    np.random.seed(seed)  # Syne Tune's MOASHA draws from the global generators
    if name in _OPTUNA:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return OptunaPeer(encoding, _OPTUNA[name](seed))
    if name == "ray-optuna":
        return RayPeer(encoding, seed)
    return SyneTunePeer(
        encoding, lambda space: _SYNE_TUNE[name](space, seed, epochs), "moasha" in name
    )


_OPTUNA: Mapping[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "optuna-tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "optuna-nsgaii": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
    "optuna-gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
}


def _moasha(space: dict[str, Any], seed: int, epochs: int, priority: Any = None) -> Any:
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

    return MOASHA(
        space,
        metrics=list(LOSSES),
        time_attr="epoch",
        max_t=epochs,
        multiobjective_priority=priority,
        random_seed=seed,
    )


def _moasha_corrected(space: dict[str, Any], seed: int, epochs: int) -> Any:
    return _moasha(space, seed, epochs, _ranks)


def _evolution(space: dict[str, Any], seed: int, epochs: int) -> Any:
    from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution
    from syne_tune.optimizer.schedulers.single_fidelity_scheduler import SingleFidelityScheduler

    searcher = MultiObjectiveRegularizedEvolution(space, random_seed=seed)
    return SingleFidelityScheduler(space, metrics=list(LOSSES), searcher=searcher, random_seed=seed)


_SYNE_TUNE: Mapping[str, Callable[[dict[str, Any], int, int], Any]] = {
    "syne-moasha": _moasha,
    "syne-moasha-corrected": _moasha_corrected,
    "syne-evolution": _evolution,
}


def _ranks(losses: np.ndarray) -> np.ndarray:
    """What MOASHA's priority means to be: each row's place in the nondominated sort.

    Within a front the order is farthest first, starting at the best of the first objective. The
    release returns the sorted indices themselves, which are then compared as if they were ranks.
    """
    import moocore

    fronts = moocore.pareto_rank(losses)
    ranks, place = np.empty(len(losses)), 0
    for front in np.unique(fronts):
        left = list(np.flatnonzero(fronts == front))
        chosen = left.pop(int(np.argmin(losses[left, 0])))
        distance = np.full(len(losses), np.inf)
        while True:
            ranks[chosen], place = place, place + 1
            if not left:
                break
            distance = np.minimum(distance, np.linalg.norm(losses - losses[chosen], axis=1))
            chosen = left.pop(int(np.argmax(distance[left])))
    return ranks


PEERS = (*_OPTUNA, "ray-optuna", *_SYNE_TUNE)
