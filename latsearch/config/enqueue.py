"""Faults of the configurations that a study is told to try first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from latsearch.config.checks import domain_text, meant
from latsearch.config.space import Parameter, Space, Value
from latsearch.config.text import either, shown

PathAndMessage = tuple[str, str]


def enqueue_faults(
    entries: Sequence[Mapping[str, Value]], space: Space, fields: Iterable[str]
) -> Iterator[PathAndMessage]:
    """What is wrong with ``search.enqueue``, as (path, message).

    Args:
        entries: the configurations, each some values by the fields' dotted names.
        space: the study's search space.
        fields: dotted names of everything that a study may fix or search.
    """
    known = set(fields)
    for index, entry in enumerate(entries):
        path = f"search.enqueue.{index}"
        if not entry:
            yield path, "is empty: give at least one field, e.g. {network.timesteps: 2}"
        if entry in entries[:index]:
            yield path, f"is the same as search.enqueue.{entries.index(entry)}"
        for name, value in entry.items():
            fault = _fault(name, value, entry, space, known)
            if fault:
                yield f"{path}.{name}", fault


def _fault(
    name: str, value: Value, entry: Mapping[str, Value], space: Space, known: set[str]
) -> str | None:
    if name not in known:
        return f"is not a field of the study{meant(name, known)}"
    parameter = next((p for p in space.parameters if p.name == name), None)
    if parameter is None:
        fixed = space.fixed.get(name)
        if name in space.fixed and value == fixed and type(value) is type(fixed):
            return None
        return f"{shown(value)}, but it is fixed to {shown(fixed)}: leave it out, or search it"
    if not _searched(parameter, value):
        return f"{shown(value)} is not searched: it is {domain_text(parameter)}"
    for condition in parameter.conditions:
        other = entry.get(condition.name, space.fixed.get(condition.name))
        if condition.name not in entry and condition.name not in space.fixed:
            return (
                f"is only used where {condition.name} is {either(condition.values)}: give "
                f"{condition.name} too"
            )
        if other not in condition.values:
            return (
                f"is only used where {condition.name} is {either(condition.values)}, not "
                f"{shown(other)}: leave it out"
            )
    return None


def _searched(parameter: Parameter, value: Value) -> bool:
    """Whether the value is one of those searched, and of their type: true is no 1."""
    if parameter.kind == "categorical":
        return any(type(value) is type(choice) and value == choice for choice in parameter.choices)
    kinds = (int,) if parameter.kind == "int" else (int, float)
    return type(value) in kinds and parameter.searches(value)
