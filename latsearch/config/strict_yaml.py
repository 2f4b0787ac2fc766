"""YAML read strictly: plain values, the line of each, and every fault of the text."""

from __future__ import annotations

import re
from typing import Any

import yaml

from latsearch.config.text import key_text, shown
from latsearch.errors import Fault

Lines = dict[tuple[str, ...], int]

_MOST_NODES = 100_000  # values, aliases expanded: a small file can otherwise fill the memory
_DEEPEST = 50
_TAG = "tag:yaml.org,2002:"
_RESOLVED = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(0|[1-9][\d_]*)", "-+0123456789"),
    "float": (
        r"[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*|\d[\d_]*(?=[eE]))([eE][-+]?\d+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "merge": (r"<<", "<"),
}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with its surprises taken out.

    1e-4 is a number; dates, ``on`` and ``off``, 010 and 1:30 are text.
    """


_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _RESOLVED.items():
    _Loader.add_implicit_resolver(
        f"{_TAG}{_name}", re.compile(rf"(?:{_pattern})\Z"), ["" if c == "\0" else c for c in _first]
    )


def is_number(text: str) -> bool:
    """Whether YAML would read this text as a number if it stood without quotes."""
    return any(re.fullmatch(_RESOLVED[kind][0], text) for kind in ("int", "float"))


def read_yaml(text: str, file: str) -> tuple[Any, Lines, list[Fault]]:
    """The text's value, the line of each path, and the faults of the YAML itself.

    The value is complete but for what the faults are about, so that it can be checked further;
    it is None where the text is no YAML at all.
    """
    reader = _NodeReader(file)
    try:
        node = yaml.compose(text, Loader=_Loader)
        return (None if node is None else reader.value(node, ())), reader.lines, reader.faults
    except yaml.MarkedYAMLError as error:
        message = f"is not valid YAML: {_problem(error)}"
        if error.problem_mark:
            message += f" (line {error.problem_mark.line + 1})"
    except yaml.reader.ReaderError as error:
        message = f"is not a text file: {error.reason}"
    except RecursionError:
        message = "is nested too deeply for a search space"
    except ValueError as error:  # a number of more digits than Python converts, in a directive
        message = f"is not valid YAML: {error}"
    except OverflowError:
        message = f"has more than {_MOST_NODES} values once its aliases are expanded"
    return None, {}, [Fault(file, "", message)]


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or error.context)
    if "\\t" in problem:
        return "a tab cannot indent YAML; use spaces"
    if "another document" in problem:
        return "a second document starts with `---`, but a study is one document"
    return " ".join(problem.split())


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
        if len(path) > _DEEPEST:
            raise RecursionError
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            self._check_tag(node, path, "map")
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, path, "seq")
            return [self.value(item, (*path, str(i))) for i, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, path, "a key must be plain text")
                continue
            key = key_text(str(key_node.value))
            if key_node.tag == f"{_TAG}merge":
                self._fault(key_node, path, "`<<` is not supported; write the keys out")
            elif key in values:
                first = self.lines[(*path, key)]
                self._fault(key_node, (*path, key), f"is given twice, first in line {first}")
            else:
                values[key] = self.value(value_node, (*path, key))
                self.lines[(*path, key)] = key_node.start_mark.line + 1
        return values

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind == "null":
            return None
        if kind == "bool":
            return node.value.lower() == "true"
        try:
            if kind == "int":
                return self._constructor.construct_yaml_int(node)
            if kind == "float":
                return self._constructor.construct_yaml_float(node)
            node.value.encode()
        except (ValueError, IndexError):  # too many digits, `!!int x`, half a surrogate pair
            self._fault(node, path, f"{shown(node.value)} cannot be read")
            return None
        if kind != "merge":
            self._check_tag(node, path, "str")
        return str(node.value)

    def _check_tag(self, node: yaml.Node, path: tuple[str, ...], kind: str) -> None:
        if node.tag != f"{_TAG}{kind}":
            tag = node.tag.replace(_TAG, "!!")
            self._fault(node, path, f"the YAML tag {shown(tag)} is not used here; leave it out")

    def _fault(self, node: yaml.Node, path: tuple[str, ...], message: str) -> None:
        line = node.start_mark.line + 1
        self.faults.append(Fault(self._file, ".".join(path), f"{message} (line {line})"))
