"""The only reader of configuration files: strict YAML in, a `StudyConfig` or all faults out."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from latsearch.config.space import CHOICES, RANGE, VALUE, Choices, Range, SpaceFault
from latsearch.config.study import StudyConfig
from latsearch.errors import ConfigError, Fault

_LARGEST_FILE = 1_000_000  # bytes
_MOST_NODES = 100_000  # values, aliases expanded: a small file can otherwise fill the memory
_FLOAT = re.compile(r"[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+")


def load_study(file: str | Path) -> StudyConfig:
    """Read and check a study's YAML file.

    Raises:
        ConfigError: with every fault of the file.
    """
    path = Path(file)
    try:
        with path.open("rb") as stream:
            raw = stream.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise ConfigError([Fault(str(file), "", "no such file")]) from None
    except OSError as error:
        raise ConfigError([Fault(str(file), "", f"cannot be read: {error.strerror}")]) from None
    if len(raw) > _LARGEST_FILE:
        raise ConfigError([Fault(str(file), "", "is larger than 1 MB, so no search space")])
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError([Fault(str(file), "", "is not a text file in UTF-8")]) from None
    return parse_study(text, str(file))


def parse_study(text: str, file: str = "<study>") -> StudyConfig:
    """Check a study's YAML text; ``file`` is the name used in faults.

    Raises:
        ConfigError: with every fault of the text.
    """
    data, lines, faults = _read_yaml(text, file)
    if faults:
        raise ConfigError(faults)
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"holds {_shown(data)}, not a mapping"
        raise ConfigError([Fault(file, "", f"{what}; start with `version: 1`")])

    def fault(path: tuple[str, ...], message: str) -> Fault:
        line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
        return Fault(file, ".".join(path), message + (f" (line {line})" if line else ""))

    try:
        # Through JSON: strict about types there, yet lists may become tuples.
        study = StudyConfig.model_validate_json(json.dumps(data))
        found = list(study.faults())
    except ValidationError as error:
        faults = [fault(*_explain(details)) for details in error.errors()]
        raise ConfigError(_without_echoes(faults)) from None
    except SpaceFault as error:
        raise ConfigError([fault(tuple(error.path.split(".")), str(error))]) from None
    if found:
        raise ConfigError([fault(tuple(path.split(".")), message) for path, message in found])
    return study


# --- YAML ---------------------------------------------------------------------------------------


class _Resolver(yaml.SafeLoader):
    """YAML 1.1 with its surprises taken out: 1e-4 is a number, dates and `on` / `off` are text."""


_Resolver.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":timestamp", ":bool"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Resolver.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")
)
_Resolver.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))

Lines = dict[tuple[str, ...], int]


def _read_yaml(text: str, file: str) -> tuple[Any, Lines, list[Fault]]:
    """The text's value, the line of each path, and the faults of the YAML itself."""
    reader = _NodeReader(file)
    try:
        node = yaml.compose(text, Loader=_Resolver)
        return (None if node is None else reader.value(node, ())), reader.lines, reader.faults
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        message = f"is not valid YAML: {error.problem or error.context} (line {line})"
    except yaml.reader.ReaderError as error:
        message = f"is not a text file: {error.reason}"
    except RecursionError:
        message = "is nested too deeply for a search space"
    except OverflowError:
        message = f"has more than {_MOST_NODES} values once its aliases are expanded"
    except ValueError as error:  # a scalar with an explicit tag that does not fit, e.g. !!int x
        message = f"is not valid YAML: {error}"
    return None, {}, [Fault(file, "", message)]


class _NodeReader:
    """Turns a composed YAML document into plain values and remembers lines."""

    def __init__(self, file: str):
        self.lines: Lines = {}
        self.faults: list[Fault] = []
        self._file = file
        self._nodes = 0
        self._constructor = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise OverflowError
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, str(i))) for i, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, path, "a key must be plain text")
                continue
            key = str(key_node.value)
            if key in values:
                first = self.lines[(*path, key)]
                self._fault(key_node, (*path, key), f"is given twice, first in line {first}")
                continue
            values[key] = self.value(value_node, (*path, key))
            self.lines[(*path, key)] = key_node.start_mark.line + 1
        return values

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind == "null":
            return None
        if kind == "bool":
            return node.value.lower() == "true"
        if kind == "int":
            return self._constructor.construct_yaml_int(node)
        if kind == "float":
            return self._constructor.construct_yaml_float(node)
        if kind != "str":
            self._fault(node, path, f"the YAML tag {node.tag!r} is not used here; write plain text")
        return str(node.value)

    def _fault(self, node: yaml.Node, path: tuple[str, ...], message: str) -> None:
        line = node.start_mark.line + 1
        self.faults.append(Fault(self._file, ".".join(path), f"{message} (line {line})"))


# --- faults in words ----------------------------------------------------------------------------


def _explain(details: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """Path and message of one of pydantic's errors."""
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    path = tuple(str(part) for part in details["loc"] if part not in (VALUE, RANGE, CHOICES))
    # a key of the mapping itself (an objective, say) is marked so by pydantic
    path = tuple(part for part in path if part != "[key]")
    if kind == "extra_forbidden":
        known = _known_keys(details["loc"][:-1])
        return path, f"unknown key{_nearest(path[-1], known)}"
    if kind == "missing":
        return path, "is missing"
    if kind in ("literal_error", "enum"):
        allowed = [part.strip(" '") for part in re.split(r", | or ", context["expected"])]
        hint = _nearest(given, allowed) if isinstance(given, str) else ""
        return path, f"{_shown(given)} is not one of {', '.join(allowed)}{_only(hint)}"
    if kind == "value_error":
        return path, str(context["error"])
    rule = _RULES.get(kind)
    if rule:
        message = f"{_shown(given)} " + rule.format(**context)
        if isinstance(given, list):
            message += "; to search a field, write {choices: […]}"
        return path, message
    return path, f"{details['msg']}, got {_shown(given)}"


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
    "too_short": "is too short: at least {min_length}",
    "too_long": "is too long: at most {max_length}",
    "string_pattern_mismatch": "does not have the form {pattern}",
}


def _without_echoes(faults: list[Fault]) -> list[Fault]:
    """One fault a path: a union reports each of its arms."""
    seen: dict[str, Fault] = {}
    for fault in faults:
        seen.setdefault(fault.path, fault)
    return list(seen.values())


def _shown(value: Any) -> str:
    text = "null" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _nearest(key: Any, known: list[str]) -> str:
    near = difflib.get_close_matches(str(key).lower(), known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; known are {', '.join(known)}" if known else ""


def _only(hint: str) -> str:
    """A nearest name as a hint, but not the list of names that the message has already."""
    return hint if "did you mean" in hint else ""


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    """Keys of the model at a location of pydantic's errors."""
    models: list[type[BaseModel]] = [StudyConfig]
    for part in location:
        if part == RANGE:
            models = [m for m in models if issubclass(m, Range)] or models
        elif part == CHOICES:
            models = [m for m in models if issubclass(m, Choices)]
        elif any(part in model.model_fields for model in models):
            models = [
                found
                for model in models
                if part in model.model_fields
                for found in _models_in(model.model_fields[part].annotation)
            ]
    return sorted({key for model in models for key in model.model_fields})


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
