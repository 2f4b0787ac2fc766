"""The sampler ``curves``: Bayesian optimisation whose observations are decision curves.

A training is one observation of a whole curve at each of a few stages of its progress, also one
that was stopped early. For every objective a Gaussian process predicts the curve (at `KNOTS` places
along it) from the configuration and the progress, another one the seconds of a full training. Proposed is the
configuration whose full training is expected to add most hypervolume to the front a second:

    a(x) = E[ HV(F ∪ curve(x)) − HV(F) ] / seconds(x)

The expectation is a mean over draws: one normal deviate for each objective moves a whole curve. Trials
that still run count as trained, with the curves that are predicted for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latsearch import pareto
from latsearch.config import Parameter, Space, Value
from latsearch.objectives import FloatArray
from latsearch.search.observations import Observation, Stage
from latsearch.search.points import identity, place_of, value_at
from latsearch.search.processes import Process, fit

KNOTS = 5  # places along a curve that are predicted
_MOST_TRIALS = 120  # that the processes are fitted to: their cost grows with the cube
_MOST_RUNNING = 64  # that count as trained
_CANDIDATES = 256  # drawn at random, and as many neighbours of the front
_FINALISTS = 24  # of them, by an optimistic estimate, for which the expectation is computed
_DRAWS = 16
_OPTIMISM = 1.0  # standard deviations


class CurveModel:
    """What is predicted of full trainings, from the trials before.

    Args:
        space: the search space.
        history: trials that were measured, or run.
    """

    def __init__(self, space: Space, history: Sequence[Observation]):
        self._space = space
        measured = [seen for seen in history if seen.stages][-_MOST_TRIALS:]
        inputs, curves, ends, seconds = [], [], [], []
        for seen in measured:
            for stage in seen.stages:
                inputs.append(self._place(seen.values, stage.share))
                curves.append(knots(stage))
            ends.append(self._place(seen.values, 1.0))
            seconds.append([np.log(max(seen.stages[-1].seconds / seen.stages[-1].share, 1e-6))])
        outputs = np.stack(curves, axis=-1)  # [Q, M, N]
        self.curves = [fit(np.array(inputs), outputs[:, m].T) for m in range(outputs.shape[1])]
        self.seconds = fit(np.array(ends), np.array(seconds))
        running = [s.values for s in history if s.losses is None][-_MOST_RUNNING:]
        self.running = np.empty((0, outputs.shape[1]))
        if running:
            places = np.array([self._place(values, 1.0) for values in running])
            mean, _ = self.predict(places)
            self.running = mean.reshape(-1, mean.shape[-1])
            self.curves = [process.believing(places) for process in self.curves]

    def places(self, points: Sequence[dict[str, Value]]) -> FloatArray:
        """Inputs of full trainings, ``[P, D]``."""
        return np.array([self._place(values, 1.0) for values in points])

    def predict(self, places: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and deviation of the curves, ``[P, Q, M]`` each."""
        found = [process.predict(places) for process in self.curves]
        return np.stack([m for m, _ in found], axis=-1), np.stack([s for _, s in found], axis=-1)

    def _place(self, values: dict[str, Value], share: float) -> list[float]:
        units = [
            place_of(p, values[p.name]) if p.name in values else 0.5 for p in self._space.parameters
        ]
        return [*units, max(0.0, 1.0 + np.log2(share) / 4)]


def knots(stage: Stage) -> FloatArray:
    """The curve of a stage at evenly spaced places along its rows, ``[Q, M]``."""
    rows = stage.losses
    places = np.linspace(0, len(rows) - 1, KNOTS)
    return np.stack([np.interp(places, np.arange(len(rows)), column) for column in rows.T], axis=1)


class CurveSampler:
    """See the module.

    Args:
        space: the search space.
        reference: ``[M]`` the hypervolume's reference point on the scale of losses.
        seed: of the study.
    """

    def __init__(self, space: Space, reference: FloatArray, seed: int, startup, cost=1.0, draws=_DRAWS):
        self._space = space
        self._reference = reference
        self._seed = seed
        self._startup = startup
        self._cost = cost

    def propose(
        self, history: Sequence[Observation], number: int, attempt: int = 0
    ) -> dict[str, Value]:
        generator = np.random.default_rng([self._seed, number, attempt, 2])
        measured = [seen for seen in history if seen.stages]
        if len(measured) < self._startup:
            return self._start(number, attempt)
        model = CurveModel(self._space, history)
        front, members = self._front(measured)
        front = np.concatenate([front, model.running])
        front = front[pareto.nondominated(front)]
        known = {identity(seen.values) for seen in history}
        points = [p for p in self._candidates(members, generator) if identity(p) not in known]
        if not points:
            return self._random(generator)
        places = model.places(points)
        mean, deviation = model.predict(places)
        cost = np.exp(model.seconds.predict(places)[0][:, 0]) ** self._cost
        hopes = self._added(front, mean - _OPTIMISM * deviation) / cost
        best = np.argsort(-hopes, kind="stable")[:_FINALISTS]
        draws = generator.standard_normal((_DRAWS, 1, 1, mean.shape[-1]))
        curves = mean[best] + draws * deviation[best]  # [S, P, Q, M]
        added = np.mean([self._added(front, draw) for draw in curves], axis=0) / cost[best]
        return points[int(best[int(np.argmax(added))])]

    def _added(self, front: FloatArray, curves: FloatArray) -> FloatArray:
        """Hypervolume that each curve ``[P, Q, M]`` alone adds to the front, ``[P]``."""
        whole = pareto.hypervolume(front, self._reference)
        joined = [pareto.hypervolume(np.concatenate([front, c]), self._reference) for c in curves]
        return np.array(joined) - whole

    def _front(self, measured):
        rows, owners = [], []
        for index, seen in enumerate(measured):
            if seen.stages[-1].violation <= 0:
                rows.append(seen.stages[-1].losses)
                owners += [index] * len(seen.stages[-1].losses)
        if not rows:
            return np.empty((0, len(self._reference))), measured[-1:]
        losses = np.concatenate(rows)
        best = pareto.nondominated(losses)
        return losses[best], [measured[i] for i in sorted(set(np.array(owners)[best]))]

    def _candidates(self, members, generator):
        points = {}
        for _ in range(_CANDIDATES):
            point = self._random(generator)
            points[identity(point)] = point
        for _ in range(_CANDIDATES):
            parent = members[generator.integers(len(members))].values
            point = self._neighbour(parent, generator)
            points[identity(point)] = point
        return list(points.values())

    def _random(self, generator):
        return self._space.ask(lambda p: value_at(p, generator.random()))

    def _neighbour(self, parent, generator):
        names = [p.name for p in self._space.parameters]
        changed = set(generator.choice(names, size=min(len(names), 1 + generator.integers(2)), replace=False))
        def suggest(p: Parameter):
            if p.name in parent and p.name not in changed:
                return parent[p.name]
            return value_at(p, generator.random())
        return self._space.ask(suggest)

    def _start(self, number, attempt):
        from latsearch.search.sampler import OptunaSampler
        return OptunaSampler(self._space, len(self._reference), "qmc" , self._seed).propose([], number, attempt)
