"""Searches whose checkpoints are on a real S3 server, and whose studies are in PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import latsearch
from latsearch.errors import UserError
from latsearch.runs import find_study
from latsearch.search.storage import Study
from latsearch.search.trials import TrialState
from tests.postgres import Postgres
from tests.s3 import S3Server

SPACE = """
version: 1
study: far
data: {name: digits, validation: 0.25}
network: {family: mlp, timesteps: {low: 1, high: 3}, width: 8, hidden: {low: 16, high: 32}}
train: {epochs: 8, batch_size: 32}
search: {trials: 3, seed: 1}
run: {checkpoint_every: 2}
tracking: {enabled: false}
"""


@pytest.fixture
def runs(s3: S3Server, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A runs folder in a bucket; the database is in the environment, the mirror in tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LATSEARCH_STORAGE", postgres.database())
    (tmp_path / "far.yaml").write_text(SPACE)
    return s3.uri(tmp_path.name)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "latsearch", *words]


def objects(server: S3Server, below: str) -> str:
    where = f"http://127.0.0.1:{server.port}/latsearch?prefix={below}/"
    with urllib.request.urlopen(where) as answer:
        return str(answer.read().decode())


@pytest.mark.slow
def test_a_search_writes_and_goes_on(
    runs: str, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = command("run", "far.yaml", "--runs", runs, "--workers", "0")
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                records = Study.open(find_study("far", runs)).trials()
            except UserError:
                records = []
            if any(r.state is TrialState.RUNNING and r.checkpoint for r in records):
                break
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    # another machine: it has the database's and the bucket's addresses, and no file of the first
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    done = subprocess.run(line, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "goes on after epoch" in done.stdout
    assert f"--runs '{runs}'" in done.stdout
    study = Study.open(find_study("far", runs))
    after = study.trials()
    assert [r.number for r in after] == [0, 1, 2]
    assert all(r.state is TrialState.COMPLETE for r in after)
    assert all(sorted(r.log) == list(range(1, 9)) for r in after)
    # what is kept: of each trial the newest weights, and no state of a training
    listing = objects(s3, tmp_path.name)
    for record in after:
        assert f"{record.checkpoint}/model.safetensors" in listing
    assert listing.count("model.safetensors") == 3
    assert "state.pt" not in listing
    best = latsearch.front("far", runs=runs)[0]
    network = latsearch.load("far", trial=best.trial, runs=runs)
    assert network is not None
    chosen = subprocess.run(
        command("select", "far", "--runs", runs), capture_output=True, text=True, timeout=60
    )
    weights = chosen.stdout.split()[-1]
    assert (Path(weights) / "model.safetensors").is_file()

    listed = subprocess.run(
        command("list", "--runs", runs), capture_output=True, text=True, timeout=60
    )
    assert "3/3" in listed.stdout
    gone = subprocess.run(
        command("rm", "far", "--yes", "--runs", runs), capture_output=True, text=True, timeout=60
    )
    assert gone.returncode == 0, gone.stderr
    assert "far/" not in objects(s3, tmp_path.name)


def test_what_is_missing_is_said_in_one_line(runs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = latsearch.RunOptions(runs=runs, workers=0)
    with pytest.raises(UserError, match=r"far: no such study; .*holds none"):
        find_study("far", runs)
    monkeypatch.delenv("LATSEARCH_STORAGE")
    with pytest.raises(UserError, match=r"holds checkpoints, not the study.*LATSEARCH_STORAGE"):
        latsearch.run("far.yaml", options)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    nowhere = "s3://latsearch/x?endpoint_override=127.0.0.1%3A1&scheme=http&region=us-east-1"
    with pytest.raises(UserError, match=r"s3://latsearch/x: cannot be read: ") as caught:
        find_study("far", nowhere)
    assert "\n" not in str(caught.value)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)
