"""Faults of a search space that contradicts itself, all of them at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from latsearch.config.forms import Choices, Range, Section
from latsearch.config.space import Parameter, Space, Value, sections
from latsearch.config.text import either, plain, shown
from latsearch.config.trial import field_types

PathAndMessage = tuple[str, str]


def space_faults(network: Section, train: Section, space: Space) -> Iterator[PathAndMessage]:
    """What contradicts itself in a search space, as (path, message)."""
    yield from _depth_faults(space)
    annotations = annotations_of(network, train)
    faulty = set[str]()
    for name, field in _searched(network, train):
        for other, wanted in field.when.items():
            message = _when_fault(other, wanted, annotations, space)
            if message:
                faulty.add(name)
                yield f"{name}.when", message
    circle = _circle(space)
    if circle:
        faulty.update(circle)
        way = " → ".join((*circle, circle[0]))
        yield f"{circle[0]}.when", f"the conditions form a circle: {way}"
    for parameter in space.parameters:
        if parameter.name not in faulty:
            yield from _unused(parameter, space)


def _searched(network: Section, train: Section) -> Iterator[tuple[str, Range | Choices]]:
    for prefix, section, config in sections(network, train):
        for column in fields(config):
            value = getattr(section, column.name)
            if isinstance(value, Range | Choices):
                yield f"{prefix}.{column.name}", value


def annotations_of(network: Section, train: Section) -> Mapping[str, Any]:
    """Dotted name → annotation of every field that may be fixed or searched."""
    return {
        f"{prefix}.{name}": annotation
        for prefix, _, config in sections(network, train)
        for name, annotation in field_types(config).items()
        if name not in ("stages", "options", "__pydantic_config__")
    }


def _depth_faults(space: Space) -> Iterator[PathAndMessage]:
    """A depth beyond the stages that are given."""
    if "stages" not in (space.domain("network.family") or ()):
        return
    depth = next((p for p in space.parameters if p.name == "network.depth"), None)
    if depth is None:
        values = [space.fixed["network.depth"]]
    else:
        values = list(depth.choices) or [depth.high]
    largest = max((int(value) for value in values if value is not None), default=0)
    if space.stages and largest > space.stages:
        given = "1 stage is" if space.stages == 1 else f"{space.stages} stages are"
        yield "network.depth", f"may be {largest}, but only {given} given"


def _when_fault(
    other: str, wanted: Any, annotations: Mapping[str, Any], space: Space
) -> str | None:
    """What is wrong with the condition ``other: wanted``."""
    if other not in annotations:
        return f"{shown(other)} is not a field of the study{meant(other, annotations)}"
    for value in wanted if isinstance(wanted, list) else [wanted]:
        if not possible(value, annotations[other]):
            return f"{shown(value)} is no value that {other} can have"
    parameter = next((p for p in space.parameters if p.name == other), None)
    if parameter is not None and parameter.continuous:
        return f"{other} is searched in a continuous range, so that it never has a given value"
    return None


def meant(name: str, known: Iterable[str]) -> str:
    """A hint at the field whose last part is like the name's."""
    by_end = {field.rsplit(".", 1)[-1]: field for field in known}
    near = difflib.get_close_matches(name.rsplit(".", 1)[-1], by_end, n=1, cutoff=0.7)
    return f"; did you mean `{by_end[near[0]]}`?" if near else ""


def possible(value: Value, annotation: Any) -> bool:
    """Whether a field of this type can have the value."""
    try:
        TypeAdapter(
            annotation, config=ConfigDict(strict=True, allow_inf_nan=False)
        ).validate_python(value)
    except ValidationError:
        return False
    return True


def _circle(space: Space) -> tuple[str, ...]:
    """Names of searched fields whose conditions form a circle; empty if there is none."""
    by_name = {parameter.name: parameter for parameter in space.parameters}
    waiting = dict(by_name)
    while free := [
        name
        for name, parameter in waiting.items()
        if not any(c.name in waiting for c in parameter.conditions)
    ]:
        for name in free:
            del waiting[name]
    if not waiting:
        return ()
    way = [next(iter(waiting))]
    while True:
        following = next(c.name for c in waiting[way[-1]].conditions if c.name in waiting)
        if following in way:
            return tuple(way[way.index(following) :])
        way.append(following)


def _unused(parameter: Parameter, space: Space) -> Iterator[PathAndMessage]:
    """A searched field with a condition that can never hold."""
    for condition in parameter.conditions:
        other = next((p for p in space.parameters if p.name == condition.name), None)
        if other is None:
            fixed = space.fixed[condition.name]
            holds, domain = fixed in condition.values, either([fixed])
        else:
            holds, domain = any(map(other.has, condition.values)), domain_text(other)
        if not holds:
            yield (
                parameter.name,
                f"is searched but never used: it needs {condition.name} to be "
                f"{either(condition.values)}, which is {domain}; fix it or leave it out",
            )
            return


def domain_text(parameter: Parameter) -> str:
    """The values that a parameter may have, in words."""
    if parameter.kind == "categorical":
        return either(parameter.choices)
    assert parameter.low is not None
    assert parameter.high is not None
    return f"{plain(parameter.low)} to {plain(parameter.high)}"
