"""Points of a search space: from the unit cube, one after the other, and whether they are new."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np

from latsearch.config import Parameter, Space, Value


def value_at(parameter: Parameter, unit: float) -> Value:
    """The parameter's value at a place of the unit interval, equal shares for equal lengths.

    Args:
        parameter: a searched field.
        unit: in [0, 1).

    Example:
        >>> value_at(Parameter("network.timesteps", "int", low=1, high=4, step=1), 0.3)
        2
    """
    if parameter.kind == "categorical":
        return parameter.choices[int(unit * len(parameter.choices))]
    assert parameter.low is not None
    assert parameter.high is not None
    low, high, step = parameter.low, parameter.high, parameter.step
    # a value of a grid owns half a step to each side
    ends = (low, high) if step is None else (low - step / 2, low + step * (parameter.size - 0.5))
    if parameter.log:
        value = math.exp(math.log(ends[0]) + unit * math.log(ends[1] / ends[0]))
    else:
        value = ends[0] + unit * (ends[1] - ends[0])
    if step is not None:
        index = min(max(round((value - low) / step), 0), int(parameter.size) - 1)
        value = low + index * step
    return round(value) if parameter.kind == "int" else float(min(max(value, low), high))


def place_of(parameter: Parameter, value: Value) -> float:
    """Where a value lies on the parameter's scale, 0 at its low end and 1 at its high end.

    The choices of a categorical parameter lie evenly spaced in their order.
    """
    if parameter.kind == "categorical":
        return parameter.choices.index(value) / max(1, len(parameter.choices) - 1)
    assert parameter.low is not None
    assert parameter.high is not None
    assert isinstance(value, int | float)
    if parameter.high == parameter.low:
        return 0.5
    if parameter.log:
        return math.log(value / parameter.low) / math.log(parameter.high / parameter.low)
    return (value - parameter.low) / (parameter.high - parameter.low)


def coordinates(space: Space, values: Mapping[str, Value]) -> list[float]:
    """A configuration's inputs of a model, on the scale 0..1, as many for every configuration.

    A value's place on its scale, or one input for each of several names. A field that is not used
    lies in the middle.
    """
    return [x for p in space.parameters for x in _coordinates(p, values.get(p.name))]


def _coordinates(parameter: Parameter, value: Value) -> list[float]:
    names = [choice for choice in parameter.choices if not isinstance(choice, int | float)]
    if len(parameter.choices) > 2 and names:
        return [float(value == choice) for choice in parameter.choices]
    return [0.5 if value is None else place_of(parameter, value)]


def identity(values: Mapping[str, Value]) -> Hashable:
    """What two equal points have in common, however the last digits were rounded."""
    return tuple(
        (name, f"{value:.12g}" if isinstance(value, float) else value)
        for name, value in sorted(values.items())
    )


def random_point(
    space: Space, generator: np.random.Generator, kept: Mapping[str, Value] | None = None
) -> dict[str, Value]:
    """A random point of the space, but for the values that are kept."""

    def suggest(parameter: Parameter) -> Value:
        if kept and parameter.name in kept:
            return kept[parameter.name]
        return value_at(parameter, float(generator.random()))

    return space.ask(suggest)


def walk(space: Space, generator: np.random.Generator) -> Iterator[dict[str, Value]]:
    """Every point of the space once, in a random order; a continuous parameter has one value.

    The order is random parameter by parameter, not over the whole space: nothing is listed
    beforehand, so that the first points of the largest space cost nothing.
    """
    yield from _walk(space, space.parameters, {}, generator)


def _walk(
    space: Space,
    parameters: Sequence[Parameter],
    values: Mapping[str, Value],
    generator: np.random.Generator,
) -> Iterator[dict[str, Value]]:
    if not parameters:
        yield dict(values)
        return
    first, *rest = parameters
    known = {**space.fixed, **{p.name: p.default for p in space.parameters}, **values}
    if not all(known[c.name] in c.values for c in first.conditions):
        yield from _walk(space, rest, values, generator)
        return
    for value in _values(first, generator):
        yield from _walk(space, rest, {**values, first.name: value}, generator)


def _values(parameter: Parameter, generator: np.random.Generator) -> Iterator[Value]:
    """Every value of a parameter in a random order."""
    if parameter.continuous:
        yield value_at(parameter, generator.random())
        return
    for index in generator.permutation(int(parameter.size)):
        if parameter.kind == "categorical":
            yield parameter.choices[index]
        else:
            assert parameter.low is not None
            assert parameter.step is not None
            value = parameter.low + int(index) * parameter.step
            yield int(value) if parameter.kind == "int" else float(value)
