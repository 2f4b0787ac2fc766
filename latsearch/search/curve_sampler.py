"""The sampler ``curves``: Bayesian optimisation whose observations are whole decision curves.

A training is observed at a few stages of its progress, also one that was stopped early. For each
objective a Gaussian process predicts the curve, at `KNOTS` places along it, from the configuration
and the progress; another one the cost of a full training, which is computed, never measured
(`cost`), so that proposals are the same in every run. Latency and energy are predicted as shares of
the most that the configuration allows (`ceilings`), which is computed too: that a network of twice
the neurons takes about twice the energy has not to be learnt from trials. With the front F of what
was measured, the next trial is the x with the most hypervolume that its full training should add
for its cost,

    a(x) = E[ HV(F ∪ curve(x)) − HV(F) ] / cost(x).

The expectation is the mean of draws in which one normal deviate for each objective moves the whole
curve. Trials that still run count as trained, with the curves that are predicted for them, so
that many workers are given different things to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from latsearch import pareto
from latsearch.config import Space, Value
from latsearch.errors import LatsearchError
from latsearch.objectives import FloatArray
from latsearch.search.observations import Observation, Stage
from latsearch.search.points import coordinates, identity, random_point
from latsearch.search.processes import fit, one_thread
from latsearch.search.results import reference_losses
from latsearch.search.scales import Ceilings, Scales

if TYPE_CHECKING:
    from latsearch.search.sampler import Sampler

KNOTS = 8  # places along a curve that are predicted
STARTUP_TRIALS = 4  # that have to be measured before a model is fitted
_CHEAPEST_OF = 3  # points, of which one is a trial's, where others run before there is a model
_MOST_TRIALS = 100  # that the processes are fitted to
_MOST_ROWS = 160  # of trials and stages together: the cost of a fit grows with the cube
_MOST_RUNNING = 64  # that count as trained
_RANDOM = 192  # candidates drawn from the whole space
_NEAR = 192  # candidates that differ from a member of the front in one field or two
_FINALISTS = 24  # candidates, by an optimistic estimate, whose expectation is computed
_DRAWS = 16
_OPTIMISM = 1.0  # standard deviations of the optimistic estimate
_HALVINGS = 4.0  # of the budget, which the progress 0..1 spans

Values = Mapping[str, Value]
Cost = Callable[[Values], float]


class CurveSampler:
    """Proposes by a model of curves; see the module."""

    def __init__(
        self,
        space: Space,
        reference: Mapping[str, float],
        seed: int,
        start: Sampler,
        cost: Cost,
        ceilings: Ceilings,
    ):
        """Keep what proposals depend on.

        Args:
            space: the search space.
            reference: the hypervolume's reference point by objective.
            seed: of the study.
            start: proposes until enough trials are measured.
            cost: of a full training with these values, in any unit.
            ceilings: the most that these values allow, by objective; none where nothing is known.
        """
        self._cost = cost
        self._scales = Scales(space, tuple(reference), ceilings, seed)
        self._space = space
        self._objectives = tuple(reference)
        self._reference = reference_losses(reference, self._objectives)
        self._seed = seed
        self._start = start

    def propose(
        self, history: Sequence[Observation], number: int, attempt: int = 0
    ) -> dict[str, Value]:
        """Values for the active parameters of trial ``number``, given all trials before it."""
        measured = [seen for seen in history if seen.stages]
        if len(measured) < STARTUP_TRIALS:
            return self._blind(history, number, attempt)
        with one_thread():
            return self._propose(history, measured, number, attempt)

    def _blind(self, history: Sequence[Observation], number: int, attempt: int) -> dict[str, Value]:
        """A point before there is a model; beside running trials the cheapest of a few.

        Where many workers start at once most of the first trials tell the same: that little. Cheap
        ones tell it sooner, and for less.
        """
        if not _running(history):
            return self._start.propose(history, number, attempt)
        numbers = range(_CHEAPEST_OF * number, _CHEAPEST_OF * (number + 1))
        drawn = [self._start.propose(history, index, attempt) for index in numbers]
        return min(drawn, key=self._price)

    def _price(self, values: Values) -> float:
        """The cost; of a network that cannot be built there is none."""
        try:
            return self._cost(values)
        except LatsearchError:
            return math.inf

    def _propose(
        self,
        history: Sequence[Observation],
        measured: Sequence[Observation],
        number: int,
        attempt: int,
    ) -> dict[str, Value]:
        generator = np.random.default_rng([self._seed, number, attempt, 2])
        model = _CurveModel(self._space, measured, _running(history), self._cost, self._scales)
        front, members = _front(measured)
        known = {identity(seen.values) for seen in history}
        points = {identity(point): point for point in self._candidates(members, generator)}
        new = [point for key, point in points.items() if key not in known]
        if not new:
            return random_point(self._space, generator)
        mean, deviation, cost = model.predict(new)
        floor = self._floor(measured)
        front = np.concatenate([front, model.running])
        hoped = np.maximum(mean - _OPTIMISM * deviation, floor)
        hopes = self._added(front, hoped) / cost
        best = np.argsort(-hopes, kind="stable")[:_FINALISTS]
        draws = generator.standard_normal((_DRAWS, 1, 1, mean.shape[-1]))
        drawn = np.maximum(mean[best] + draws * deviation[best], floor)
        added = [self._added(front, curves) for curves in drawn]
        return new[int(best[np.argmax(np.mean(added, axis=0) / cost[best])])]

    def _floor(self, measured: Sequence[Observation]) -> FloatArray:
        """Losses that no curve can go below, ``[M]``: a draw must not promise the impossible.

        No accuracy is above 1, and nobody decides before the earliest decision that was measured.
        """
        earliest = np.min([seen.stages[-1].losses.min(axis=0) for seen in measured], axis=0)
        bounds = {"accuracy": -1.0, "energy": -np.inf}
        return np.array([bounds.get(name, earliest[i]) for i, name in enumerate(self._objectives)])

    def _added(self, front: FloatArray, curves: FloatArray) -> FloatArray:
        """Hypervolume that each curve of ``[P, Q, M]`` alone adds to the front, ``[P]``."""
        front = front[pareto.nondominated(front)]
        whole = pareto.hypervolume(front, self._reference)
        joined = (np.concatenate([front, curve]) for curve in curves)
        return np.array([pareto.hypervolume(rows, self._reference) - whole for rows in joined])

    def _candidates(
        self, members: Sequence[Values], generator: np.random.Generator
    ) -> Iterator[dict[str, Value]]:
        for _ in range(_RANDOM):
            yield random_point(self._space, generator)
        names = [parameter.name for parameter in self._space.parameters]
        for _ in range(_NEAR):
            parent = members[int(generator.integers(len(members)))]
            count = min(len(names), 1 + int(generator.integers(2)))
            changed = set(generator.choice(names, size=count, replace=False))
            kept = {name: value for name, value in parent.items() if name not in changed}
            yield random_point(self._space, generator, kept)


class _CurveModel:
    """What is predicted of full trainings.

    Attributes:
        running: ``[R, M]`` rows that are expected of the trials that run.
    """

    def __init__(
        self,
        space: Space,
        measured: Sequence[Observation],
        running: Sequence[Values],
        cost: Cost,
        scales: Scales,
    ):
        self._space = space
        self._scales = scales
        stages = _stages(measured)
        inputs = [self._place(values, stage.share) for values, stage in stages]
        curves = [_knots(stage) for _, stage in stages]
        ends = [seen.values for seen in measured[-_MOST_TRIALS:]]
        full = [self._place(values) for values in ends]
        costs = [[np.log(cost(values))] for values in ends]
        offset, factor = scales.of([values for values, _ in stages])
        outputs = (np.stack(curves) - offset) / factor  # [N, Q, M]
        self._curves = [
            fit(np.array(inputs), outputs[:, :, column]) for column in range(outputs.shape[-1])
        ]
        self._costs = fit(np.array(full), np.array(costs))
        self.running = outputs[:0].reshape(0, outputs.shape[-1])
        if running:
            mean, _, _ = self.predict(running)
            self.running = mean.reshape(-1, mean.shape[-1])
            places = np.array([self._place(values) for values in running])
            self._curves = [process.believing(places) for process in self._curves]

    def predict(self, points: Sequence[Values]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean and deviation of the curves ``[P, Q, M]``, and the cost ``[P]``."""
        places = np.array([self._place(values) for values in points])
        found = [process.predict(places) for process in self._curves]
        costs, _ = self._costs.predict(places)
        offset, factor = self._scales.of(points)
        return (
            np.stack([mean for mean, _ in found], axis=-1) * factor + offset,
            np.stack([deviation for _, deviation in found], axis=-1) * factor,
            np.exp(costs[:, 0]),
        )

    def _place(self, values: Values, share: float = 1.0) -> list[float]:
        """Inputs of a configuration after a share of its budget."""
        progress = max(0.0, 1.0 + float(np.log2(share)) / _HALVINGS)
        return [*coordinates(self._space, values), progress]


def _stages(measured: Sequence[Observation]) -> list[tuple[Values, Stage]]:
    """What the processes are fitted to: of each trial its last stage, then the earlier ones.

    Of more trials than can be had, those on the front and the newest.
    """
    _, members = _front(measured)
    best = {identity(values) for values in members[-_MOST_TRIALS // 2 :]}
    newest = measured[-(_MOST_TRIALS - len(best)) :]
    older = measured[: len(measured) - len(newest)]
    chosen = [seen for seen in older if identity(seen.values) in best] + list(newest)
    ends = [(seen.values, seen.stages[-1]) for seen in chosen]
    earlier = [(seen.values, stage) for seen in reversed(chosen) for stage in seen.stages[:-1]]
    return ends + earlier[: _MOST_ROWS - len(ends)]


def _knots(stage: Stage) -> FloatArray:
    """A stage's curve at evenly spaced places along its rows, ``[Q, M]``."""
    rows = np.arange(len(stage.losses))
    places = np.linspace(0, rows[-1], KNOTS)
    return np.stack([np.interp(places, rows, column) for column in stage.losses.T], axis=1)


def _running(history: Sequence[Observation]) -> list[Values]:
    return [seen.values for seen in history if seen.losses is None][-_MOST_RUNNING:]


def _front(measured: Sequence[Observation]) -> tuple[FloatArray, list[Values]]:
    """The nondominated rows that keep the constraints, and the configurations they are of."""
    able = [seen for seen in measured if seen.stages[-1].violation <= 0] or list(measured)
    rows = np.concatenate([seen.stages[-1].losses for seen in able])
    owners = np.repeat(np.arange(len(able)), [len(seen.stages[-1].losses) for seen in able])
    best = pareto.nondominated(rows)
    return rows[best], [able[index].values for index in np.unique(owners[best])]
