"""New points only: what was trained, or cannot keep the constraints, is not proposed again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from latsearch.config import Parameter, Space, Value
from latsearch.config.describe import combinations
from latsearch.errors import UserError
from latsearch.search.observations import Observation
from latsearch.search.points import identity, random_point, value_at, walk
from latsearch.search.sampler import Sampler

Values = Mapping[str, Value]
Refuse = Callable[[Values], str | None]

_ATTEMPTS = 8  # of the sampler, before any point will do that is new
_DRAWS = 300  # at random, and then as many of the space's points one after the other
_REMEMBERED = 100  # refused points that the sampler is told of


def accept(values: Values) -> str | None:
    """Every point is worth a training."""
    return None


@dataclass(frozen=True)
class Proposal:
    """What is trained next.

    Attributes:
        values: of the active parameters.
        refused: points that were proposed before it and refused without a training.
    """

    values: Values
    refused: tuple[Values, ...] = ()


class Proposals:
    """The points to train: those that the user gave, then a sampler's, none of them twice."""

    def __init__(
        self,
        space: Space,
        sampler: Sampler,
        seed: int,
        enqueued: Sequence[Values] = (),
        refuse: Refuse = accept,
    ):
        """Start with nothing seen.

        Args:
            space: the search space.
            sampler: proposes.
            seed: seed of the study.
            enqueued: tried first; each gives some of the values, the sampler the others.
            refuse: says why a point is not worth a training, None where it is.
        """
        self._space = space
        self._sampler = sampler
        self._seed = seed
        self._refuse = refuse
        self._size = combinations(space)
        self._seen: set[Hashable] = set()
        self._refused: deque[Observation] = deque(maxlen=_REMEMBERED)
        searched = {parameter.name for parameter in space.parameters}
        self._queue = [
            (index, {name: value for name, value in entry.items() if name in searched})
            for index, entry in enumerate(enqueued)
        ]

    def note(self, values: Values, refused: Sequence[Values] = ()) -> None:
        """Note a point of a trial, whatever becomes of it, and those refused before it."""
        self._seen.add(identity(values))
        self._queue = [entry for entry in self._queue if not _is_of(values, entry[1])]
        for each in refused:
            self._note_refused(each)

    def _note_refused(self, values: Values) -> None:
        if identity(values) not in self._seen:
            self._seen.add(identity(values))
            # no rows, as of a failed trial: models take it for a bad one
            self._refused.append(Observation(values, np.empty((0, 0)), violation=np.inf))

    @property
    def exhausted(self) -> bool:
        """Whether every point of the space was proposed; never in a continuous space."""
        return self._size is not None and len(self._seen) >= self._size

    def propose(self, history: Sequence[Observation], number: int) -> Proposal:
        """What trial ``number`` trains: a given point, the sampler's, or any that is new.

        In a space with too many cases to count, which may be exhausted unnoticed, it may be an
        old one.

        Raises:
            UserError: a given point breaks a constraint known before training, or no point was
                found that keeps them.
        """
        if self._queue:
            return Proposal(self._given(history, number))
        refused: list[Values] = []
        reason: str | None = None
        old: Values | None = None
        for values in self._candidates(history, number):
            if identity(values) in self._seen:
                old = values if self._refuse(values) is None else old
                continue
            reason = self._refuse(values)
            if reason is None:
                return Proposal(values, tuple(refused[-_REMEMBERED:]))
            refused.append(values)
            self._note_refused(values)
        if old is None:
            raise UserError(
                f"constraints: no configuration that keeps them was found for trial {number} in "
                f"{len(refused)} draws; of the last one {reason or 'everything was tried'}"
            )
        return Proposal(old, tuple(refused[-_REMEMBERED:]))

    def _candidates(self, history: Sequence[Observation], number: int) -> Iterator[Values]:
        for attempt in range(_ATTEMPTS):
            yield self._sampler.propose([*self._refused, *history], number, attempt)
        generator = np.random.default_rng([self._seed, number])
        for _ in range(_DRAWS):
            yield random_point(self._space, generator)
        new = (v for v in walk(self._space, generator) if identity(v) not in self._seen)
        yield from islice(new, _DRAWS)

    def _given(self, history: Sequence[Observation], number: int) -> Values:
        """The next point that the user gave; what it leaves open is the sampler's."""
        index, given = self._queue[0]
        generator = np.random.default_rng([self._seed, number])
        rest = self._sampler.propose(history, number)

        def value(parameter: Parameter) -> Value:
            if parameter.name in given:
                wanted = given[parameter.name]
                return float(wanted or 0) if parameter.kind == "float" else wanted
            return rest.get(parameter.name, value_at(parameter, generator.random()))

        values = self._space.ask(value)
        reason = self._refuse(values)
        if reason is not None:
            raise UserError(f"search.enqueue.{index}: {reason}; take it out or loosen the bound")
        return values


def _is_of(values: Values, entry: Values) -> bool:
    """Whether a point is one that an entry of the queue asks for."""
    return all(name in values and values[name] == value for name, value in entry.items())
