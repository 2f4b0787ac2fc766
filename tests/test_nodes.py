"""A search over several real Ray nodes, with the program that measures it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import binaries

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "nodes.py"


def figures(tmp_path: Path, *words: str) -> dict[str, object]:
    file = tmp_path / "nodes.json"
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--quick", "--json", str(file), *words],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(file.read_text())
    return found


@pytest.mark.slow
@pytest.mark.skipif(binaries() is None, reason="needs PostgreSQL's server")
def test_nodes_are_killed_and_added_and_every_trial_is_there_once(tmp_path: Path) -> None:
    found = figures(tmp_path)
    assert found["every_trial_once"]
    assert found["every_epoch_once"]
    assert found["complete"] == found["trials"]
    assert found["attempts_counted"] == 0  # a machine that goes away is no fault of a trial's
    assert int(str(found["node_lost_epochs_most"])) <= int(str(found["checkpoint_every"]))


def may_make_namespaces() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"lstry{os.getpid() % 10000}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return False
    subprocess.run(["ip", "netns", "del", name], check=False)
    return True


@pytest.mark.slow
@pytest.mark.skipif(binaries() is None, reason="needs PostgreSQL's server")
@pytest.mark.skipif(not may_make_namespaces(), reason="needs root and iproute2")
def test_nodes_with_addresses_of_their_own(tmp_path: Path) -> None:
    found = figures(tmp_path, "--netns")
    assert found["namespaces"]
    assert found["every_trial_once"]
    assert found["every_epoch_once"]
