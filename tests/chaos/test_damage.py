"""Damaged files, read-only and full disks: real trainings in this process go on without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from random import Random
from typing import BinaryIO

import pytest

from latsearch import api
from latsearch.errors import StudyError, UserError
from latsearch.search.driver import Event, Observer, Search, TrialEnded, TrialReported
from latsearch.search.journal import Journal
from latsearch.search.mending import intact
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState
from tests.chaos.faults import spoil
from tests.chaos.outcome import outcome
from tests.chaos.scene import EPOCHS, NAME, SPACE
from tests.processes import wait_until

TRIALS = 2


class Killed(Exception):
    """The driver dies here."""


def search(folder: Path, kill_after: int | None = None) -> list[str]:
    """Search in this process, and die after so many reports; what happened to trials in words."""
    (folder / "chaos.yaml").write_text(
        SPACE.format(trials=TRIALS, seed=0, epochs=EPOCHS, every=1, tracking="false")
    )
    reports, said = [0], []

    def observe(event: Event) -> None:
        if isinstance(event, TrialEnded) and event.reason:
            said.append(event.reason)
        if isinstance(event, TrialReported):
            reports[0] += 1
            if reports[0] == kill_after:
                raise Killed

    def watch(study: Study, search: Search, workers: int) -> AbstractContextManager[Observer]:
        return nullcontext(observe)

    options = api.RunOptions(workers=0, runs=folder / "runs")
    if kill_after is not None:
        with pytest.raises(Killed):
            api.run(folder / "chaos.yaml", options, watch)
    else:
        api.run(folder / "chaos.yaml", options, watch)
    return said


def records(folder: Path) -> list[TrialRecord]:
    return Study.open(folder / "runs" / NAME).trials()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[TrialRecord]:
    folder = tmp_path_factory.mktemp("undisturbed")
    search(folder)
    return records(folder)


def same(some: list[TrialRecord], others: list[TrialRecord]) -> bool:
    """Whether all trials have the same curves after every epoch."""
    return [
        (r.number, r.state, [entry["curve"] for _, entry in sorted(r.log.items())]) for r in some
    ] == [(r.number, r.state, [e["curve"] for _, e in sorted(r.log.items())]) for r in others]


FILES = ("model.safetensors", "state.pt", "config.json")


@pytest.mark.parametrize("newest", [1, 3])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_checkpoint_costs_its_epochs_and_nothing_else(
    tmp_path: Path, undisturbed: list[TrialRecord], file: str, newest: int
) -> None:
    search(tmp_path, kill_after=newest)
    damaged = tmp_path / "runs" / NAME / f"trials/00000/{newest:05d}" / file
    damaged.write_bytes(spoil(damaged.read_bytes(), Random(newest))[1])
    said = search(tmp_path)
    assert len(said) == 1
    assert f"{newest:05d}/{file}" in said[0]
    assert f"epoch {newest} is trained again" in said[0]
    after = records(tmp_path)
    assert same(after, undisturbed)  # the same networks as if nothing had happened
    assert after[0].attempts == 0
    assert after[0].checkpoint == f"trials/00000/{EPOCHS:05d}"


def test_all_checkpoints_of_a_trial_are_gone(
    tmp_path: Path, undisturbed: list[TrialRecord]
) -> None:
    search(tmp_path, kill_after=3)
    shutil.rmtree(tmp_path / "runs" / NAME / "trials")
    said = search(tmp_path)
    assert ["trained again" in line for line in said] == [True] * 3  # 3, then 2, then 1 is missed
    assert same(records(tmp_path), undisturbed)


def test_checkpoints_that_cannot_be_written_stop_the_search_and_fail_no_trial(
    tmp_path: Path, undisturbed: list[TrialRecord]
) -> None:
    search(tmp_path, kill_after=2)
    trials = tmp_path / "runs" / NAME / "trials"
    trials.rename(trials.with_name("away"))
    trials.write_text("a file where a folder has to be")
    with pytest.raises(StudyError, match=r"the search stops here.*the same command goes on"):
        search(tmp_path)
    assert [r.state for r in records(tmp_path)] == [TrialState.RUNNING]
    trials.unlink()
    trials.with_name("away").rename(trials)
    search(tmp_path)
    assert same(records(tmp_path), undisturbed)


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_line_of_the_journal(
    tmp_path: Path, undisturbed: list[TrialRecord], seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it said is lost, is told, and where it can be, it is trained or written again."""
    random = Random(seed)
    search(tmp_path, kill_after=6)
    journal = tmp_path / "runs" / NAME / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    places = [n for n, line in enumerate(lines) if json.loads(line)["op_code"] in (4, 6, 8)]
    place = random.choice(places)
    lines[place] = spoil(lines[place][:-1], random)[1] + b"\n"
    journal.write_bytes(b"".join(lines))
    search(tmp_path)
    assert f"line {place + 1} is damaged" in caplog.text
    found = outcome(records(tmp_path), TRIALS, EPOCHS, {})
    assert (found.lost, found.twice) == ([], [])
    assert len(found.missing) <= 1
    for before, after in zip(undisturbed, records(tmp_path), strict=True):
        assert before.values == after.values
        assert all(after.log[e]["curve"] == before.log[e]["curve"] for e in after.log)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a file system")
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", where], check=False)
    if mounted.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


def fill(disk: Path) -> Path:
    file = disk / "fill"
    with file.open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space left"):
        write_on(stream)
    return file


def write_on(stream: BinaryIO) -> None:
    while True:
        stream.write(b"\0" * 4096)


def test_a_full_disk_is_waited_for_and_no_half_line_is_left(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = small_disk / "study.journal"
    journal = Journal(path)
    journal.append_logs([{"op_code": 8, "n": 0}])
    filled = fill(small_disk)
    long = {"op_code": 8, "n": 1, "text": "x" * 50_000}
    thread = threading.Thread(target=journal.append_logs, args=([long],))
    thread.start()
    wait_until(lambda: "No space left" in caplog.text, "the journal says that it waits", 60)
    assert path.read_bytes().count(b"\n") == 1
    filled.unlink()
    thread.join(60)
    assert not thread.is_alive()
    journal.append_logs([{"op_code": 8, "n": 2}])
    assert [entry["n"] for entry in Journal(path).read_logs(0)] == [0, 1, 2]
    assert all(map(intact, path.read_bytes().splitlines()))
    assert "can be written again" in caplog.text


def test_a_read_only_disk_is_told_at_the_start(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(UserError, match="cannot be written: Read-only file system"):
        api.run("digits", api.RunOptions(workers=0, runs=small_disk / "runs"))


@pytest.mark.parametrize(
    "how", [lambda d: d[: len(d) // 2], lambda d: d[:90] + b"\0" * 40 + d[130:]]
)
def test_a_damaged_file_of_potentials_is_an_error_in_one_line(
    tmp_path: Path, how: Callable[[bytes], bytes]
) -> None:
    import numpy as np

    file = tmp_path / "potentials.npz"
    np.savez(file, potentials=np.random.default_rng(0).normal(size=(3, 8, 4)), labels=np.zeros(8))
    file.write_bytes(how(file.read_bytes()))
    with pytest.raises(UserError, match=r"potentials\.npz") as error:
        api.curve(file)
    assert "\n" not in str(error.value)
