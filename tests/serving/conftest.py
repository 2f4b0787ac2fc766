"""A trained network, and real servers of it in processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.trained import trained_study

DEADLINE = 60


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_study(tmp_path_factory.mktemp("served"))


@contextmanager
def running(model: str, *options: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server in a process of its own: its URL, and the process."""
    words = [sys.executable, "-m", "latsearch", "serve", model, "--port", "0"]
    process = subprocess.Popen(
        [*words, *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()  # ends with the process at the latest
        found = re.search(r"http://[\d.]+:\d+", line)
        assert found, line + process.stdout.read()
        yield found[0], process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            rest, _ = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert "Traceback" not in rest, rest


@pytest.fixture(scope="session")
def server(study: Path) -> Iterator[str]:
    """The URL of a server as users start it."""
    with running(f"{study}:0", "--threshold", 1.0) as (url, process):
        yield url
        assert process.poll() is None


@pytest.fixture(scope="session")
def narrow(study: Path) -> Iterator[str]:
    """The URL of a server with small limits that scales images."""
    limits = ("--max-body", 20_000, "--max-pixels", 10_000, "--max-waiting", 8, "--timeout", 2)
    with running(f"{study}:0", "--threshold", 1.0, "--resize", *limits) as (url, process):
        yield url
        assert process.poll() is None
