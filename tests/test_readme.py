"""The README's commands and code, typed as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def block(language: str, containing: str) -> str:
    """The README's first block of a language that contains a text."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    return next(text for kind, text in blocks if kind == language and containing in text)


def commands() -> list[str]:
    """The commands on `my.yaml`, in their order."""
    lines = block("", "latsearch validate my.yaml").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.startswith("latsearch")]


@pytest.mark.slow
def test_the_commands_work_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(block("yaml", "study: my-first"))
    typed = commands()
    assert typed[-1] == "latsearch ui"
    for command in typed[:-1]:  # the UI serves for ever; tests/tracking looks at it
        assert command.startswith("latsearch ")
        words = f"{sys.executable} -m {command}"
        done = subprocess.run(
            words, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "front.csv").read_text().startswith("trial,decision_threshold,accuracy")
    assert (tmp_path / "runs" / "mlflow.db").is_file()


def test_the_python_example_works_as_it_stands(tmp_path: Path) -> None:
    code = block("python", "import latsearch")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    figures, decisions = done.stdout.splitlines()[0], done.stdout.splitlines()[1:]
    accuracy, latency, energy = map(float, figures.split())
    assert 0.5 < accuracy <= 1
    assert 1 <= latency <= 4
    assert energy > 0
    assert decisions


def test_files_that_the_readme_names_are_there() -> None:
    text = README.read_text()
    for name in re.findall(r"`((?:tests|docs|search_spaces|benchmarks)/[\w./-]+)`", text):
        assert (README.parent / name).exists(), name
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (README.parent / link).exists(), link
