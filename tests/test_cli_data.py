"""The command line where it meets data: the user's own code, progress."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from latsearch.cli import cli
from latsearch.cli.progress import DataProgress
from latsearch.errors import LatsearchError

YAML = """
version: 1
study: own
data: {name: custom, function: "own_cli_module:squares"}
network: {family: {choices: [mlp, lenet]}, width: 4}
train: {epochs: 1}
search: {trials: 1}
"""
CODE = """
import numpy as np
def squares(root):
    y = np.arange(60) % 3
    return {"x": np.repeat(y * 80, 64).reshape(60, 8, 8).astype("uint8"), "y": y}
"""


def test_own_code_needs_the_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own.yaml").write_text(YAML)
    (tmp_path / "own_cli_module.py").write_text(CODE)
    with pytest.raises(LatsearchError) as caught:
        CliRunner().invoke(cli, ["run", "own.yaml", "--smoke"], catch_exceptions=False)
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        "data.function is Python code (own_cli_module:squares); if you trust it, allow it with "
        "--allow-code"
    )
    done = CliRunner().invoke(cli, ["run", "own.yaml", "--smoke", "--allow-code"])
    assert done.exit_code == 0, done.output
    assert "custom: 38 training and 10 validation images" in done.stdout


def test_progress_is_a_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with DataProgress() as progress:
        for done in range(1, 4):
            progress("set: decoding", done, 3)
        progress("set: decoding", 3, 3)  # said twice, shown once
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[0] == "set: decoding"
    assert shown.err.count("3/3") == 1
