"""Searches on real Ray that are killed, interrupted and crash, and go on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latsearch.reporting import study_front
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState
from tests.processes import WORKER, below
from tests.test_cli import latsearch

SPACE = """
version: 1
study: tiny
data: {name: digits, validation: 0.25}
network:
  family: mlp
  timesteps: {low: 1, high: 3}
  width: 8
  hidden: {low: 16, high: 32}
train: {epochs: 12, batch_size: 32, lr: {low: 1e-3, high: 1e-2, log: true}}
search: {trials: 5, seed: 1}
run: {checkpoint_every: 3}
tracking: {enabled: false}
"""
PATIENCE = 120.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(SPACE)
    return tmp_path


def study_of(folder: Path) -> Path:
    return folder / "runs" / "tiny"


def records(folder: Path) -> list[TrialRecord]:
    """The study's trials as its storage has them; none before it was created."""
    return Study.open(study_of(folder)).trials() if Study.exists(study_of(folder)) else []


@contextmanager
def running(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`latsearch run` in a process group of its own, killed at the end at the latest."""
    process = subprocess.Popen(
        [sys.executable, "-m", "latsearch", "run", "tiny.yaml", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the search did not get there in time"
        time.sleep(0.05)


def begun(folder: Path) -> bool:
    return len(records(folder)) > 0


def in_the_middle(folder: Path) -> bool:
    """A trial runs that has a checkpoint."""
    return any(r.state is TrialState.RUNNING and r.checkpoint for r in records(folder))


def some_finished(folder: Path) -> bool:
    return sum(r.state is TrialState.COMPLETE for r in records(folder)) >= 2


def test_killed_at_three_moments_the_same_command_goes_on(folder: Path) -> None:
    seen: dict[int, TrialRecord] = {}
    for moment in (begun, in_the_middle, some_finished):
        with running(folder) as process:
            wait_for(lambda moment=moment: moment(folder), process)  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
        for record in records(folder):
            if record.state is TrialState.COMPLETE:
                seen.setdefault(record.number, record)
    middle = [r for r in records(folder) if r.state is TrialState.RUNNING and r.checkpoint]
    done = latsearch("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    after = records(folder)
    assert [r.number for r in after] == list(range(5))  # every trial once
    assert all(r.state is TrialState.COMPLETE for r in after)
    assert all(sorted(r.log) == list(range(1, 13)) for r in after)  # every epoch once
    for number, record in seen.items():  # what was finished was not touched again
        assert after[number].log == record.log
        assert f"trial {number} " not in done.stdout
    for record in middle:  # what was interrupted went on from its checkpoint
        assert record.checkpoint is not None
        epoch = int(record.checkpoint.rsplit("/", 1)[1])
        assert f"trial {record.number} goes on after epoch {epoch}" in done.stdout
    study = Study.open(study_of(folder))
    assert {point.trial for point in study_front(study, after)} <= set(range(5))


def test_ctrl_c_leaves_a_study_that_goes_on(folder: Path) -> None:
    with running(folder, "--trials", "99") as process:  # more than end before the refusal below
        wait_for(lambda: begun(folder), process)
        refused = latsearch("run", "tiny.yaml", cwd=folder)
        assert refused.returncode == 2
        assert f"pid {process.pid}" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        wait_for(lambda: in_the_middle(folder), process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in out
    assert "Traceback" not in out + err
    begun_by_then = len(records(folder))
    done = latsearch("run", "tiny.yaml", "--trials", begun_by_then, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "goes on after epoch" in done.stdout
    assert all(r.state is TrialState.COMPLETE for r in records(folder))


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the Ray actors below a driver."""
    return below(process.pid, WORKER)


def test_a_killed_worker_costs_an_attempt_and_not_the_trial(folder: Path) -> None:
    with running(folder, "--workers", "1", "--trials", "2") as process:
        wait_for(lambda: in_the_middle(folder) and bool(workers_of(process)), process)
        for pid in workers_of(process):
            os.kill(pid, signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    assert "its worker process died" in out
    assert re.search(r"trial 0 goes on after epoch (3|6|9|12)", out)
    first, second = records(folder)
    assert (first.state, second.state) == (TrialState.COMPLETE, TrialState.COMPLETE)
    assert first.attempts == 1
    assert sorted(first.log) == list(range(1, 13))


@pytest.mark.slow
def test_a_hung_worker_is_noticed(folder: Path) -> None:
    space = folder / "tiny.yaml"
    space.write_text(SPACE.replace("checkpoint_every: 3", "checkpoint_every: 3, timeout: 15s"))
    with running(folder, "--workers", "1", "--trials", "1") as process:
        wait_for(lambda: in_the_middle(folder) and bool(workers_of(process)), process)
        for pid in workers_of(process):
            os.kill(pid, signal.SIGSTOP)  # hangs; its watchdog ends it once it may run again
        time.sleep(16)
        for pid in workers_of(process):
            os.kill(pid, signal.SIGCONT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    (record,) = records(folder)
    assert record.state is TrialState.COMPLETE


def test_time_that_is_up_pauses_the_study(folder: Path) -> None:
    done = latsearch("run", "tiny.yaml", "--hours", 0.0005, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "paused, the time is up" in done.stdout
    done = latsearch("run", "tiny.yaml", "--trials", 2, cwd=folder)
    assert "finished" in done.stdout
    assert len(records(folder)) <= 2 or all(r.state.finished for r in records(folder))


@pytest.mark.slow
def test_one_worker_and_one_seed_give_one_study(folder: Path, tmp_path: Path) -> None:
    """On Ray, in this process, and cut in two: bit by bit the same curves."""
    for name, words in (
        ("ray", [["--workers", "1"]]),
        ("inline", [["--workers", "0"]]),
        ("cut", [["--workers", "1", "--trials", "1"], ["--workers", "0"]]),
    ):
        for part in words:
            trials = [] if "--trials" in part else ["--trials", "3"]
            done = latsearch("run", "tiny.yaml", "--study", name, *part, *trials, cwd=folder)
            assert done.returncode == 0, done.stderr
    studies = [Study.open(folder / "runs" / name).trials() for name in ("ray", "inline", "cut")]
    for other in studies[1:]:
        for one, two in zip(studies[0], other, strict=True):
            assert one.values == two.values
            assert one.log[12]["curve"] == two.log[12]["curve"]
