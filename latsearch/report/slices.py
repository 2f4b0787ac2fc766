"""One parameter against the objectives: what trials with a value, or within a range, reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from latsearch.config import Parameter, Value
from latsearch.config.text import plain, shown
from latsearch.objectives import OBJECTIVES
from latsearch.report.content import Knee

_RANGES = 4
_MOST_VALUES = 8  # that are listed one by one


@dataclass(frozen=True)
class Slice:
    """Trials with a value of a parameter, or within a range.

    Attributes:
        values: the value or the range in words.
        trials: how many complete trials.
        medians: of their knee rows by objective.
        bests: the best of their knee rows by objective.
    """

    values: str
    trials: int
    medians: Mapping[str, float]
    bests: Mapping[str, float]


def slices(knees: Sequence[Knee], parameter: Parameter, objectives: Sequence[str]) -> list[Slice]:
    """The complete trials by their values of a parameter; trials that do not use it are left out.

    A parameter with at most 8 values has a slice each, another one 4 equal parts of its range, on
    its own scale; parts without a trial are left out.
    """
    groups: dict[str, list[Knee]] = {label: [] for label in _labels(parameter)}
    for knee in knees:
        if parameter.name in knee.params:
            groups[_label(parameter, knee.params[parameter.name])].append(knee)
    return [_slice(label, group, objectives) for label, group in groups.items() if group]


def _slice(label: str, knees: Sequence[Knee], objectives: Sequence[str]) -> Slice:
    columns = {name: [knee.metrics[name] for knee in knees] for name in objectives}
    best = {name: max if OBJECTIVES[name].direction == "maximize" else min for name in objectives}
    return Slice(
        values=label,
        trials=len(knees),
        medians={name: median(column) for name, column in columns.items()},
        bests={name: best[name](column) for name, column in columns.items()},
    )


def _labels(parameter: Parameter) -> list[str]:
    if parameter.kind == "categorical":
        return [shown(choice) for choice in parameter.choices]
    assert parameter.low is not None
    if parameter.size <= _MOST_VALUES:
        assert parameter.step is not None
        count = int(parameter.size)
        return [plain(round(parameter.low + i * parameter.step, 12)) for i in range(count)]
    return [_range(parameter, index) for index in range(_RANGES)]


def _label(parameter: Parameter, value: Value) -> str:
    """The label of the slice that a value belongs to."""
    if parameter.kind == "categorical":
        return shown(value)
    assert isinstance(value, int | float)
    if parameter.size <= _MOST_VALUES:
        return plain(round(value, 12))
    low, high = _ends(parameter)
    place = ((math.log(value) if parameter.log else value) - low) / (high - low)
    return _range(parameter, min(_RANGES - 1, max(0, int(place * _RANGES))))


def _range(parameter: Parameter, index: int) -> str:
    low, high = _ends(parameter)
    ends = [low + (high - low) * part / _RANGES for part in (index, index + 1)]
    first, last = (math.exp(end) if parameter.log else end for end in ends)
    return f"{first:.3g} to {last:.3g}"


def _ends(parameter: Parameter) -> tuple[float, float]:
    assert parameter.low is not None
    assert parameter.high is not None
    if parameter.log:
        return math.log(parameter.low), math.log(parameter.high)
    return parameter.low, parameter.high
