"""The forms a field of the YAML may have: a value, a range, or choices.

`section_model` derives the YAML's model of a section from its dataclass in `trial.py`: each field
is a value, a range ``{low, high, log, step}`` or ``{choices}``.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    create_model,
    field_validator,
    model_validator,
)

from latsearch.config.options import OPTION_NAME, option_name
from latsearch.config.text import plain, shown
from latsearch.config.trial import (
    NetworkConfig,
    Options,
    StageConfig,
    TrainConfig,
    Value,
    field_types,
)

# Tags of the three forms of a field; pydantic puts them into error paths, `wording` takes them out.
VALUE, RANGE, CHOICES = "<value>", "<range>", "<choices>"

_MOST_STEPS = 1_000_000_000
_RANGE_KEYS = {"low", "high", "log", "step"}
_SCALARS: Any = {"type": ["number", "string", "boolean", "null"]}
_A_LIST: Any = {"type": "array", "items": _SCALARS, "minItems": 1}


class Model(BaseModel):
    """Base of the YAML's models: unknown keys are faults, nothing is converted or changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Searched(Model):
    when: dict[str, Any] = Field(
        default={},
        description="search this only where other fields have these values, e.g. "
        "{network.family: [mlp, lenet]}",
        json_schema_extra={"additionalProperties": {"anyOf": [_SCALARS, _A_LIST]}},
    )

    @field_validator("when")
    @classmethod
    def _values(cls, when: dict[str, Any]) -> dict[str, Any]:
        for name, wanted in when.items():
            values = wanted if isinstance(wanted, list) else [wanted]
            if not values or any(isinstance(value, list | dict) for value in values):
                raise ValueError(
                    f"{shown(wanted)} is neither a value nor a list of values of {name}"
                )
        return when


class Range(_Searched):
    """An interval to search, both ends included."""

    low: int | float = Field(description="lowest value")
    high: int | float = Field(description="highest value")
    log: bool = Field(default=False, description="search on a logarithmic scale")
    step: int | float | None = Field(
        default=None, description="distance between the searched values"
    )

    @model_validator(mode="after")
    def _check(self) -> Range:
        low, high = self.low, self.high
        if low >= high:
            raise ValueError(f"low = {plain(low)} must be below high = {plain(high)}")
        if self.log and low <= 0:
            raise ValueError(f"log: true needs low above 0, got low = {plain(low)}")
        if self.step is not None:
            if self.log:
                raise ValueError("step and log: true exclude each other")
            _check_step(low, high, self.step)
        return self


def _check_step(low: float, high: float, step: float) -> None:
    given = f"step = {plain(step)}"
    if not 0 < step <= high - low:
        raise ValueError(
            f"{given} must be above 0 and at most high - low = {plain(round(high - low, 12))}"
        )
    steps = (high - low) / step
    if steps > _MOST_STEPS:
        raise ValueError(f"{given} is too small: leave it out for a continuous range")
    if abs(steps - round(steps)) > 1e-6:
        reached = plain(round(low + int(steps) * step, 12))
        raise ValueError(
            f"{given} does not lead from low = {plain(low)} to high = {plain(high)}; "
            f"write high: {reached}"
        )


class Choices(_Searched):
    """A list of values to search."""

    choices: tuple[Any, ...] = Field(min_length=1, strict=False, description="the values")

    @model_validator(mode="after")
    def _check(self) -> Choices:
        for index, choice in enumerate(self.choices):
            if choice in self.choices[:index]:
                raise ValueError(f"choices: {shown(choice)} is listed twice")
        return self


class Section(Model):
    """Base of the derived models `NetworkSpace`, `TrainSpace` and `StageSpace`."""


def section_model(config: type, name: str, **replaced: Any) -> type[Section]:
    """The YAML's model of a section: each field of ``config`` fixed or searched."""
    hints = field_types(config)
    columns: dict[str, Any] = {}
    for column in fields(config):
        annotation = hints[column.name]
        described = next((m for m in annotation.__metadata__ if hasattr(m, "description")), None)
        prefix = name.removesuffix("Space") + column.name.title().replace("_", "")
        columns[column.name] = (
            replaced.get(column.name) or _searchable(annotation, prefix),
            Field(
                default=_default(column.default), description=described and described.description
            ),
        )
    return create_model(name, __base__=Section, __doc__=config.__doc__, **columns)


def _default(value: Any) -> Any:
    return dict(value) if isinstance(value, Options) else value  # as the schema shows it


def base_type(annotation: Any) -> Any:
    """The type under ``Annotated`` and ``| None``."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (arm for arm in get_args(annotation) if arm is not type(None))
    return annotation


def _searchable(annotation: Any, prefix: str) -> Any:
    """A value of ``annotation``, choices of it or a range of it; ``prefix`` names the models."""
    choices = create_model(
        f"{prefix}Choices",
        __base__=Choices,
        __doc__="A list of values to search.",
        choices=(tuple[annotation, ...], Choices.model_fields["choices"]),
    )
    forms = [Annotated[annotation, Tag(VALUE)], Annotated[choices, Tag(CHOICES)]]
    base = base_type(annotation)
    numeric = base in (int, float)
    if numeric:
        end: Any = Annotated[base, *annotation.__metadata__]  # an end of a range is never null
        searched = create_model(
            f"{prefix}Range",
            __base__=Range,
            __doc__="An interval to search, both ends included.",
            low=(end, Range.model_fields["low"]),
            high=(end, Range.model_fields["high"]),
            step=(base | None, Range.model_fields["step"]),
        )
        forms.append(Annotated[searched, Tag(RANGE)])

    def check_keys(raw: Any) -> Any:
        _check_keys(raw, numeric)
        return raw

    return Annotated[Union[tuple(forms)], Discriminator(_form), BeforeValidator(check_keys)]  # noqa: UP007


def _option(raw: Any) -> Any:
    """Refuse what is neither a value nor a search."""
    _check_keys(raw, numeric=True)
    if isinstance(raw, list):
        raise ValueError(f"{shown(raw)} is no value; to search several, write {{choices: […]}}")
    return raw


def _form(raw: Any) -> str:
    """Which of the three forms of a field this is."""
    if isinstance(raw, Choices) or (isinstance(raw, Mapping) and "choices" in raw):
        return CHOICES
    return RANGE if isinstance(raw, Range | Mapping) else VALUE


def _check_keys(raw: Any, numeric: bool) -> None:
    """Refuse a mapping that is neither a range nor choices, or both."""
    if not isinstance(raw, Mapping):
        return
    of_range = [key for key in raw if key in _RANGE_KEYS]
    if "choices" in raw:
        if of_range:
            raise ValueError(f"{of_range[0]} and choices exclude each other")
    elif of_range and not numeric:
        raise ValueError("cannot be searched in a range; write {choices: […]}")
    elif not of_range:
        ways = "{low: …, high: …} or {choices: […]}" if numeric else "{choices: […]}"
        raise ValueError(f"{shown(raw)} is neither a value nor a search: write {ways}")


StageSpace = section_model(StageConfig, "StageSpace")
OptionRange = create_model("OptionRange", __base__=Range, __doc__="An interval to search.")
OptionChoices = create_model(
    "OptionChoices",
    __base__=Choices,
    __doc__="A list of values to search.",
    choices=(tuple[Value, ...], Choices.model_fields["choices"]),
)
_Option = Annotated[
    Annotated[Value, Tag(VALUE)]
    | Annotated[OptionRange, Tag(RANGE)]
    | Annotated[OptionChoices, Tag(CHOICES)],
    Discriminator(_form),
    BeforeValidator(_option),
]
_OptionName = Annotated[
    str, Field(json_schema_extra={"pattern": OPTION_NAME}), AfterValidator(option_name)
]
NetworkSpace = section_model(
    NetworkConfig,
    "NetworkSpace",
    options=Annotated[dict[_OptionName, _Option], Field(max_length=64)],
    stages=Annotated[tuple[StageSpace, ...], Field(max_length=16)],  # type: ignore[valid-type]
)
TrainSpace = section_model(TrainConfig, "TrainSpace")
