"""The scale on which a model of trials sees their losses: `Scales`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property

import numpy as np

from latsearch.config import Space, Value
from latsearch.errors import LatsearchError
from latsearch.objectives import OBJECTIVES, FloatArray
from latsearch.search.points import coordinates, identity, random_point
from latsearch.search.processes import Process, fit

_ANCHORS = 96  # configurations whose ceilings are computed
_LEAST = 1e-12  # ceiling: prices may be zero

Values = Mapping[str, Value]
Ceilings = Callable[[Values], Mapping[str, float]]


class Scales:
    """On which scale the losses of each configuration are modelled.

    A loss is modelled in relation to the configuration's ceiling: a logarithm as the distance from
    that of the ceiling, another one as a share of it. To compute a ceiling takes as long as to
    build a network, too long for hundreds of candidates: a process estimates them from those of
    some random configurations.
    """

    def __init__(self, space: Space, objectives: Sequence[str], ceilings: Ceilings, seed: int):
        self._space = space
        self._ceilings = ceilings
        self._objectives = objectives
        self._logs = np.array([OBJECTIVES[name].log for name in objectives])
        self._seed = seed

    def of(self, points: Sequence[Values]) -> tuple[FloatArray, FloatArray]:
        """Offset and factor of each configuration's losses, ``[P, 1, M]`` each."""
        logs = np.zeros((len(points), 1, len(self._objectives)))  # log10 of the ceilings
        if self._known is not None:
            names, process = self._known
            places = np.array([coordinates(self._space, values) for values in points])
            columns = [self._objectives.index(name) for name in names]
            logs[:, 0, columns], _ = process.predict(places)
        return np.where(self._logs, logs, 0.0), np.where(self._logs, 1.0, 10.0**logs)

    @cached_property
    def _known(self) -> tuple[list[str], Process] | None:
        """Objectives that have ceilings, and the process of their log10; None where none has."""
        generator = np.random.default_rng([self._seed, 3])
        drawn = [random_point(self._space, generator) for _ in range(_ANCHORS)]
        found = {}
        for values in {identity(point): point for point in drawn}.values():
            # of a network that does not fit the data nothing is known
            with suppress(LatsearchError):
                found[tuple(coordinates(self._space, values))] = self._ceilings(values)
        names = sorted(set.intersection(*(set(one) for one in found.values()))) if found else []
        if not names:
            return None
        rows = np.array([[one[name] for name in names] for one in found.values()])
        return names, fit(np.array(list(found)), np.log10(np.maximum(rows, _LEAST)))
