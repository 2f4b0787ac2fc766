"""Targets that are text: study files, conditions, what a Kubernetes API server answers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from latsearch.cluster.manifests import Submission, load_template, render
from latsearch.config import describe, parse_study
from latsearch.config.pipeline import parse_pipeline
from latsearch.config.strict_yaml import read_yaml
from latsearch.errors import ConfigError
from latsearch.search.query import parse
from tests.fuzz.mutation import text_with, tree
from tests.fuzz.targets import Target, file_check

ROOT = Path(__file__).parents[2]
_YAML_TOKENS = (
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        ",",
        "-",
        "- ",
        "&a ",
        "*a",
        "<<: *a",
        "!",
        "!!",
        "|",
        ">",
        "'",
    ),
    *(
        '"',
        "#",
        "%YAML 1.1\n",
        "@",
        "`",
        "\n",
        "\t",
        "?",
        "? ",
        "~",
        "---\n",
        "...\n",
        "\\",
        "\x00",
    ),
    *("!!python/object/apply:os.system [id]", "!!binary aGk=", "!!set {a}", "!!int 7", "!!float x"),
    *("0x1F", "010", "1_000", "1e-4", ".inf", "-.NaN", "1:30", "2001-01-01", "yes", "9" * 5000),
    *(
        "{low: 1, high: 2}",
        "{choices: [1, 2]}",
        "when: {network.family: [lenet]}",
        "\u2028",
        "\ufeff",
    ),
    *("&x [*x]", "&a [&b [&c [*a]]]", '"\\ud800"', '"\\x1b[2J"', "[[[[[[", "{{{{", "\x85", "\x7f"),
)
_SUBMISSION = Submission("tiny", "latsearch", "tiny", "version: 1\n", options=("--trials", "3"))
_FIELDS = ("network", "train", "data", "search", "stages", "choices", "low", "high", "when", "step")


def _studies(folder: Path) -> list[bytes]:
    good = [*(ROOT / "search_spaces").glob("*.yaml")] * 10  # what is damaged twice says little
    bad = list((ROOT / "tests/config/bad").glob("*.yaml"))
    files = [file for file in sorted(good) + sorted(bad) if file.stat().st_size < 4000]
    return [file.read_bytes() for file in files]


def _study_edit(content: bytes, random: Random) -> bytes:
    """Text edits, or the file's values damaged and written as JSON, which is YAML."""
    if random.random() < 0.5:
        return text_with(_YAML_TOKENS)(content, random)
    root = _values(content)
    if not isinstance(root, dict):
        return text_with(_YAML_TOKENS)(content, random)
    return json.dumps(tree(root, random, _FIELDS)).encode()


@cache
def _values(content: bytes) -> Any:
    return read_yaml(content.decode("utf-8", "replace"), "seed")[0]


def _study(content: bytes) -> None:
    try:
        study = parse_study(content.decode("utf-8", "replace"), "fuzz.yaml")
    except ConfigError as error:
        if not all(line.startswith("fuzz.yaml: ") for line in str(error).split("\n")):
            raise AssertionError(f"a line without the file's name: {error}") from None
        raise
    assert all(line.isprintable() or not line for line in describe(study))


def _pipeline(content: bytes) -> None:
    parse_pipeline(content.decode("utf-8", "replace"), "fuzz.yaml")


_COLUMNS = ("trial", "accuracy", "latency", "energy", "network.timesteps", "network.family")
_CONDITIONS = (
    "latency <= 1.5 and (energy < 200 or network.family == 'lenet')",
    "not accuracy > 0.9 and trial != 3 or network.timesteps = null",
    "(((trial < 5)))",
)
_WHERE_TOKENS = (
    *(
        "and",
        "or",
        "not",
        "(",
        ")",
        "<=",
        ">=",
        "==",
        "=",
        "!=",
        "<",
        "'",
        '"',
        "'x'",
        "1e400",
        "-",
    ),
    *("latency", "accuracy", "network.family", "trial", "null", "true", "__import__('os')", ";"),
    *("9" * 400, "(" * 300, "not " * 300, "é", "\x1b[31m", "\n", "a.b.c", "1.2.3", ".", "\\", "&"),
)


def _where(content: bytes) -> None:
    holds = parse(content.decode("utf-8", "replace"), _COLUMNS)
    for row in ({}, dict.fromkeys(_COLUMNS, 1.5), dict.fromkeys(_COLUMNS, "lenet")):
        assert holds(row) in (True, False)


def _template(file: Path) -> None:
    render(load_template(file), _SUBMISSION)


TARGETS = (
    Target("yaml", 1_000_000, _studies, _study_edit, lambda _: _study),
    Target(
        "pipeline",
        100_000,
        lambda _: [file.read_bytes() for file in sorted((ROOT / "pipelines").glob("*.yaml"))],
        _study_edit,
        lambda _: _pipeline,
    ),
    Target(
        "where",
        100_000,
        lambda _: [text.encode() for text in _CONDITIONS],
        text_with(_WHERE_TOKENS),
        lambda _: _where,
    ),
    Target(
        "template",
        20_000,
        lambda _: [(ROOT / "k8s/base/rayjob.yaml").read_bytes()],
        _study_edit,
        file_check("rayjob.yaml", _template),
    ),
)
