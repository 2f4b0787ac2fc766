"""A real search with secrets in storage, tracking URI and environment: they stay there."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from latsearch.tracking.ui import ui_server
from tests.postgres import PASSWORD, QUOTED, Postgres

SPACE = """
version: 1
study: secret
data: {{name: digits, validation: 0.25}}
network: {{family: mlp, timesteps: {{low: 1, high: 3}}, width: 8, hidden: 16}}
train: {{epochs: 2, batch_size: 64}}
search: {{trials: 2, seed: 1}}
tracking: {{uri: {tracking}}}
"""
LOGIN = "tr4ck1ng-l0gin-of-the-tests"
ENVIRONMENT = {
    "MLFLOW_TRACKING_TOKEN": "",  # MLflow would send it in place of the login
    "AWS_ACCESS_KEY_ID": "access-key-of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "s3-secret-of-the-tests",
    "RAY_AUTH_TOKEN": "ray-token-of-the-tests-000000000000",
}
SECRETS = (PASSWORD, QUOTED, LOGIN, *(value for value in ENVIRONMENT.values() if value))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: Ray's sockets are below it."""
    place = Path(tempfile.mkdtemp(prefix="ls-", dir="/tmp"))
    yield place
    shutil.rmtree(place, ignore_errors=True)


class CommandLines:
    """Watches the command lines of all processes, which everybody on a machine sees."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(file.read_bytes())
                except OSError:
                    continue  # it has ended


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_secrets_are_nowhere_but_where_they_were_given(folder: Path, postgres: Postgres) -> None:
    storage = postgres.database()
    store = f"sqlite:///{folder / 'store.db'}"
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "HOME": str(folder),
        "LATSEARCH_STORAGE": storage,
        "RAY_TMPDIR": str(folder),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    told = []

    def latsearch(*words: str, good: bool = True, **changes: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "latsearch", *words],
            cwd=folder,
            env={**environment, **changes},
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert (done.returncode == 0) == good, done.stderr
        told.append(done.stdout + done.stderr)

    with ui_server(store, free_port()) as (base, _), CommandLines() as lines:
        given = folder / "secret.yaml"
        given.write_text(SPACE.format(tracking=base.replace("://", f"://searcher:{LOGIN}@")))
        latsearch("run", "secret.yaml", "--workers", "1")
        assert given.exists()
        given.unlink()
        latsearch("report", "secret")
        wrong = storage.replace("@127", "x@127")
        latsearch("status", "secret", good=False, LATSEARCH_STORAGE=wrong)
    assert any(b"latsearch" in line for line in lines.seen)
    told += [line.decode("utf-8", "replace") for line in lines.seen]
    told.append(tables(postgres, storage.rpartition("/")[2]))
    assert "secret@" in told[-1]
    for secret in SECRETS:
        for text in told:
            at = text.find(secret)
            assert at < 0, text[max(0, at - 200) : at + 100]
    files = [file for file in folder.rglob("*") if file.is_file()]
    names = {file.name for file in files}
    assert {"store.db", "report.html", "front.csv", "front.json"} <= names
    for file in files:
        content = file.read_bytes()
        found = [secret for secret in SECRETS if secret.encode() in content]
        assert not found, (file, found)


def tables(postgres: Postgres, database: str) -> str:
    """Everything in a database, as text."""
    names = postgres.query(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'", database
    )
    return "".join(str(postgres.query(f'SELECT * FROM "{name}"', database)) for (name,) in names)
