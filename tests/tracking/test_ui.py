"""The UI's server, started and stopped for real."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from latsearch.errors import UserError
from latsearch.tracking import publish, serve_ui
from latsearch.tracking.ui import ui_command
from tests.tracking.synthetic import SyntheticStudy


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_serving_and_stopping(
    synthetic: SyntheticStudy, uri: str, free_port: int, how: signal.Signals
) -> None:
    synthetic.trial()
    view = publish(synthetic.study, uri).view
    runs = synthetic.study.folder.parent
    command = [sys.executable, "-m", "latsearch", "ui", "--runs", str(runs)]
    server = subprocess.Popen(
        [*command, "--port", str(free_port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    lines = [server.stdout.readline().strip() for _ in range(3)]
    base = f"http://127.0.0.1:{free_port}"
    assert lines[0] == f"MLflow is at {base}"
    assert lines[1] == f"{synthetic.study.name}: {base}/{view}"
    with urllib.request.urlopen(f"{base}/health") as answer:
        assert answer.status == 200
    os.kill(server.pid, how)
    assert server.wait(30) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", free_port)) != 0


def test_a_port_in_use(uri: str, synthetic: SyntheticStudy, free_port: int) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free_port))
        holder.listen()
        with pytest.raises(UserError, match=f"port {free_port} of 127.0.0.1 cannot be used"):
            serve_ui(synthetic.study.folder.parent, uri, free_port, print)


def test_no_store_yet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no MLflow store yet"):
        serve_ui(tmp_path, None, 5000, print)


def test_a_server_is_only_pointed_to(synthetic: SyntheticStudy, server: str) -> None:
    lines: list[str] = []
    serve_ui(Path("runs"), server, 5000, lines.append, synthetic.study)
    assert lines == [
        f"MLflow is at {server}",
        f"{synthetic.study.name} has not been published to it yet: `latsearch publish RUN` does so",
    ]
    synthetic.trial()
    report = publish(synthetic.study, server)
    lines.clear()
    serve_ui(Path("runs"), server, 5000, lines.append, synthetic.study)
    assert lines[1:] == [f"{synthetic.study.name}: {report.url}"]


def test_the_command_names_store_and_artifacts(tmp_path: Path) -> None:
    command = ui_command(f"sqlite:///{tmp_path}/mlflow.db", 5001)
    assert f"file://{tmp_path}/mlflowartifacts" not in command
    assert (tmp_path / "mlartifacts").as_uri() in command
    assert command[-1] == "1"
