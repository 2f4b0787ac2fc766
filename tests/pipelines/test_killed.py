"""Pipelines in processes of their own that are killed, and go on: nothing is done twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.samples import TINY, log, outputs

PATIENCE = 400.0
STAGES = ["search", "refit", "test", "robustness", "select", "export", "register", "report"]
WHOLE = (
    TINY.replace("family: mlp", "family: mlp\n      target: nir\n      synapse: delta")
    .replace("rate: {preset: rate}", "tet: {train.loss: tet}")
    .replace("register: {}", "export: {formats: [safetensors, nir], samples: 20}\nregister: {}")
)

# dies at once, as by `kill -9`, at the n-th whole file that a stage writes; counts what is trained
CHILD = """
import json, os, signal, sys
from pathlib import Path
from latsearch.pipelines import workspace
from latsearch.training import Trainer
stage, count, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
whole, step = workspace.write_text, Trainer.step
def write(file, text):
    global count
    if f"/pipeline/{stage}/" in str(file):
        count -= 1
        if count == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.with_name(f".{file.name}.part").write_text(text[: len(text) // 2])
            os.kill(os.getpid(), number)
    whole(file, text)
def trained(self):
    report = step(self)
    with open("trained.jsonl", "a") as stream:
        print(json.dumps([str(self.trial), self._seed, report.epoch]), file=stream)
    return report
workspace.write_text, Trainer.step = write, trained
from latsearch.cli import main
sys.argv = ["latsearch", "pipeline", "tiny.yaml", "--workers", "0"]
main()
"""


def run_child(
    folder: Path, stage: str = "none", count: int = 0, number: int = signal.SIGKILL
) -> subprocess.CompletedProcess[str]:
    """Run the pipeline in the folder, to get a signal in a stage."""
    return subprocess.run(
        [sys.executable, "-c", CHILD, stage, str(count), str(int(number))],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    stopped = run_child(tmp_path, "refit", 1, signal.SIGINT)
    assert stopped.returncode == 130, stopped.stderr
    assert "the same command goes on" in stopped.stdout
    assert "Traceback" not in stopped.stdout + stopped.stderr
    assert log(tmp_path / "runs") == ["search start", "search end", "refit start"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_in_the_middle_of_each_stage_it_ends_the_same(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tiny.yaml").write_text(WHOLE)
    done = run_child(tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    killed = tmp_path / "killed"
    for stage in STAGES:
        # in the first stages before their second file, in the short ones before the first
        count = 2 if stage in ("search", "refit", "test", "export") else 1
        died = run_child(killed, stage, count)
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert log(killed / "runs")[-1] == f"{stage} start"
    done = run_child(killed)
    assert done.returncode == 0, done.stderr
    assert outputs(killed / "runs") == outputs(tmp_path / "whole" / "runs")
    entries = log(killed / "runs")
    for stage in STAGES:  # each twice begun, once ended, and never again
        assert entries.count(f"{stage} start") == 2
        assert entries.count(f"{stage} end") == 1
    epochs = (killed / "trained.jsonl").read_text().splitlines()
    assert len(epochs) == len(set(epochs)) == 4 * 3 + 6 * 4


# on Ray: the driver gets a signal when a network reports an epoch, for the n-th time
DRIVER = """
import os, sys
from latsearch.pipelines import refit
number, count, epoch = map(int, sys.argv[1:4])
report = refit._Refit.report
def signalled(self, trial, told):
    global count
    goes_on = report(self, trial, told)
    if told.epoch == epoch:
        count -= 1
        if count == 0:
            os.kill(os.getpid(), number)
    return goes_on
refit._Refit.report = signalled
from latsearch.cli import main
sys.argv = ["latsearch", "pipeline", "tiny.yaml", "--workers", "1"]
main()
"""


def run_driver(
    folder: Path, number: int = 0, count: int = 0, epoch: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the pipeline on Ray, with the signal when the count-th network is at the epoch."""
    return subprocess.run(
        [sys.executable, "-c", DRIVER, str(number), str(count), str(epoch)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_ray_killed_in_trainings(tmp_path: Path) -> None:
    text = TINY.replace("register: {}\n", "").replace("members: 2", "members: 1")
    text = "\n".join(line for line in text.splitlines() if not line.startswith("robustness"))
    (tmp_path / "tiny.yaml").write_text(text)
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "tiny.yaml").write_text(text)
    refit = tmp_path / "runs" / "tiny" / "pipeline" / "refit"

    died = run_driver(tmp_path, signal.SIGKILL, 1, 2)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(list(refit.glob("work/trials/*/00002"))) == 1
    died = run_driver(tmp_path, signal.SIGKILL, 1, 1)  # of the second network: the first is at 3
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(list(refit.glob("networks/*/trained.json"))) == 1
    done = run_driver(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "search: unchanged, nothing to do" in done.stdout
    alone = run_child(tmp_path / "whole")
    assert alone.returncode == 0, alone.stderr
    # on Ray, killed twice: what one process gives that was left alone
    assert outputs(tmp_path / "runs") == outputs(tmp_path / "whole" / "runs")
