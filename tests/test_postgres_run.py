"""A whole search in PostgreSQL from the command line, and where its password is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import PASSWORD, QUOTED, USER, Postgres

SPACE = """
version: 1
study: secret
data: {{name: digits, validation: 0.25}}
network: {{family: mlp, timesteps: {{low: 1, high: 3}}, width: 8, hidden: 16}}
train: {{epochs: 2, batch_size: 64}}
search: {{trials: 2, seed: 1}}
storage: {url}
"""


def latsearch(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "latsearch", *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.slow
def test_a_password_in_the_yaml_goes_nowhere(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.pgpass
    url = postgres.database()
    (tmp_path / "secret.yaml").write_text(SPACE.format(url=url))
    told = []
    for words in (["validate", "secret.yaml"], ["run", "secret.yaml", "--workers", "0"]):
        done = latsearch(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout + done.stderr)
    # the study does not have the password: whoever reads it later has to give it
    lacking = latsearch(tmp_path, "status", "secret")
    assert lacking.returncode == 2
    assert "give the password in LATSEARCH_STORAGE, PGPASSWORD or ~/.pgpass" in lacking.stderr
    for given in ({"LATSEARCH_STORAGE": url}, {"PGPASSWORD": PASSWORD}):
        done = latsearch(tmp_path, "status", "secret", **given)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    listed = latsearch(tmp_path, "list")
    assert "give the password in" in listed.stdout
    report = latsearch(tmp_path, "report", "secret", LATSEARCH_STORAGE=url)
    assert report.returncode == 0, report.stderr
    told += [lacking.stderr, listed.stdout, report.stdout]
    files = [f for f in tmp_path.rglob("*") if f.is_file() and f.name != "secret.yaml"]
    assert any(file.name == "mlflow.db" for file in files)
    stored = b"".join(file.read_bytes() for file in files)
    tables = postgres.query("SELECT * FROM study_user_attributes", url.rpartition("/")[2])
    told.append(str(tables))
    assert USER in told[-1]
    for secret in (PASSWORD, QUOTED):
        assert secret not in "".join(told)
        assert secret.encode() not in stored
