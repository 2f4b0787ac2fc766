"""A search on recordings of events, from files to a front in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import latsearch
from latsearch import api
from latsearch.config import parse_study
from latsearch.config.energy import DEFAULT_PROFILE
from latsearch.config.trial import NetworkConfig, TrainConfig, TrialConfig
from latsearch.data import load
from latsearch.search.storage import Study
from latsearch.training import Trainer, TrainingError

YAML = """
version: 1
study: sides
data:
  name: event-folder
  root: {root}
  validation: 0.5
  events: {{width: 8, height: 8, duration_ms: 100}}
network: {{family: mlp, width: 2, hidden: 8, timesteps: {{choices: [2, 4]}}}}
train:
  {{epochs: 8, batch_size: 8, lr: 0.02, warmup_epochs: 0, compile: never, precision: fp32,
  event_drop: 0.1}}
search: {{trials: 2, sampler: qmc}}
tracking: {{enabled: false}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes: events on the left side, or on the right, at any time."""
    root = tmp_path_factory.mktemp("sides")
    random = np.random.default_rng(0)
    for label, name in enumerate(("left", "right")):
        (root / "recordings" / name).mkdir(parents=True)
        for number in range(40):
            t = np.sort(random.integers(0, 100_000, 200))
            x = random.integers(0, 4, 200) + 4 * label
            y, p = random.integers(0, 8, 200), random.integers(0, 2, 200)
            file = root / "recordings" / name / f"{number}.npy"
            np.save(file, np.stack([t, x, y, p], axis=1))
    return root


@pytest.fixture(scope="module")
def study(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATSEARCH_CACHE", str(folder / "cache"))
        config = parse_study(YAML.format(root=folder / "recordings"))
        options = latsearch.RunOptions(workers=0, runs=folder / "runs")
        return latsearch.run(config, options).folder


def test_latency_is_the_end_of_the_deciding_bin_whatever_t_is(study: Path) -> None:
    points = latsearch.front(study)
    by_steps = {record.values["network.timesteps"]: record for record in Study.open(study).trials()}
    assert set(by_steps) == {2, 4}
    for timesteps, record in by_steps.items():
        assert record.curve is not None
        ends = {100 * step / timesteps for step in range(1, timesteps + 1)}
        assert set(record.curve.latency_p95.tolist()) <= ends
        assert 100 / timesteps <= record.curve.latency[0] < 100
        assert record.curve.latency[-1] == pytest.approx(100)  # the readout sees everything
    best = max(points, key=lambda point: point.metrics["accuracy"])
    assert best.metrics["accuracy"] == 1.0


def test_the_worst_latency_is_all_of_a_recording(study: Path) -> None:
    assert Study.open(study).reference["latency"] == 100.0


def test_a_network_predicts_counts_and_says_in_milliseconds(
    study: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATSEARCH_CACHE", str(folder / "cache"))
    point = latsearch.front(study)[0]
    network = latsearch.load(study, trial=point.trial)
    assert network.info.duration_ms == 100
    assert network.info.trial.network.encoder == "frames"
    validation = load(Study.open(study).config.data).at(network.network.timesteps).validation
    decision, _ = network.predict(validation.images, point.decision_threshold)
    times = validation.times(decision.decision_time)
    assert times.mean() == pytest.approx(point.metrics["latency"], rel=1e-4)
    assert (decision.prediction == validation.labels).mean() == point.metrics["accuracy"]


def test_evaluation_under_event_corruptions(
    study: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATSEARCH_CACHE", str(folder / "cache"))
    point = latsearch.front(study)[0]
    found = api.evaluate(f"{study}:{point.trial}", api.EvaluationOptions(corruptions=True))
    assert found.latency_unit == "ms"
    assert found.samples == 16  # a fifth of all
    assert {row.corruption for row in found.corrupted} == {"drop", "noise", "jitter"}
    assert all(0 < row.latency <= 100 for row in found.rows)
    worst = [row.energy for row in found.corrupted if row.corruption == "drop"]
    assert worst == sorted(worst, reverse=True)  # fewer events cost less


def test_an_encoder_of_images_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATSEARCH_CACHE", str(folder / "cache"))
    config = parse_study(YAML.format(root=folder / "recordings"))
    trial = TrialConfig(network=NetworkConfig(family="mlp"), train=TrainConfig())
    with pytest.raises(TrainingError, match="latency does not take event-folder"):
        Trainer(trial, load(config.data), seed=0, profile=DEFAULT_PROFILE)
