"""Every faulty file gives exactly the faults that bad/expected.txt lists, all at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from latsearch.config import load_study, parse_study
from latsearch.errors import ConfigError

HERE = Path(__file__).parent
BAD = sorted(path.name for path in (HERE / "bad").glob("*.yaml"))


def expected() -> dict[str, list[str]]:
    """File name → its lines in expected.txt."""
    found: dict[str, list[str]] = {}
    name = ""
    _, _, *lines = (HERE / "bad" / "expected.txt").read_text().splitlines()
    for line in filter(None, lines):
        if line.startswith("    "):
            found[name].append(line.strip())
        else:
            name = line
            found[name] = []
    return found


EXPECTED = expected()


def faults(load: Callable[[], object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load()
    assert caught.value.exit_code == 2
    lines = str(caught.value).split("\n")
    assert lines == [str(fault) for fault in caught.value.faults]
    return lines


def test_the_table_has_every_file() -> None:
    assert list(EXPECTED) == BAD
    assert len(BAD) >= 35


@pytest.mark.parametrize("name", BAD)
def test_faults(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    assert faults(lambda: load_study(f"bad/{name}")) == EXPECTED[name]
    for line in EXPECTED[name]:
        assert line.isprintable()
        assert line.startswith(f"bad/{name}: ")


def test_no_file(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    assert faults(lambda: load_study(file)) == [f"{file}: no such file"]
    assert faults(lambda: load_study(tmp_path)) == [f"{tmp_path}: cannot be read: Is a directory"]
    file.write_text("x")
    inside = file / "inside"
    assert faults(lambda: load_study(inside)) == [f"{inside}: cannot be read: Not a directory"]


def test_a_large_file(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_bytes(b"#" * 1_000_001)
    assert faults(lambda: load_study(file)) == [f"{file}: is larger than 1 MB, so no search space"]


@pytest.fixture
def unreadable(tmp_path: Path) -> Iterator[Path]:
    """A file without read permission, as seen by a user for whom permissions count."""
    file = tmp_path / "study.yaml"
    file.write_text("version: 1\n")
    file.chmod(0)
    if os.geteuid() != 0:
        yield file
        return
    for parent in [tmp_path, tmp_path.parent, tmp_path.parent.parent]:
        parent.chmod(0o755)
    os.seteuid(65534)
    try:
        yield file
    finally:
        os.seteuid(0)


def test_no_permission(unreadable: Path) -> None:
    message = f"{unreadable}: cannot be read: Permission denied"
    assert faults(lambda: load_study(unreadable)) == [message]


def test_text_without_a_file() -> None:
    assert faults(lambda: parse_study("")) == ["<study>: is empty; start with `version: 1`"]
