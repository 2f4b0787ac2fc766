"""Robustness as an objective: measured at every operating point, searched, shown."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from latsearch import api
from latsearch.config import parse_study
from latsearch.config.study import RobustnessConfig
from latsearch.data import load
from latsearch.data.corruptions import corrupt, corrupted_sample
from latsearch.errors import ConfigError
from latsearch.objectives import DecisionCurve
from latsearch.search.storage import Study
from latsearch.snn.decoding import accuracies, decision_curve
from tests.test_cli import latsearch

YAML = """
version: 1
study: robust
data: {name: digits, validation: 0.25}
network: {family: mlp, timesteps: 2, width: 4, hidden: 16}
train: {epochs: 3, batch_size: 32, precision: fp32, lr: {low: 1e-3, high: 1e-2, log: true}}
objectives: {accuracy: maximize, robust_accuracy: maximize, latency: minimize}
constraints: {robust_accuracy: {min: 0.05}}
robustness: {samples: 40, corruptions: [contrast, gaussian_noise]}
search: {trials: 2}
"""


def test_the_sample_is_the_same_for_all_trials() -> None:
    study = parse_study(YAML)
    splits = load(study.data)
    config = RobustnessConfig(samples=20, severity=2, corruptions=["contrast", "fog"])
    first, again = (corrupted_sample(splits.validation, config) for _ in range(2))
    assert (first.images == again.images).all()
    assert len(first) == 40
    assert (first.labels[:20] == first.labels[20:]).all()
    assert np.bincount(first.labels).tolist() == [4] * 10
    clean = splits.validation.images
    darker = first.images[:20]
    assert any((corrupt(image[None], "contrast", 2) == darker[0]).all() for image in clean)
    assert len(corrupted_sample(splits.validation, RobustnessConfig(samples=3))) == 45


def test_accuracies_are_those_of_the_curve() -> None:
    random = np.random.default_rng(0)
    potentials = np.cumsum(random.normal(size=(4, 50, 3)), 0)
    labels = random.integers(0, 3, 50)
    curve = decision_curve(potentials, labels)
    assert (accuracies(potentials, labels, curve.decision_threshold) == curve.accuracy).all()


def test_a_curve_with_and_without_it_survives_json() -> None:
    random = np.random.default_rng(0)
    curve = decision_curve(random.normal(size=(2, 9, 3)), random.integers(0, 3, 9))
    assert "robust_accuracy" not in curve.to_json()
    assert DecisionCurve.from_json(curve.to_json()).robust_accuracy is None
    columns = {**curve.to_json(), "robust_accuracy": [0.5] * len(curve)}
    again = DecisionCurve.from_json(columns)
    assert again.robust_accuracy is not None
    assert again.to_json() == columns
    with pytest.raises(ValueError, match="equal lengths"):
        DecisionCurve.from_json({**columns, "robust_accuracy": [0.5]})


def test_events_have_no_robust_accuracy() -> None:
    text = YAML.replace("digits", "nmnist").replace("family: mlp", "family: mlp, encoder: frames")
    with pytest.raises(ConfigError, match="measured on images, but nmnist holds events"):
        parse_study(text)


def test_a_search_for_robust_networks(tmp_path: Path) -> None:
    (tmp_path / "robust.yaml").write_text(YAML)
    done = latsearch("run", "robust.yaml", "--workers", 0, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "finished: 2 of 2 trials (0 failed)" in done.stdout
    assert any({"robust", "silent"} <= set(line.split()) for line in done.stdout.splitlines())
    study = Study.open(tmp_path / "runs" / "robust")
    assert study.reference["robust_accuracy"] == 0.1
    sample = corrupted_sample(load(study.config.data).validation, study.config.robustness)
    for record in study.trials():
        network = api.load(study.folder, record.number)
        curve = record.curve
        assert curve is not None
        assert curve.robust_accuracy is not None
        potentials = network.potentials(sample.images)
        found = accuracies(potentials, sample.labels, curve.decision_threshold)
        assert curve.robust_accuracy == pytest.approx(found, abs=1e-6)
    latsearch("front", "robust", "--csv", "front.csv", "--json", "front.json", cwd=tmp_path)
    rows = list(csv.DictReader((tmp_path / "front.csv").open()))
    assert all(float(row["robust_accuracy"]) >= 0.05 for row in rows)
    assert json.loads((tmp_path / "front.json").read_text())[0]["robust_accuracy"] > 0.05
    assert latsearch("report", "robust", cwd=tmp_path).returncode == 0
    assert latsearch("publish", "robust", cwd=tmp_path).returncode == 0
