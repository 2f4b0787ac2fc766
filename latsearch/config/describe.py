"""A study in words: what is fixed, what is searched, and how large the search space is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from latsearch.config.space import Condition, Parameter, Space, Value, applies_where, sections
from latsearch.config.study import (
    DataConfig,
    ScreeningConfig,
    SearchConfig,
    StoppingConfig,
    StudyConfig,
)
from latsearch.config.text import either, on_a_line, plain, shown

_ALWAYS = ("network.family", "network.timesteps", "train.epochs", "train.batch_size")
_MOST_CASES = 10_000  # combinations of the conditions' values that are counted one by one

Rows = Sequence[tuple[str, str]]


def describe(study: StudyConfig) -> list[str]:
    """The resolved study as lines of text.

    Fixed fields are listed where the file gives them, and a few that matter in any case.
    """
    space = study.space
    idle = dict(_idle(study))
    return [
        *_aligned(
            [
                ("study", study.study),
                *([("preset", study.preset)] if study.preset else []),
                ("data", _data(study.data)),
                ("objectives", ", ".join(f"{v} {name}" for name, v in study.objectives.items())),
                *([("constraints", _constraints(study))] if study.constraints else []),
                ("search", _search(study.search)),
                ("stopping", _stopping(study.search.stopping)),
                *_screening(study.search.screening),
                ("space", size_text(space)),
            ]
        ),
        *_block("searched", [(p.name, parameter_text(p, space)) for p in space.parameters]),
        *_block("fixed", list(_fixed(study, idle))),
        *_block("given, but used by no trial", list(idle.items())),
    ]


def _search(search: SearchConfig) -> str:
    chosen = " (chosen for so many)" if search.sampler == "auto" else ""
    given = f", {len(search.enqueue)} of them given" if search.enqueue else ""
    before = (
        f", learning from {', '.join(map(on_a_line, search.warm_start))}"
        if search.warm_start
        else ""
    )
    return f"{search.trials} trials by {search.chosen_sampler}{chosen}{given}{before}"


def parameter_text(parameter: Parameter, space: Space) -> str:
    """The values of a searched field, and where it is searched if not everywhere."""
    if parameter.kind == "categorical":
        text = either(parameter.choices)
    else:
        assert parameter.low is not None
        assert parameter.high is not None
        text = f"{plain(parameter.low)} to {plain(parameter.high)}"
        if parameter.log:
            text += ", logarithmic"
        elif parameter.step is not None and (parameter.step != 1 or parameter.kind == "float"):
            text += f", in steps of {plain(parameter.step)}"
    where = [told for told in (_where(c, parameter, space) for c in parameter.conditions) if told]
    return f"{text}; where {' and '.join(where)}" if where else text


def size_text(space: Space) -> str:
    """How large a search space is."""
    continuous = sum(parameter.continuous for parameter in space.parameters)
    if continuous:
        return f"continuous in {continuous} of {len(space.parameters)} parameters"
    count = combinations(space)
    if count is None:
        return f"at most {space.size:,.0f} combinations"
    return f"{count:,.0f} combination{'s' if count != 1 else ''}"


def combinations(space: Space) -> float | None:
    """How many distinct trials a space has; inf if continuous, None if too many cases to count."""
    mentioned: dict[str, set[Value]] = {}
    for parameter in space.parameters:
        for condition in parameter.conditions:
            mentioned.setdefault(condition.name, set()).update(condition.values)
    cases = math.prod(len(mentioned.get(p.name, ())) + 1 for p in space.parameters)
    if cases > _MOST_CASES:
        return None
    return _count(space.parameters, space.fixed, mentioned)


def _count(
    parameters: Sequence[Parameter],
    known: Mapping[str, Value],
    mentioned: Mapping[str, set[Value]],
) -> float:
    """Combinations of the parameters' values, given the fields known so far."""
    if not parameters:
        return 1
    first, *rest = parameters
    if not all(known[condition.name] in condition.values for condition in first.conditions):
        return _count(rest, {**known, first.name: first.default}, mentioned)
    if first.name not in mentioned:
        return first.size * _count(rest, known, mentioned)
    # Only the values that a condition mentions make a difference; all others are as one.
    apart = [value for value in mentioned[first.name] if first.searches(value)]
    cases = [(1.0, value) for value in apart] + [(first.size - len(apart), "<another value>")]
    return sum(
        times * _count(rest, {**known, first.name: value}, mentioned)
        for times, value in cases
        if times
    )


def _aligned(rows: Rows) -> list[str]:
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _block(title: str, rows: Rows) -> list[str]:
    return ["", title, *(f"  {line}" for line in _aligned(rows))] if rows else []


def _data(data: DataConfig) -> str:
    part = data.validation
    text = f"{data.name}; " + (
        f"{plain(part)} of the training samples" if part < 1 else f"{plain(part)} training samples"
    )
    text += f" for validation, split seed {data.split_seed}"
    if data.train_samples is not None:
        text += f"; {data.train_samples} of the others to train on"
    if data.events is not None:
        given = data.events.model_dump(exclude_defaults=True)
        text += "; events: " + ", ".join(f"{name} {shown(value)}" for name, value in given.items())
    return text if data.root is None else f"{text}; in {on_a_line(data.root)}"


def _constraints(study: StudyConfig) -> str:
    return ", ".join(
        f"{column} {word} {plain(end)}"
        for column, bound in study.constraints.items()
        for word, end in (("at least", bound.min), ("at most", bound.max))
        if end is not None
    )


def _stopping(stopping: StoppingConfig | None) -> str:
    if stopping is None or stopping.rule == "none":
        return "none, every trial trains to its end"
    epochs = f"{stopping.min_epochs} epoch{'s' if stopping.min_epochs > 1 else ''}"
    if stopping.rule == "median":
        return f"the worse half, every {epochs}"
    factor = stopping.reduction_factor
    return f"all but 1 in {factor} after {epochs}, and so on at {factor} times the epochs"


def _screening(screening: ScreeningConfig | None) -> Rows:
    if screening is None:
        return []
    epochs = f"{screening.epochs} epoch{'s' if screening.epochs > 1 else ''}"
    part = f"{epochs} on {plain(screening.data)} of the training samples"
    return [("screening", f"{part}, then all but 1 in {screening.reduction_factor} end")]


def _where(condition: Condition, parameter: Parameter, space: Space) -> str | None:
    """A parameter's condition in words; None where it always holds."""
    other = next((p for p in space.parameters if p.name == condition.name), None)
    if other is None:
        return None
    if not set(other.conditions) <= set(parameter.conditions):
        return f"{other.name} is {either(filter(other.has, condition.values))}"
    wanted = [*filter(other.searches, condition.values)]
    return None if len(wanted) == other.size else f"{other.name} is {either(wanted)}"


def _fixed(study: StudyConfig, idle: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    given = set(_given(study))
    for name, value in study.space.fixed.items():
        text = either([value])
        if name in given and name not in idle:
            yield name, text
        elif name not in given and name in _ALWAYS:
            yield name, f"{text} (default)"


def _idle(study: StudyConfig) -> Iterator[tuple[str, str]]:
    """Fixed fields that the file gives, yet no trial uses."""
    space = study.space
    parameters = {parameter.name: parameter for parameter in space.parameters}
    for name, (prefix, config, field) in _given(study).items():
        for condition in applies_where(prefix, config, field, space.stages):
            other = parameters.get(condition.name)
            domain = other.has if other else [space.fixed.get(condition.name)].__contains__
            if not any(map(domain, condition.values)):
                yield name, f"needs {condition.name} to be {either(condition.values)}"
                break


def _given(study: StudyConfig) -> dict[str, tuple[str, type, str]]:
    """Dotted name → prefix, dataclass and field of the fixed fields that the file gives."""
    return {
        f"{prefix}.{column.name}": (prefix, config, column.name)
        for prefix, section, config in sections(study.network, study.train)
        for column in fields(config)
        if column.name in section.model_fields_set
        and f"{prefix}.{column.name}" in study.space.fixed
    }
