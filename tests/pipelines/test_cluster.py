"""A pipeline whose stages run on a Ray cluster gives what one process gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.samples import TINY, outputs
from tests.test_nodes import head as head  # a cluster of one node that asks for a token

SMALL = TINY.replace("register: {}\n", "").replace("members: 2", "members: 1")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_a_cluster(head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    (tmp_path / "tiny.yaml").write_text(SMALL)
    for words in (
        ["--runs", "here", "--workers", "0"],
        ["--runs", "there", "--workers", "1", "--address", head, "--until", "search"],
        ["--runs", "there", "--workers", "1", "--address", head],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "latsearch", "pipeline", "tiny.yaml", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert outputs(tmp_path / "there") == outputs(tmp_path / "here")
