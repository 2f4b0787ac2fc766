"""The command line as a user types it: output, files, exit codes, one-line errors."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

SPACE = """
version: 1
study: tiny
data: {name: digits, validation: 0.25, train_samples: 300}
network:
  family: mlp
  timesteps: {low: 1, high: 3}
  width: 4
  hidden: {low: 8, high: 16}
train: {epochs: 3, batch_size: 64, lr: {low: 1e-3, high: 1e-2, log: true}}
search: {trials: 4, sampler: random}
run: {checkpoint_every: 1}
tracking: {enabled: false}
"""

Command = Callable[..., subprocess.CompletedProcess[str]]


def latsearch(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "latsearch", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search space, and in runs/tiny the study that it gave."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "tiny.yaml").write_text(SPACE)
    done = latsearch("run", "tiny.yaml", "--workers", 0, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "finished: 4 of 4 trials (0 failed)" in done.stdout
    assert "next:  latsearch front runs/tiny" in done.stdout
    return folder


def test_a_finished_study_has_nothing_to_do(folder: Path) -> None:
    again = latsearch("run", "tiny.yaml", "--workers", 0, cwd=folder)
    assert again.returncode == 0
    assert "starts" not in again.stdout
    assert "finished: 4 of 4 trials" in again.stdout


def test_more_trials_go_on(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SPACE)
    latsearch("run", "tiny.yaml", "--workers", 0, "--trials", 1, cwd=tmp_path)
    more = latsearch("run", "tiny.yaml", "--workers", 0, "--trials", 2, cwd=tmp_path)
    assert "trial 1 starts" in more.stdout
    assert "trial 0 starts" not in more.stdout
    assert "finished: 2 of 2 trials" in more.stdout


def test_front_as_table_csv_and_json(folder: Path) -> None:
    table = latsearch("front", "tiny", cwd=folder)
    assert table.returncode == 0
    assert "accuracy" in table.stdout
    done = latsearch("front", "runs/tiny", "--csv", "f.csv", "--json", "f.json", cwd=folder)
    assert done.returncode == 0
    with (folder / "f.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0])
    assert columns[:5] == ["trial", "decision_threshold", "accuracy", "latency", "energy"]
    assert {"silent_fraction", "kind", "network.timesteps", "train.lr"} <= set(columns)
    objects = json.loads((folder / "f.json").read_text())
    assert len(objects) == len(rows)
    for row, entry in zip(rows, objects, strict=True):
        assert float(row["accuracy"]) == entry["accuracy"]
        assert 1 <= float(row["latency"]) <= 3
        assert (entry["decision_threshold"] is None) == math.isinf(float(row["decision_threshold"]))


def test_front_where(folder: Path) -> None:
    latsearch("front", "tiny", "--json", "all.json", cwd=folder)
    everything = json.loads((folder / "all.json").read_text())
    middle = sorted(row["energy"] for row in everything)[len(everything) // 2]
    where = f"energy <= {middle} and network.timesteps >= 1"
    latsearch("front", "tiny", "--where", where, "--json", "some.json", cwd=folder)
    some = json.loads((folder / "some.json").read_text())
    assert some == [row for row in everything if row["energy"] <= middle]
    nothing = latsearch("front", "tiny", "--where", "accuracy > 2", cwd=folder)
    assert nothing.returncode == 0
    assert "no row of the front meets --where" in nothing.stdout


def test_status_counts_and_measures(folder: Path) -> None:
    status = json.loads(latsearch("status", "tiny", "--json", cwd=folder).stdout)
    assert (status["complete"], status["failed"], status["interrupted"]) == (4, 0, 0)
    assert status["hypervolume"] > 0
    assert status["seconds"] > 0
    assert status["trials_per_minute"] > 0
    assert "complete           4" in latsearch("status", "tiny", cwd=folder).stdout


def test_list_and_rm(folder: Path, tmp_path: Path) -> None:
    assert "no studies in runs" in latsearch("list", cwd=tmp_path).stdout
    (tmp_path / "tiny.yaml").write_text(SPACE)
    latsearch("run", "tiny.yaml", "--workers", 0, "--trials", 1, "--study", "gone", cwd=tmp_path)
    listed = latsearch("list", cwd=tmp_path)
    assert "gone" in listed.stdout
    assert "1/1" in listed.stdout
    assert latsearch("rm", "gone", "--yes", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "runs" / "gone").exists()
    missing = latsearch("rm", "gone", "--yes", cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr.startswith("gone: no such study")


def test_fresh_puts_the_earlier_study_aside(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SPACE)
    latsearch("run", "tiny.yaml", "--workers", 0, "--trials", 1, cwd=tmp_path)
    changed = SPACE.replace("high: 3", "high: 2")
    (tmp_path / "tiny.yaml").write_text(changed)
    refused = latsearch("run", "tiny.yaml", "--workers", 0, "--trials", 1, cwd=tmp_path)
    assert refused.returncode == 2
    assert "network.timesteps.high: 3 → 2" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    fresh = latsearch("run", "tiny.yaml", "--workers", 0, "--trials", 1, "--fresh", cwd=tmp_path)
    assert fresh.returncode == 0, fresh.stderr
    studies = sorted(p.name for p in (tmp_path / "runs").iterdir() if (p / "study.json").exists())
    assert studies[0] == "tiny"
    assert len(studies) == 2
    for study in studies:
        assert (
            json.loads(latsearch("status", study, "--json", cwd=tmp_path).stdout)["complete"] == 1
        )


def test_select_and_compare(folder: Path) -> None:
    chosen = json.loads(latsearch("select", "tiny", "--fastest", "--json", cwd=folder).stdout)
    latsearch("front", "tiny", "--json", "front.json", cwd=folder)
    rows = json.loads((folder / "front.json").read_text())
    assert chosen["latency"] == min(row["latency"] for row in rows)
    assert (folder / chosen["weights"] / "model.safetensors").is_file()
    assert "network.timesteps" in latsearch("select", "tiny", cwd=folder).stdout
    by = json.loads(latsearch("select", "tiny", "--by", "latency", "--json", cwd=folder).stdout)
    assert by == chosen
    compared = latsearch("compare", "tiny", "runs/tiny", cwd=folder)
    assert compared.returncode == 0, compared.stderr
    assert "best accuracy at latency up to" in compared.stdout


def test_curve_of_anybodys_potentials(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 50)
    evidence = generator.normal(size=(3, 50, 4)) + 2 * np.eye(4)[labels]
    np.savez(tmp_path / "mine.npz", potentials=evidence.cumsum(0), labels=labels)
    shown = latsearch("curve", "mine.npz", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "readout" in shown.stdout
    assert latsearch("curve", "mine.npz", "--csv", "c.csv", cwd=tmp_path).returncode == 0
    rows = list(csv.DictReader((tmp_path / "c.csv").open()))
    assert float(rows[0]["latency"]) == 1.0
    assert float(rows[-1]["latency"]) == 3.0
    np.savez(tmp_path / "half.npz", potentials=evidence)
    (tmp_path / "text.npz").write_text("no arrays")
    for name, told in (("half", "has no array 'labels'"), ("text", "text.npz: "), ("no", "no.npz")):
        failed = latsearch("curve", f"{name}.npz", cwd=tmp_path)
        assert failed.returncode == 2
        assert told in failed.stderr
        assert len(failed.stderr.splitlines()) == 1


def test_publish_twice_changes_nothing(folder: Path) -> None:
    assert "4 trials" in latsearch("publish", "tiny", cwd=folder).stdout
    assert "(0 written now)" in latsearch("publish", "tiny", cwd=folder).stdout


def test_a_space_that_is_used_up_ends_the_search(tmp_path: Path) -> None:
    text = SPACE.replace("lr: {low: 1e-3, high: 1e-2, log: true}", "lr: 0.01")
    text = text.replace("hidden: {low: 8, high: 16}", "hidden: 8").replace("high: 3", "high: 2")
    (tmp_path / "tiny.yaml").write_text(text)
    done = latsearch("run", "tiny.yaml", "--workers", 0, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "every point of the search space has been tried" in done.stdout
    assert "finished: 2 of 4 trials" in done.stdout
    assert "finished" in latsearch("list", cwd=tmp_path).stdout
    again = latsearch("run", "tiny.yaml", "--workers", 0, cwd=tmp_path)
    assert again.returncode == 0
    assert "starts" not in again.stdout


def test_plan_and_smoke_leave_nothing_behind(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SPACE)
    planned = latsearch("run", "tiny.yaml", "--plan", "--workers", 1, cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "4, 1 at a time, 12 epochs in all" in planned.stdout
    halving = "stopping: {reduction_factor: 2, min_epochs: 1}"
    (tmp_path / "stopped.yaml").write_text(SPACE.replace("trials: 4", f"trials: 4, {halving}"))
    stopped = latsearch("run", "stopped.yaml", "--plan", "--workers", 1, cwd=tmp_path)
    assert "4, 1 at a time, at most 7 epochs in all" in stopped.stdout
    assert "at most, since trials are stopped early, on this machine" in stopped.stdout
    smoked = latsearch("run", "tiny.yaml", "--smoke", cwd=tmp_path)
    assert smoked.stdout.endswith("it works\n")
    assert not (tmp_path / "runs").exists()


def test_validate_and_schema(folder: Path) -> None:
    shown = latsearch("validate", "tiny.yaml", cwd=folder)
    assert shown.returncode == 0
    assert "network.timesteps" in shown.stdout
    schema = json.loads(latsearch("schema").stdout)
    assert "network" in schema["properties"]


def test_datasets_and_doctor(folder: Path) -> None:
    listed = latsearch("datasets")
    for name in ("digits", "fashion-mnist", "cifar10", "cifar100"):
        assert name in listed.stdout
    assert {"name", "folder"} <= set(json.loads(latsearch("datasets", "--json").stdout)[0])
    report = latsearch("doctor", cwd=folder)
    assert report.returncode == 0, report.stdout
    for what in ("torch", "ray token", "data digits", "runs folder", "compiler"):
        assert what in report.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["run", "digts"], "digts: no such file, and no bundled search space"),
        (["compare", "tiny"], "compare takes two studies or more"),
        (["select", "tiny", "--where", "accuracy > 2"], "no operating point to choose from"),
        (["select", "tiny", "--by", "energy", "--knee"], "choose different points"),
        (["select", "tiny", "--register", "a/b"], "is no name of a registered model"),
        (["ui", "--runs", "elsewhere"], "no MLflow store yet"),
        (["status", "nothing"], "nothing: no such study"),
        (["front", "tiny", "--where", "latncy < 1"], "did you mean 'latency'?"),
        (["run", "tiny.yaml", "--study", "../up"], '--study: "../up" is no study name'),
        (["front", "tiny", "--csv", "no/such/folder.csv"], "no/such/folder.csv: cannot be written"),
        (["run", "tiny.yaml", "--runs", "tiny.yaml", "--workers", "0"], "choose another folder"),
        (["run", "tiny.yaml", "--study", "big", "--workers", "999"], "999 trials at a time"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    folder: Path, words: list[str], told: str
) -> None:
    failed = latsearch(*words, cwd=folder)
    assert failed.returncode == 2
    assert told in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    "words",
    [["run"], ["run", "digits", "--trials", "0"], ["frnt"], ["run", "digits", "--hours", "x"]],
)
def test_a_mistyped_command_is_explained_with_exit_code_2(words: list[str]) -> None:
    failed = latsearch(*words)
    assert failed.returncode == 2
    assert "Error:" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_pipe_that_closes_early_is_no_error(folder: Path) -> None:
    command = f"{sys.executable} -m latsearch schema | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_a_study_whose_checkpoints_cannot_be_written_stops_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SPACE)
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    (tmp_path / "runs" / "tiny" / "trials").touch()  # where the checkpoints' folder has to be
    failed = latsearch("run", "tiny.yaml", "--workers", 0, "--trials", 2, cwd=tmp_path)
    assert failed.returncode == 2
    assert "tiny/trials/00000" in failed.stderr
    assert "the same command goes on" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_a_space_of_which_no_network_fits_the_data_is_told_before_training(tmp_path: Path) -> None:
    stages = "family: stages\n  stages: [" + ", ".join(["{channels: 4}"] * 5) + "]"
    deep = SPACE.replace("family: mlp", stages).replace("  width: 4\n", "")
    deep = deep.replace("  hidden: {low: 8, high: 16}\n", "")
    (tmp_path / "deep.yaml").write_text(deep)
    failed = latsearch("run", "deep.yaml", "--workers", 0, cwd=tmp_path)
    assert failed.returncode == 2, failed.stdout + failed.stderr
    assert "no network of the space fits digits" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
