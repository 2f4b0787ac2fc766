"""The search space: which fields of a trial are fixed, which are searched, and where.

`section_model` derives the YAML's model of a section from its dataclass in `trial.py`: each field
is a value, a range ``{low, high, log, step}`` or ``{choices}``. `Space` is the flat view of it that
samplers work on.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, create_model, model_validator

from latsearch.config.trial import (
    AppliesWhere,
    NetworkConfig,
    StageConfig,
    TrainConfig,
    TrialConfig,
)

V = TypeVar("V")
Value = int | float | str | bool | None

# Tags of the three forms of a field; pydantic puts them into error paths, `loading` takes them out.
VALUE, RANGE, CHOICES = "<value>", "<range>", "<choices>"


class Model(BaseModel):
    """Base of the YAML's models: unknown keys are faults, nothing is converted or changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Searched(Model):
    when: dict[str, Any] = Field(
        default={},
        description="search this only where other fields have these values, e.g. "
        "{network.family: [mlp, lenet]}",
    )


class Range(_Searched, Generic[V]):
    """An interval to search, both ends included."""

    low: V
    high: V
    log: bool = Field(default=False, description="search on a logarithmic scale")
    step: V | None = Field(default=None, description="distance between the searched values")

    @model_validator(mode="after")
    def _check(self) -> Range[V]:
        low, high, step = _number(self.low), _number(self.high), self.step
        if low >= high:
            raise ValueError(f"low = {low:g} must be below high = {high:g}")
        if self.log and low <= 0:
            raise ValueError(f"log: true needs low above 0, got low = {low:g}")
        if step is not None and self.log:
            raise ValueError("step and log: true exclude each other")
        if step is not None and not 0 < _number(step) <= high - low:
            raise ValueError(
                f"step = {step} must be above 0 and at most high - low = {high - low:g}"
            )
        return self


class Choices(_Searched, Generic[V]):
    """A list of values to search."""

    choices: tuple[V, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Choices[V]:
        for index, choice in enumerate(self.choices):
            if choice in self.choices[:index]:
                raise ValueError(f"choices: {choice!r} is listed twice")
        return self


def _number(value: Any) -> float:
    if value is None:
        raise ValueError("low and high must be numbers")
    return float(value)


def _form(raw: Any) -> str:
    """Which of the three forms of a field this is."""
    if isinstance(raw, Choices) or (isinstance(raw, Mapping) and "choices" in raw):
        return CHOICES
    return RANGE if isinstance(raw, Range | Mapping) else VALUE


def _searchable(annotation: Any) -> Any:
    """The annotation of a field that is a value of ``annotation``, a range of it, or choices."""
    forms = [Annotated[annotation, Tag(VALUE)], Annotated[Choices[annotation], Tag(CHOICES)]]
    if _base_type(annotation) in (int, float):
        forms.append(Annotated[Range[annotation], Tag(RANGE)])
    else:  # a mapping of another shape is then a fault of `choices`, which names what is missing
        forms.append(Annotated[Choices[annotation], Tag(RANGE)])
    return Annotated[Union[tuple(forms)], Discriminator(_form)]  # noqa: UP007


def _base_type(annotation: Any) -> Any:
    """The type under ``Annotated`` and ``| None``."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (arm for arm in get_args(annotation) if arm is not type(None))
    return annotation


class Section(Model):
    """Base of the derived models `NetworkSpace`, `TrainSpace` and `StageSpace`."""


def section_model(config: type, name: str, **replaced: Any) -> type[Section]:
    """The YAML's model of a section: each field of ``config`` fixed or searched."""
    hints = get_type_hints(config, include_extras=True)
    columns: dict[str, Any] = {}
    for column in fields(config):
        annotation = hints[column.name]
        described = next((m for m in annotation.__metadata__ if hasattr(m, "description")), None)
        columns[column.name] = (
            replaced.get(column.name) or _searchable(annotation),
            Field(default=column.default, description=described and described.description),
        )
    return create_model(name, __base__=Section, __doc__=config.__doc__, **columns)


StageSpace = section_model(StageConfig, "StageSpace")
NetworkSpace = section_model(
    NetworkConfig,
    "NetworkSpace",
    stages=Annotated[tuple[StageSpace, ...], Field(max_length=16)],  # type: ignore[valid-type]
)
TrainSpace = section_model(TrainConfig, "TrainSpace")

_CONFIGS: Mapping[str, type] = {"network": NetworkConfig, "train": TrainConfig}


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
    def size(self) -> float:
        """How many values it has; inf for a continuous one."""
        if self.kind == "categorical":
            return len(self.choices)
        assert self.low is not None
        assert self.high is not None
        if self.step is None:
            return math.inf
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1


class SpaceFault(ValueError):
    """A search space that contradicts itself; ``path`` is the field."""

    def __init__(self, path: str, message: str):
        self.path = path
        super().__init__(message)


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
        """Flatten the two sections.

        Raises:
            SpaceFault: a condition names an unknown field or value, conditions form a circle, or
                a searched field could never be used.
        """
        fixed: dict[str, Value] = {}
        parameters: list[Parameter] = []
        stages = getattr(network, "stages", ())
        for prefix, section, config in _sections(network, train):
            for column in fields(config):
                name, value = f"{prefix}.{column.name}", getattr(section, column.name)
                if column.name == "stages":
                    continue
                if isinstance(value, Range | Choices):
                    conditions = _conditions(prefix, config, column.name, value, len(stages))
                    parameters.append(_parameter(name, config, column, value, conditions))
                else:
                    fixed[name] = value
        space = cls(fixed, tuple(parameters), len(stages))
        space._check()
        return cls(fixed, tuple(_ordered(parameters)), len(stages))

    def ask(self, suggest: Callable[[Parameter], Value]) -> dict[str, Value]:
        """Ask ``suggest`` for every parameter that is active given those before it."""
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if self._active(parameter, values):
                values[parameter.name] = suggest(parameter)
        return values

    def trial(self, values: Mapping[str, Value]) -> TrialConfig:
        """The trial with these values of its active parameters, the rest fixed or default."""
        full = {**self.fixed}
        for parameter in self.parameters:
            full[parameter.name] = values.get(parameter.name, parameter.default)
        depth = full["network.depth"]
        used = self.stages if depth is None else min(int(depth), self.stages)
        return TrialConfig.from_json(
            {
                "network": {
                    **_section(full, "network"),
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

    def _active(self, parameter: Parameter, values: Mapping[str, Value]) -> bool:
        defaults = {p.name: p.default for p in self.parameters}
        known = {**defaults, **self.fixed, **values}
        return all(known[c.name] in c.values for c in parameter.conditions)

    def _check(self) -> None:
        names = [*self.fixed, *(parameter.name for parameter in self.parameters)]
        for parameter in self.parameters:
            for condition in parameter.conditions:
                if condition.name not in names:
                    raise SpaceFault(
                        f"{parameter.name}.when", f"{condition.name!r} is not a field of the study"
                    )
                domain = self.domain(condition.name)
                if domain is not None and not set(domain) & set(condition.values):
                    raise SpaceFault(
                        parameter.name,
                        f"is searched but never used: it needs {condition.name} to be "
                        f"{_either(condition.values)}, which is "
                        f"{_either(domain)}; fix it or leave it out",
                    )


def _sections(network: Section, train: Section) -> Iterator[tuple[str, Section, type]]:
    yield "network", network, NetworkConfig
    for index, stage in enumerate(getattr(network, "stages", ())):
        yield f"network.stages.{index}", stage, StageConfig
    yield "train", train, TrainConfig


def _conditions(
    prefix: str, config: type, field: str, value: Range[Any] | Choices[Any], stages: int
) -> tuple[Condition, ...]:
    """The user's ``when`` and what the method itself says about where the field is used."""
    hints = get_type_hints(config, include_extras=True)[field]
    found = [
        Condition(f"{prefix}.{other}", values)
        for marker in hints.__metadata__
        if isinstance(marker, AppliesWhere)
        for other, values in marker.conditions.items()
    ]
    if config is StageConfig:
        index = int(prefix.rsplit(".", 1)[1])
        found.append(Condition("network.family", ("stages",)))
        found.append(Condition("network.depth", (None, *range(index + 1, stages + 1))))
    for name, wanted in value.when.items():
        found.append(Condition(name, tuple(wanted) if isinstance(wanted, list) else (wanted,)))
    return tuple(found)


def _parameter(
    name: str, config: type, column: Any, value: Any, conditions: tuple[Condition, ...]
) -> Parameter:
    if isinstance(value, Choices):
        return Parameter(
            name,
            "categorical",
            choices=value.choices,
            conditions=conditions,
            default=column.default,
        )
    integer = _base_type(get_type_hints(config, include_extras=True)[column.name]) is int
    step = value.step if value.step is not None else (1 if integer else None)
    return Parameter(
        name,
        "int" if integer else "float",
        low=value.low,
        high=value.high,
        log=value.log,
        step=step,
        conditions=conditions,
        default=column.default,
    )


def _ordered(parameters: Sequence[Parameter]) -> Iterator[Parameter]:
    """The parameters, each after the searched ones that its conditions name."""
    waiting, done = list(parameters), set[str]()
    searched = {parameter.name for parameter in parameters}
    while waiting:
        ready = next(
            (p for p in waiting if {c.name for c in p.conditions} & searched <= done), None
        )
        if ready is None:
            raise SpaceFault(f"{waiting[0].name}.when", "the conditions of `when` form a circle")
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


def _either(values: Sequence[Value]) -> str:
    return " or ".join("null" if value is None else str(value) for value in values)
