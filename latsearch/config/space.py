"""The flat search space that samplers work on: what is fixed, what is searched, and where."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from latsearch.config.forms import Choices, Range, Section, base_type
from latsearch.config.options import OptionsSection, options_config
from latsearch.config.trial import (
    CUSTOM,
    AppliesWhere,
    NetworkConfig,
    StageConfig,
    TrainConfig,
    TrialConfig,
    field_types,
)
from latsearch.config.trial import Value as Value


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds where the field ``name`` has one of ``values``."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One searched field.

    Attributes:
        name: dotted name of the field, e.g. ``network.timesteps``.
        kind: ``int``, ``float`` or ``categorical``.
        low: lower end, included; None for a categorical one.
        high: upper end, included; None for a categorical one.
        log: whether the scale is logarithmic.
        step: distance between the values; None for a continuous one.
        choices: the values of a categorical one.
        conditions: all of them hold where the parameter is searched.
        default: the field's value where a condition does not hold.
    """

    name: str
    kind: Literal["int", "float", "categorical"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Value, ...] = ()
    conditions: tuple[Condition, ...] = ()
    default: Value = None

    @property
    def continuous(self) -> bool:
        """Whether it has infinitely many values."""
        return self.kind == "float" and self.step is None

    @property
    def size(self) -> float:
        """How many values it has; inf for a continuous one."""
        if self.kind == "categorical":
            return len(self.choices)
        if self.continuous:
            return math.inf
        assert self.low is not None
        assert self.high is not None
        assert self.step is not None
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def has(self, value: Value) -> bool:
        """Whether the field can have this value: a searched one, or its default elsewhere."""
        return self.searches(value) or (bool(self.conditions) and value == self.default)

    def searches(self, value: Value) -> bool:
        """Whether this value is one of those searched."""
        if self.kind == "categorical":
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-6


@dataclass(frozen=True)
class Space:
    """The flat search space of a study.

    Attributes:
        fixed: dotted name → value of every field that is not searched.
        parameters: the searched fields, each after those its conditions name.
        stages: number of stages given for the family ``stages``.
    """

    fixed: Mapping[str, Value]
    parameters: tuple[Parameter, ...]
    stages: int

    @classmethod
    def of(cls, network: Section, train: Section) -> Space:
        """Flatten the two sections; `config.checks` says whether the space makes sense."""
        fixed: dict[str, Value] = {}
        parameters: list[Parameter] = []
        stages = len(getattr(network, "stages", ()))
        for prefix, section, config in sections(network, train):
            for column in fields(config):
                name, value = f"{prefix}.{column.name}", getattr(section, column.name)
                if column.name in ("stages", "options"):
                    continue
                if isinstance(value, Range | Choices):
                    conditions = _conditions(prefix, config, column.name, value, stages)
                    parameters.append(_parameter(name, config, column, value, conditions))
                else:
                    fixed[name] = value
        return cls(fixed, tuple(_ordered(parameters)), stages)

    def ask(self, suggest: Callable[[Parameter], Value]) -> dict[str, Value]:
        """Ask ``suggest`` for every parameter that is active given those before it."""
        known = {**self.fixed, **{p.name: p.default for p in self.parameters}}
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if all(known[c.name] in c.values for c in parameter.conditions):
                known[parameter.name] = values[parameter.name] = suggest(parameter)
        return values

    def trial(self, values: Mapping[str, Value]) -> TrialConfig:
        """The trial with these values of its active parameters, the rest fixed or default."""
        full = {**self.fixed}
        for parameter in self.parameters:
            full[parameter.name] = values.get(parameter.name, parameter.default)
        depth = full["network.depth"]
        custom = full["network.family"] == CUSTOM
        used = self.stages if depth is None else min(int(depth), self.stages)
        return TrialConfig.from_json(
            {
                "network": {
                    **_section(full, "network"),
                    "options": _section(full, "network.options") if custom else {},
                    "stages": tuple(_section(full, f"network.stages.{i}") for i in range(used)),
                },
                "train": _section(full, "train"),
            }
        )

    @property
    def size(self) -> float:
        """Upper bound of the number of distinct trials; inf where a parameter is continuous."""
        return math.prod(parameter.size for parameter in self.parameters)

    def domain(self, name: str) -> tuple[Value, ...] | None:
        """All values that a field can take; None for a range."""
        if name in self.fixed:
            return (self.fixed[name],)
        parameter = next(p for p in self.parameters if p.name == name)
        return parameter.choices if parameter.kind == "categorical" else None

    def integers(self, name: str) -> tuple[int, ...]:
        """All values that a field of whole numbers can take, rising."""
        parameter = next((p for p in self.parameters if p.name == name), None)
        if parameter is None:
            return (int(self.fixed[name] or 0),)
        return tuple(n for n in range(int(self.largest(name)) + 1) if parameter.has(n))

    def largest(self, name: str) -> float:
        """The largest number that a field can take where it is searched or fixed."""
        domain = self.domain(name)
        if domain is not None:
            return max(float(value) for value in domain if value is not None)
        return next(p.high for p in self.parameters if p.name == name and p.high is not None)


def sections(
    network: Section, train: Section
) -> Iterator[tuple[str, Section | OptionsSection, type]]:
    """Dotted name, model and dataclass of each section, every stage and the options by itself."""
    yield "network", network, NetworkConfig
    options = OptionsSection(getattr(network, "options", {}))
    yield "network.options", options, options_config(options)
    for index, stage in enumerate(getattr(network, "stages", ())):
        yield f"network.stages.{index}", stage, StageConfig
    yield "train", train, TrainConfig


def applies_where(prefix: str, config: type, field: str, stages: int) -> list[Condition]:
    """What the method itself says about where a field is used."""
    hints = field_types(config)[field]
    found = [
        Condition(f"{prefix}.{other}", values)
        for marker in hints.__metadata__
        if isinstance(marker, AppliesWhere)
        for other, values in marker.conditions.items()
    ]
    if prefix == "network.options":
        found.append(Condition("network.family", (CUSTOM,)))
    if config is StageConfig:
        index = int(prefix.rsplit(".", 1)[1])
        found.append(Condition("network.family", ("stages",)))
        found.append(Condition("network.depth", (None, *range(index + 1, stages + 1))))
    return found


def _conditions(
    prefix: str, config: type, field: str, value: Range | Choices, stages: int
) -> tuple[Condition, ...]:
    """The user's ``when`` besides the method's own conditions."""
    return (
        *applies_where(prefix, config, field, stages),
        *(
            Condition(name, tuple(wanted) if isinstance(wanted, list) else (wanted,))
            for name, wanted in value.when.items()
        ),
    )


def _parameter(
    name: str,
    config: type,
    column: Any,
    value: Range | Choices,
    conditions: tuple[Condition, ...],
) -> Parameter:
    if isinstance(value, Choices):
        return Parameter(
            name,
            "categorical",
            choices=value.choices,
            conditions=conditions,
            default=column.default,
        )
    integer = base_type(field_types(config)[column.name]) is int
    return Parameter(
        name,
        "int" if integer else "float",
        low=value.low,
        high=value.high,
        log=value.log,
        step=value.step if value.step is not None else (1 if integer else None),
        conditions=conditions,
        default=column.default,
    )


def _ordered(parameters: Sequence[Parameter]) -> Iterator[Parameter]:
    """The parameters, each after the searched ones that its conditions name; circles last."""
    waiting, done = list(parameters), set[str]()
    searched = {parameter.name for parameter in parameters}
    while waiting:
        ready = next(
            (p for p in waiting if {c.name for c in p.conditions} & searched <= done), waiting[0]
        )
        waiting.remove(ready)
        done.add(ready.name)
        yield ready


def _section(values: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    start = f"{prefix}."
    return {
        name.removeprefix(start): value
        for name, value in values.items()
        if name.startswith(start) and "." not in name.removeprefix(start)
    }
