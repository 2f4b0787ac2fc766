"""Real Ray nodes: a search over several that are killed, what doctor says, who is let in.

`benchmarks/nodes.py --netns` runs the search with an address of its own for every node.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import QUOTED, Postgres, binaries

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "nodes.py"

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)  # over a minute on an idle machine, several on a busy one
@pytest.mark.skipif(binaries() is None, reason="needs PostgreSQL's server")
def test_nodes_are_killed_and_added_and_every_trial_is_there_once(tmp_path: Path) -> None:
    file = tmp_path / "nodes.json"
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--quick", "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=880,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert found["every_trial_once"]
    assert found["every_epoch_once"]
    assert found["complete"] == found["trials"]
    assert found["attempts_counted"] == 0  # a machine that goes away is no fault of a trial's
    assert found["node_lost_epochs_most"] <= found["checkpoint_every"]
    assert found["head_lost_epochs_most"] <= found["checkpoint_every"]


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster of one node, which asks for a token."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    short = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)  # of sockets
    process = subprocess.Popen(
        [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}",
            "--node-ip-address=127.0.0.1", "--num-cpus=1", "--include-dashboard=false",
            "--min-worker-port=0", "--max-worker-port=0", f"--temp-dir={short.name}",
            "--resources", '{"spot": 2}', "--block",
        ],
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        stop(process)
        short.cleanup()


def stop(process: subprocess.Popen[bytes]) -> None:
    """End `ray start --block` and what it started; politely, then not."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)


def doctor(tmp_path: Path, address: str) -> subprocess.CompletedProcess[str]:
    words = ["doctor", "--address", address, "--runs", str(tmp_path / "runs")]
    return subprocess.run(
        [sys.executable, "-m", "latsearch", *words], capture_output=True, text=True, timeout=120
    )


def test_doctor_asks_every_node(
    head: str, tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = doctor(tmp_path, head)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"--address {head}: Ray does not let us in" in refused.stderr
    assert "there is none on this machine" in refused.stderr

    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("LATSEARCH_STORAGE", postgres.database())
    found = doctor(tmp_path, head)
    assert found.returncode == 0, found.stdout + found.stderr
    lines = found.stdout.splitlines()
    (node,) = [line for line in lines if line.startswith("ok   node ")]
    assert "gives 1 CPU, 2 spot" in node
    assert any("storage" in line and "answers in" in line for line in lines)
    assert any("is seen and written by 1 of 1 nodes" in line for line in lines)
    assert QUOTED not in found.stdout + found.stderr
    assert (tmp_path / "token").read_text() not in found.stdout + found.stderr
