"""Registered models: loaded by MLflow alone, they answer as the study's own networks do."""

from __future__ import annotations

from collections.abc import Iterator

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

import latsearch
from latsearch import api
from latsearch.config import parse_study
from latsearch.data import load
from latsearch.errors import StudyError, UserError
from latsearch.objectives import OperatingPoint
from latsearch.tracking import TrackingError, default_uri, register
from latsearch.tracking.lock import PublisherLock
from tests.tracking.synthetic import SyntheticStudy

SPACE = """
version: 1
study: small
data: {name: digits}
network: {family: mlp, timesteps: {low: 2, high: 3}, width: {low: 2, high: 4}, hidden: 16}
train: {epochs: 2, precision: fp32}  # as a loaded network computes
search: {trials: 2, seed: 1}
"""
NAME = "digits front"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> latsearch.RunResult:
    """A searched study, published to the store of its runs folder."""
    runs = tmp_path_factory.mktemp("trained")
    options = latsearch.RunOptions(workers=0, runs=runs)
    return latsearch.run(parse_study(SPACE), options)


@pytest.fixture(scope="module")
def store(trained: latsearch.RunResult) -> str:
    return default_uri(trained.folder.parent)


@pytest.fixture(autouse=True)
def _no_tracking_uri() -> Iterator[None]:
    """Loading a model needs a global tracking URI, which registering must not depend on."""
    yield
    mlflow.set_tracking_uri(None)


def test_loaded_models_answer_as_the_networks_do(trained: latsearch.RunResult, store: str) -> None:
    versions = api.register(trained.folder, NAME)
    aliases = [alias for version in versions for alias in version.aliases]
    assert sorted(aliases) == ["fastest", "knee", "least-energy", "most-accurate"]
    mlflow.set_tracking_uri(store)
    validation = load(parse_study(SPACE).data).validation
    for version in versions:
        for alias in version.aliases:
            model = mlflow.pyfunc.load_model(f"models:/{NAME}@{alias}")
            answer = model.predict(validation.images)
            _check(answer, version.point, validation.labels)
        network = latsearch.load(trained.folder, version.point.trial)
        decision, energy = network.predict(validation.images, version.point.decision_threshold)
        assert answer["prediction"].tolist() == decision.prediction.tolist()
        assert answer["decision_time"].tolist() == decision.decision_time.tolist()
        assert answer["energy"].tolist() == energy.tolist()


def _check(answer: pd.DataFrame, point: OperatingPoint, labels: np.ndarray) -> None:
    """The model's figures are those of the row that it was registered for."""
    assert list(answer.columns) == ["prediction", "decision_time", "energy", "silent"]
    accuracy = (answer["prediction"] == labels).mean()
    assert accuracy == pytest.approx(point.metrics["accuracy"], rel=1e-5)
    assert answer["decision_time"].mean() == pytest.approx(point.metrics["latency"], rel=1e-5)
    assert answer["energy"].mean() == pytest.approx(point.metrics["energy"], rel=1e-5)
    assert answer["silent"].mean() == pytest.approx(point.metrics["silent_fraction"], abs=1e-6)


def test_another_threshold_and_wrong_input(trained: latsearch.RunResult, store: str) -> None:
    api.register(trained.folder, NAME)
    mlflow.set_tracking_uri(store)
    uri = f"models:/{NAME}@fastest"
    images = load(parse_study(SPACE).data).validation.images
    waits = mlflow.pyfunc.load_model(uri, model_config={"decision_threshold": None})
    assert set(waits.predict(images)["decision_time"]) <= {2, 3}  # the readout at T
    with pytest.raises(mlflow.MlflowException, match="uint8"):
        waits.predict(images / 255)


def test_a_model_is_code_and_weights_without_a_pickle(
    trained: latsearch.RunResult, store: str
) -> None:
    api.register(trained.folder, NAME)
    models = trained.folder.parent / "mlartifacts" / "models"
    files = {path.name for path in models.rglob("*") if path.is_file()}
    assert {"served.py", "model.safetensors", "config.json", "MLmodel"} <= files
    assert not any(name.endswith((".pkl", ".pt", ".pickle", ".joblib")) for name in files)


def test_registering_again_changes_nothing(trained: latsearch.RunResult, store: str) -> None:
    first = api.register(trained.folder, "again")
    assert all(version.created for version in first)
    client = MlflowClient(store)
    before = client.search_model_versions("name = 'again'")
    again = api.register(trained.folder, "again")
    assert not any(version.created for version in again)
    assert [v.version for v in again] == [v.version for v in first]
    after = client.search_model_versions("name = 'again'")
    assert [dict(v) for v in after] == [dict(v) for v in before]


def test_aliases_move_with_the_condition(trained: latsearch.RunResult, store: str) -> None:
    client = MlflowClient(store)
    api.register(trained.folder, "moving")
    best = client.get_model_version_by_alias("moving", "most-accurate")
    below = float(best.tags["accuracy"]) - 1e-6
    api.register(trained.folder, "moving", where=f"accuracy < {below}")
    moved = client.get_model_version_by_alias("moving", "most-accurate")
    assert float(moved.tags["accuracy"]) < float(best.tags["accuracy"])
    assert client.get_model_version("moving", best.version).status == "READY"


def test_versions_point_to_their_runs(trained: latsearch.RunResult, store: str) -> None:
    client = MlflowClient(store)
    [version, *_] = api.register(trained.folder, NAME)
    found = client.get_model_version(NAME, str(version.version))
    run = client.get_run(found.run_id)
    assert run.data.tags["latsearch.kind"] == "operating_point"
    assert run.data.tags["latsearch.trial_id"] == str(version.point.trial)
    assert run.data.metrics["accuracy"] == pytest.approx(version.point.metrics["accuracy"])


def test_while_another_process_publishes(trained: latsearch.RunResult, store: str) -> None:
    with PublisherLock(trained.folder, store):
        assert api.register(trained.folder, "beside")


def test_what_cannot_be_registered_is_told(synthetic: SyntheticStudy, uri: str) -> None:
    synthetic.trial()  # without a checkpoint
    points = {"knee": api.front(synthetic.study.folder)[0]}
    with pytest.raises(StudyError, match="its weights are not there"):
        register(synthetic.study, points, "x", uri)
    for name in ("", "a/b", "a:b"):
        with pytest.raises(UserError, match="is no name of a registered model"):
            register(synthetic.study, points, name, uri)
    synthetic.trial(checkpoint=True)
    last = [p for p in api.front(synthetic.study.folder) if p.trial == 1]
    with pytest.raises(TrackingError, match="does not answer"):
        register(synthetic.study, {"knee": last[0]}, "x", "http://127.0.0.1:9")
