"""Whatever a file holds, the loader gives a study or faults, never a traceback."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from latsearch.config import describe, json_schema, parse_study
from latsearch.config.strict_yaml import read_yaml
from latsearch.errors import ConfigError
from tests.config.spaces import BUNDLED, FOLDER

TEXTS = {name: (FOLDER / name).read_text() for name in BUNDLED}
_ODD = [
    *(None, True, 0, -1, 1, 3, 10**30, 1.5, 1e308, float("inf"), float("nan")),
    *("", "x", "lenet", "1e-4", "\x1b[31m", "\ud800"),
    *([], [1], [None], [[]], [{}], {}, {"a": {"b": {}}}),
    *({"low": 1}, {"low": 1, "high": 2}, {"low": 1, "high": 4, "step": 0.3}),
    *({"choices": [1]}, {"choices": ["mlp", "lenet"]}),
    {"low": 1, "high": 2, "when": {"network.family": ["stages"]}},
    {"low": 1, "when": {"x": {}}},
]
ODD = st.sampled_from(range(len(_ODD))).map(lambda index: copy.deepcopy(_ODD[index]))


def check(text: str) -> None:
    try:
        study = parse_study(text, "fuzz.yaml")
    except ConfigError as error:
        for line in str(error).split("\n"):
            assert line.startswith("fuzz.yaml: ")
            assert line.isprintable()
        return
    assert all(line.isprintable() or not line for line in describe(study))


@given(st.text())
def test_any_text(text: str) -> None:
    check(text)


@pytest.mark.parametrize("name", ["digits.yaml", "cifar10.yaml"])
@given(data=st.data())
def test_any_edit(name: str, data: st.DataObject) -> None:
    text = TEXTS[name]
    start = data.draw(st.integers(0, len(text)))
    end = min(len(text), start + data.draw(st.integers(0, 12)))
    added = data.draw(st.text(st.sampled_from("{}[]:,-&*!|>'\"#%@` \n\t?~<0a\x00"), max_size=4))
    check(text[:start] + added + text[end:])


@pytest.mark.parametrize("name", ["digits.yaml", "cifar10.yaml"])
@given(data=st.data())
def test_any_value_anywhere(name: str, data: st.DataObject) -> None:
    root, _, _ = read_yaml(TEXTS[name], name)
    for _ in range(data.draw(st.integers(1, 3))):
        _replace(root, data)
    text = "\ufeff"
    with contextlib.suppress(UnicodeError):
        text = yaml.safe_dump(root, sort_keys=False)
    check(text)


def _replace(node: Any, data: st.DataObject) -> None:
    """Put an odd value somewhere below the node."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and data.draw(st.booleans()):
            node = node[key]
            continue
        node[key] = data.draw(ODD)
        return


def test_the_schema_does_not_change_between_calls() -> None:
    assert json_schema() == json_schema()
