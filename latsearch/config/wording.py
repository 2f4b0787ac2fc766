"""Pydantic's errors in a user's words: the value, the rule, the likely fix."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from latsearch.config.forms import CHOICES, RANGE, VALUE, Choices, Range
from latsearch.config.strict_yaml import is_number
from latsearch.config.study import StudyConfig
from latsearch.config.text import nearest, plain, shown

_MARKS = (VALUE, RANGE, CHOICES, "[key]")  # parts of pydantic's paths that are no keys
_RULES = {
    "int_type": "is not an integer",
    "int_from_float": "is not an integer",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_type": "is not true or false",
    "string_type": "is not text; put it in quotes if it is meant as text",
    "dict_type": "is not a mapping of keys to values",
    "model_type": "is not a mapping of keys to values",
    "tuple_type": "is not a list",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "has too few entries: at least {min_length}",
    "too_long": "has too many entries: at most {max_length}",
    "string_too_short": "is too short: at least {min_length}",
}


def explain(details: Mapping[str, Any], root: type[BaseModel] = StudyConfig) -> tuple[str, str]:
    """Dotted path and message of one of pydantic's errors about a model, the root."""
    location = details["loc"]
    keys = [str(part) for part in location if part not in _MARKS]
    return ".".join(keys), _message(details, keys, root) + _search_hint(details)


def _message(details: Mapping[str, Any], keys: list[str], root: type[BaseModel]) -> str:
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key{nearest(keys[-1], _known_keys(details['loc'][:-1], root))}"
    if kind == "missing":
        return "is missing"
    if kind == "literal_error":
        allowed = [part.strip(" '") for part in re.split(r", | or ", context["expected"])]
        hint = nearest(given, allowed) if isinstance(given, str) else ""
        # the message has the list of names already
        hint = hint if "did you mean" in hint else ""
        return f"{shown(given)} is not one of {', '.join(allowed)}{hint}"
    if kind == "value_error":
        return str(context["error"])
    if given is None and kind in ("dict_type", "model_type"):
        return "is empty: it has no keys"
    rule = _RULES.get(kind)
    if rule is None:
        return f"{details['msg']}, got {shown(given)}"
    bounds = {
        name: plain(bound) if isinstance(bound, int | float) else bound
        for name, bound in context.items()
    }
    quoted = kind in ("int_type", "float_type") and isinstance(given, str) and is_number(given)
    return f"{shown(given)} {rule.format(**bounds)}" + ("; take the quotes away" if quoted else "")


def _search_hint(details: Mapping[str, Any]) -> str:
    """How to search several values, where a list was given for one."""
    several = isinstance(details["input"], list) and VALUE in details["loc"]
    return "; to search several values, write {choices: […]}" if several else ""


def _known_keys(location: tuple[Any, ...], root: type[BaseModel]) -> list[str]:
    """Keys of the model at a location of pydantic's errors."""
    models: list[type[BaseModel]] = [root]
    for part in location:
        if part == RANGE:
            models = [model for model in models if issubclass(model, Range)]
        elif part == CHOICES:
            models = [model for model in models if issubclass(model, Choices)]
        elif any(part in _keys(model) for model in models):
            models = [
                found
                for model in models
                if part in _keys(model)
                for found in _models_in(_keys(model)[part])
            ]
    return sorted({key for model in models for key in _keys(model)})


def _keys(model: type[BaseModel]) -> dict[Any, Any]:
    """A model's keys as the YAML has them, with their types."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
