"""Publishing to a store that is an sqlite file, with MLflow's own tables as the judge."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from latsearch.errors import StudyError, UserError
from latsearch.reporting import study_front
from latsearch.search.storage import Study
from latsearch.tracking import TrackingError, publish
from latsearch.tracking.bulk import SqliteRuns
from latsearch.tracking.lock import PublisherLock
from latsearch.tracking.publishing import Publication
from tests.processes import wait_until
from tests.tracking.rows import comparable_rows, database_rows, runs_of_kind
from tests.tracking.synthetic import SyntheticStudy

FINISHED = 6  # trials of `mixed` that ended with a curve


@pytest.fixture
def mixed(synthetic: SyntheticStudy) -> SyntheticStudy:
    """A study with trials in every state: five complete, one pruned, one failed, one running."""
    for _ in range(5):
        synthetic.trial(epochs=2, checkpoint=True)
    pruned = synthetic.start()
    synthetic.report(pruned, 1)
    synthetic.prune(pruned)
    synthetic.fail(synthetic.start())
    synthetic.report(synthetic.start(), 1)
    return synthetic


def test_structure(mixed: SyntheticStudy, uri: str) -> None:
    report = publish(mixed.study, uri)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("synthetic")
    assert experiment.experiment_id == report.experiment_id
    assert experiment.artifact_location == (mixed.study.folder.parent / "mlartifacts").as_uri()

    runs = client.search_runs([report.experiment_id], max_results=1000)
    kinds = Counter(run.data.tags["latsearch.kind"] for run in runs)
    assert kinds["study"] == 1
    assert kinds["trial"] == report.trials == 8
    assert kinds["operating_point"] == report.points
    trials = {r.info.run_id: r for r in runs if r.data.tags["latsearch.kind"] == "trial"}
    assert {run.data.tags["mlflow.parentRunId"] for run in trials.values()} == {report.run_id}
    assert Counter(run.info.status for run in trials.values()) == {
        "FINISHED": FINISHED,
        "FAILED": 1,
        "RUNNING": 1,
    }
    points = [r for r in runs if r.data.tags["latsearch.kind"] == "operating_point"]
    for point in points:
        parent = trials[point.data.tags["mlflow.parentRunId"]]
        assert parent.data.tags["latsearch.trial_id"] == point.data.tags["latsearch.trial_id"]
        assert point.info.status == "FINISHED"
        assert {"accuracy", "latency", "energy", "silent_fraction", "pareto_rank"} <= set(
            point.data.metrics
        )
        assert point.data.params == parent.data.params
    per_trial = Counter(point.data.tags["latsearch.trial_id"] for point in points)
    assert len(per_trial) == FINISHED
    assert max(per_trial.values()) <= 16


def test_the_front_is_tagged_and_coloured(mixed: SyntheticStudy, uri: str) -> None:
    publish(mixed.study, uri)
    members = {(p.trial, p.row) for p in study_front(mixed.study, mixed.study.trials())}
    points = runs_of_kind(uri, "operating_point").values()
    tagged = {
        (int(tags["latsearch.trial_id"]), int(tags["latsearch.row"]))
        for tags in points
        if tags["pareto"] == "true"
    }
    assert tagged == members
    assert {(tags["pareto"], tags["mlflow.runColor"]) for tags in points} == {
        ("true", "#d62728"),
        ("false", "#c8c8c8"),
    }


def test_metrics_of_epochs_and_of_the_study(mixed: SyntheticStudy, uri: str) -> None:
    report = publish(mixed.study, uri)
    client = MlflowClient(uri)
    trial = client.search_runs(
        [report.experiment_id], "tags.`latsearch.kind` = 'trial' and attributes.run_name='trial 0'"
    )[0]
    for name in ("val/accuracy", "val/latency", "val/energy", "train/loss", "train/seconds"):
        history = client.get_metric_history(trial.info.run_id, name)
        assert [metric.step for metric in history] == [1, 2], name
    assert trial.data.metrics["parameters"] == 12345
    assert "val/parameters" not in trial.data.metrics
    assert "val/energy_share_encoder" not in trial.data.metrics  # NaN

    for name in ("pareto/size", "pareto/hypervolume"):
        history = client.get_metric_history(report.run_id, name)
        assert [metric.step for metric in history] == list(range(1, 8)), name
    volumes = [metric.value for metric in history]
    assert volumes == sorted(volumes)


def test_nothing_infinite_is_stored(mixed: SyntheticStudy, uri: str) -> None:
    publish(mixed.study, uri)
    rows = database_rows(uri)
    for run_id, key, value, _, _, is_nan in rows["metrics"] + rows["latest_metrics"]:
        assert abs(value) < 1e300, (run_id, key)
        assert not is_nan


def test_artifacts(mixed: SyntheticStudy, uri: str, tmp_path: Path) -> None:
    report = publish(mixed.study, uri)
    client = MlflowClient(uri)
    runs = runs_of_kind(uri, "trial")
    named = {tags["mlflow.runName"]: run_id for run_id, tags in runs.items()}

    def files(run_id: str, path: str | None = None) -> set[str]:
        return {file.path for file in client.list_artifacts(run_id, path)}

    assert files(named["trial 0"]) >= {
        "decision_curve.csv",
        "decision_curve.json",
        "decision.svg",
    }
    failed = client.download_artifacts(named["trial 6"], "trace.txt", str(tmp_path))
    assert "Traceback" in Path(failed).read_text()
    assert runs[named["trial 6"]]["latsearch.reason"].startswith("the loss is not finite")
    assert files(named["trial 7"]) == set()
    with_weights = [r for n, r in named.items() if "checkpoint" in files(r)]
    assert with_weights
    for run_id in with_weights:
        assert files(run_id, "checkpoint") == {
            "checkpoint/model.safetensors",
            "checkpoint/config.json",
        }
    assert {"study.yaml", "pareto"} <= files(report.run_id)
    table = client.download_artifacts(report.run_id, "pareto/front.json", str(tmp_path))
    front = study_front(mixed.study, mixed.study.trials())
    assert [row["trial"] for row in json.loads(Path(table).read_text())] == [
        point.trial for point in front
    ]


def test_the_data_set_is_an_input_of_study_and_trials(mixed: SyntheticStudy, uri: str) -> None:
    report = publish(mixed.study, uri)
    client = MlflowClient(uri)
    runs = client.search_runs([report.experiment_id], max_results=1000)
    inputs = {"study": [], "trial": [], "operating_point": []}
    for run in runs:
        inputs[run.data.tags["latsearch.kind"]].append(run.inputs.dataset_inputs)
    assert [len(found) for found in inputs["trial"]] == [1] * 8
    assert [len(found) for found in inputs["study"]] == [1]
    assert not any(inputs["operating_point"])
    [used] = inputs["trial"][0]
    assert used.dataset.name == "digits"
    assert json.loads(used.dataset.profile)["train"] > 1000
    assert "[-1, 1, 8, 8]" in json.loads(used.dataset.schema)["mlflow_tensorspec"]["features"]
    assert {tag.key: tag.value for tag in used.tags} == {"mlflow.data.context": "training"}
    assert len({found[0].dataset.digest for found in inputs["trial"]}) == 1


def test_further_files_are_attached_when_something_has_changed(
    synthetic: SyntheticStudy, uri: str
) -> None:
    calls: list[str] = []

    def attach(study: Study, folder: Path) -> None:
        calls.append(study.name)
        (folder / "report.html").write_text("<p>all of it</p>")

    for _ in range(2):
        synthetic.trial()
        for _ in range(2):
            report = publish(synthetic.study, uri, attach=attach)
    assert calls == [synthetic.study.name] * 2
    there = {file.path for file in MlflowClient(uri).list_artifacts(report.run_id)}
    assert there == {"environment.json", "pareto", "report.html", "study.yaml"}


def test_publishing_again_changes_nothing(mixed: SyntheticStudy, uri: str) -> None:
    publish(mixed.study, uri)
    before = database_rows(uri)
    assert publish(mixed.study, uri).written == 0
    assert database_rows(uri) == before
    child = multiprocessing.get_context("spawn").Process(
        target=_publish_folder, args=(mixed.study.folder, uri)
    )
    child.start()
    child.join()
    assert child.exitcode == 0
    assert database_rows(uri) == before


def _publish_folder(folder: Path, uri: str) -> None:
    publish(Study.open(folder), uri)


def test_both_ways_write_the_same_rows(
    mixed: SyntheticStudy,
    uri: str,
    new_store: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a trial that failed before its first report starts and ends when it is published
    monkeypatch.setattr("latsearch.tracking.publisher.time", SimpleNamespace(time=lambda: 2e9))
    publish(mixed.study, uri)
    other = new_store("other")
    monkeypatch.setattr(SqliteRuns, "fits", lambda store: False)
    publish(mixed.study, other)
    assert comparable_rows(uri) == comparable_rows(other)


@pytest.mark.parametrize("bulk", [True, False])
def test_a_killed_publication_is_completed(
    synthetic: SyntheticStudy,
    new_store: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    bulk: bool,
) -> None:
    for _ in range(4):
        synthetic.trial(epochs=2, checkpoint=True)
    clean, killed = new_store("clean"), new_store("killed")
    if not bulk:
        monkeypatch.setattr(SqliteRuns, "fits", lambda store: False)
    publish(synthetic.study, clean)

    context = multiprocessing.get_context("fork")  # quick, and the patch comes along
    codes = []
    for requests in (3, 5, 8, 13, 21, 34, 1000):
        child = context.Process(
            target=_publish_and_die, args=(synthetic.study.folder, killed, requests)
        )
        child.start()
        child.join()
        codes.append(child.exitcode)
    assert codes[0] == -signal.SIGKILL
    assert codes[-1] == 0
    assert comparable_rows(killed) == comparable_rows(clean)


def _publish_and_die(folder: Path, uri: str, requests: int) -> None:
    """Publish, but be killed before the given request."""
    left = iter(range(requests))

    def check() -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    study = Study.open(folder)
    with PublisherLock(folder, uri):
        Publication(study, uri, check=check).update(settle=True)


def test_a_study_that_grows(synthetic: SyntheticStudy, uri: str) -> None:
    publication = Publication(synthetic.study, uri)
    publication.update(settle=False)
    running = synthetic.start()
    synthetic.report(running, 1)
    publication.update(settle=False)
    synthetic.report(running, 2)
    synthetic.report(running, 3)
    publication.update(settle=False)
    client = MlflowClient(uri)
    [run_id] = runs_of_kind(uri, "trial")
    assert [m.step for m in client.get_metric_history(run_id, "val/accuracy")] == [1, 2, 3]
    assert client.get_run(run_id).info.status == "RUNNING"
    synthetic.complete(running)
    for _ in range(6):
        synthetic.trial()
    publication.update(settle=False)
    assert client.get_run(run_id).info.status == "FINISHED"
    assert runs_of_kind(uri, "trial")[run_id]["latsearch.state"] == "complete"
    publication.update(settle=True)
    before = database_rows(uri)
    assert publish(synthetic.study, uri).written == 0
    assert database_rows(uri) == before


def test_a_screening_is_step_0(synthetic: SyntheticStudy, uri: str) -> None:
    publication = Publication(synthetic.study, uri)
    running = synthetic.start()
    publication.update(settle=False)  # before it reported anything
    synthetic.report(running, 0)
    publication.update(settle=False)
    synthetic.report(running, 1)
    publication.update(settle=False)
    [run_id] = runs_of_kind(uri, "trial")
    history = MlflowClient(uri).get_metric_history(run_id, "val/accuracy")
    assert [metric.step for metric in history] == [0, 1]
    ended = synthetic.start()
    synthetic.report(ended, 0)
    synthetic.prune(ended)
    publication.update(settle=True)
    assert {tags["latsearch.state"] for tags in runs_of_kind(uri, "trial").values()} == {
        "running",
        "pruned",
    }


def test_ranks_and_colours_follow_the_front(synthetic: SyntheticStudy, uri: str) -> None:
    for _ in range(3):
        synthetic.trial()
    publish(synthetic.study, uri)
    for _ in range(12):
        synthetic.trial(epochs=6)
    publish(synthetic.study, uri)
    client = MlflowClient(uri)
    [experiment] = [e for e in client.search_experiments() if e.name == "synthetic"]
    points = client.search_runs(
        [experiment.experiment_id],
        "tags.`latsearch.kind` = 'operating_point'",
        max_results=1000,
    )
    assert any(len(client.get_metric_history(p.info.run_id, "pareto_rank")) > 1 for p in points)
    for point in points:
        on_front = point.data.metrics["pareto_rank"] == 1
        assert point.data.tags["pareto"] == str(on_front).lower()


def test_the_parent_ends_with_the_study_and_goes_on_with_it(tmp_path: Path, uri: str) -> None:
    made = SyntheticStudy(tmp_path / "runs" / "synthetic", trials=2)
    made.trial()
    client = MlflowClient(uri)
    run_id = publish(made.study, uri).run_id
    assert client.get_run(run_id).info.status == "RUNNING"
    made.trial()
    publish(made.study, uri)
    assert client.get_run(run_id).info.status == "FINISHED"
    search = made.config.search.model_copy(update={"trials": 3})
    made.study.adopt(made.config.model_copy(update={"search": search}))
    assert publish(made.study, uri).run_id == run_id
    assert client.get_run(run_id).info.status == "RUNNING"


def test_a_fresh_study_of_the_same_name_gets_its_own_parent(
    synthetic: SyntheticStudy, uri: str, tmp_path: Path
) -> None:
    synthetic.trial()
    first = publish(synthetic.study, uri)
    second = SyntheticStudy(tmp_path / "runs" / "again", seed=1)
    second.trial()
    later = publish(second.study, uri)
    assert first.experiment_id == later.experiment_id
    assert first.run_id != later.run_id
    assert first.view != later.view


def test_sorted_searches_of_a_large_store_are_quick(synthetic: SyntheticStudy, uri: str) -> None:
    publish(synthetic.study, uri)
    synthetic.trial()
    publish(synthetic.study, uri)
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        analyzed = {row[0] for row in database.execute("SELECT tbl FROM sqlite_stat1")}
    assert {"runs", "tags", "latest_metrics"} <= analyzed


def test_runs_that_were_created_twice_are_removed(synthetic: SyntheticStudy, uri: str) -> None:
    synthetic.trial()
    report = publish(synthetic.study, uri)
    client = MlflowClient(uri)
    before = database_rows(uri)["runs"]
    [(run_id, tags)] = runs_of_kind(uri, "trial").items()
    twin = client.create_run(report.experiment_id, tags=tags).info.run_id
    publish(synthetic.study, uri)
    assert client.get_run(twin).info.lifecycle_stage == "deleted"
    assert [row for row in database_rows(uri)["runs"] if row[0] != twin] == before
    assert client.get_run(run_id).info.lifecycle_stage == "active"


def test_one_publisher_at_a_time(synthetic: SyntheticStudy, uri: str) -> None:
    with (
        PublisherLock(synthetic.study.folder, uri),
        pytest.raises(StudyError, match=r"published to sqlite:.* already"),
    ):
        publish(synthetic.study, uri)


def test_a_deleted_experiment(synthetic: SyntheticStudy, uri: str) -> None:
    client = MlflowClient(uri)
    client.delete_experiment(client.create_experiment("synthetic"))
    with pytest.raises(UserError, match="was deleted in MLflow; restore it"):
        publish(synthetic.study, uri)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("file:///tmp/nowhere", UserError),
        ("nonsense://x", UserError),
        ("sqlite:////nowhere/mlflow.db", UserError),
        ("http://127.0.0.1:9", TrackingError),
    ],
)
def test_a_bad_uri_is_one_line(synthetic: SyntheticStudy, bad: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        publish(synthetic.study, bad)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database(synthetic: SyntheticStudy, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("these are my notes of the day")
    with pytest.raises(UserError, match="is no sqlite database"):
        publish(synthetic.study, f"sqlite:///{tmp_path}/notes.db")


def test_passwords_are_not_shown(synthetic: SyntheticStudy) -> None:
    with pytest.raises(TrackingError) as caught:
        publish(synthetic.study, "http://user:secret@127.0.0.1:9")
    assert "secret" not in str(caught.value)


def test_a_kill_while_mlflow_makes_its_tables_leaves_no_half_made_store(tmp_path: Path) -> None:
    """At whatever moment it dies, the next one finds no file, or a whole one."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    code = (
        "import sys; from latsearch.tracking.client import Tracker; "
        "Tracker(sys.argv[1], 'made', None, lambda: None)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, uri])
    wait_until(lambda: list(tmp_path.glob(".mlflow.db*")), "it makes the store", 120, pause=0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "mlflow.db").exists()
    subprocess.run([sys.executable, "-c", code, uri], check=True)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("SELECT name FROM experiments").fetchall()[-1] == ("made",)
