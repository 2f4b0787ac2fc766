"""The search spaces that ship with latsearch, and a way to walk a space at random."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from latsearch.config import Parameter, StudyConfig, Value, parse_study

FOLDER = Path(__file__).parents[2] / "search_spaces"
BUNDLED = sorted(path.name for path in FOLDER.glob("*.yaml"))

HEAD = "version: 1\nstudy: good\ndata: {name: digits}\n"


def study(text: str) -> StudyConfig:
    """The study with these lines after its head."""
    return parse_study(HEAD + text)


def draw(data: st.DataObject, parameter: Parameter) -> Value:
    """A value of the parameter, its ends among the first tried."""
    if parameter.kind == "categorical":
        return data.draw(st.sampled_from(parameter.choices))
    assert parameter.low is not None
    assert parameter.high is not None
    if parameter.step is None:
        return data.draw(st.floats(parameter.low, parameter.high))
    index = data.draw(st.integers(0, int(parameter.size) - 1))
    value = parameter.low + index * parameter.step
    return int(value) if parameter.kind == "int" else value
