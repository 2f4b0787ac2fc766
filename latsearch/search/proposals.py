"""New points only: a training that was carried out is never proposed again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from latsearch.config import Space, Value
from latsearch.config.describe import combinations
from latsearch.search.observations import Observation
from latsearch.search.points import identity, walk
from latsearch.search.sampler import Sampler

_ATTEMPTS = 8  # of the sampler, before any point will do that is new


class Proposals:
    """A sampler's proposals without duplicates, until the space is exhausted."""

    def __init__(self, space: Space, sampler: Sampler, seed: int):
        """Start with nothing seen.

        Args:
            space: the search space.
            sampler: proposes.
            seed: seed of the study.
        """
        self._space = space
        self._sampler = sampler
        self._seed = seed
        self._size = combinations(space)
        self._seen: set[Hashable] = set()

    def note(self, values: Mapping[str, Value]) -> None:
        """Note a point of a trial, whatever becomes of it."""
        self._seen.add(identity(values))

    @property
    def exhausted(self) -> bool:
        """Whether every point of the space was proposed; never in a continuous space."""
        return self._size is not None and len(self._seen) >= self._size

    def propose(self, history: Sequence[Observation], number: int) -> dict[str, Value]:
        """A new point for trial ``number``: the sampler's, or any where its are all known.

        In a space with too many cases to count, which may be exhausted unnoticed, it may be an
        old one.
        """
        for attempt in range(_ATTEMPTS):
            values = self._sampler.propose(history, number, attempt)
            if identity(values) not in self._seen:
                return values
        generator = np.random.default_rng([self._seed, number])
        new = (v for v in walk(self._space, generator) if identity(v) not in self._seen)
        return next(new, values)
