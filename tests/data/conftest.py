"""Fixtures of the data tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def forbid(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Take all permissions from a path until the test ends; open the way to it for everybody."""
    changed: list[tuple[Path, int]] = []

    def change(path: Path, mode: int) -> None:
        changed.append((path, path.stat().st_mode))
        path.chmod(mode)

    def take(path: Path) -> None:
        for parent in path.parents:
            if parent.stat().st_uid == os.getuid() and parent != Path("/"):
                change(parent, parent.stat().st_mode | 0o055)
        change(path, 0)

    yield take
    for path, mode in reversed(changed):
        path.chmod(mode)


@pytest.fixture(autouse=True)
def _no_usual_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No data set of this machine is found by accident."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("LATSEARCH_DATA", raising=False)
    monkeypatch.setenv("LATSEARCH_CACHE", str(home / "cache"))
