from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latsearch.config.energy import PROFILES
from latsearch.config.trial import NetworkConfig, TrainConfig, TrialConfig
from latsearch.errors import LatsearchError
from latsearch.evaluation import batch_size, load_checkpoint, validation_curve
from latsearch.snn.decoding import decide
from latsearch.snn.networks import build_network
from latsearch.training import Trainer
from tests.samples import bar_splits, bars

PROFILE = PROFILES["horowitz-45nm-fp32"]
TRIAL = TrialConfig(
    network=NetworkConfig(family="lenet", width=4, hidden=8, timesteps=3),
    train=TrainConfig(epochs=3, batch_size=16, lr=0.01, precision="fp32"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Trainer, Path]:
    trainer = Trainer(TRIAL, bar_splits(), seed=0, profile=PROFILE)
    for _ in range(3):
        trainer.step()
    folder = tmp_path_factory.mktemp("trial") / "00003"
    trainer.save(folder)
    return trainer, folder


def test_a_loaded_network_measures_what_its_training_did(trained):
    trainer, folder = trained
    splits = bar_splits()
    curve, diagnostics = validation_curve(
        trainer.network, splits.validation, splits.mean, splits.std, PROFILE
    )
    loaded = load_checkpoint(folder)
    assert loaded.curve(splits.validation, PROFILE).to_json() == curve.to_json()
    assert loaded.info.dataset == "bars"
    assert loaded.info.epoch == 3
    shares = [value for name, value in diagnostics.items() if name.startswith("energy_share")]
    assert sum(shares) == pytest.approx(1)


def test_predictions_agree_with_the_curve(trained):
    loaded = load_checkpoint(trained[1])
    samples = bars(60, 5)
    curve = loaded.curve(samples, PROFILE)
    for row in curve.rows():
        decision, energy = loaded.predict(samples.images, row["decision_threshold"], PROFILE)
        assert (decision.prediction == samples.labels).mean() == row["accuracy"]
        assert decision.decision_time.mean() == row["latency"]
        assert energy.mean() == pytest.approx(row["energy"])


def test_early_exit_decides_the_same(trained, monkeypatch):
    loaded = load_checkpoint(trained[1])
    images = bars(60, 5).images
    curve = loaded.curve(bars(60, 5), PROFILE)
    middle = float(curve.decision_threshold[(curve.latency > 1.2).argmax()])
    monkeypatch.setattr("latsearch.evaluation.batch_size", lambda network, device: 16)
    for threshold in (0.0, middle, float("inf")):
        decision, _ = loaded.predict(images, threshold, PROFILE)
        early = loaded.decide(images, threshold)
        for name in ("prediction", "decision_time", "silent", "tie"):
            assert np.array_equal(getattr(early, name), getattr(decision, name))
    assert 1 < loaded.decide(images, middle).decision_time.mean() < 3


def test_floats_on_the_unit_scale_are_the_same_images(trained):
    loaded = load_checkpoint(trained[1])
    images = bars(20, 5).images
    got = loaded.potentials(torch.from_numpy(images / 255).float())
    torch.testing.assert_close(got, loaded.potentials(images), rtol=1e-4, atol=1e-4)
    assert got.shape == (3, 20, 4)
    assert decide(got, 0.0).prediction.shape == (20,)


def test_splitting_into_batches_changes_nothing(trained, monkeypatch):
    loaded = load_checkpoint(trained[1])
    images = bars(50, 5).images
    whole = loaded.measure(images, PROFILE)
    monkeypatch.setattr("latsearch.evaluation.batch_size", lambda network, device: 16)
    parts = loaded.measure(images, PROFILE)
    torch.testing.assert_close(parts.potentials, whole.potentials)
    torch.testing.assert_close(parts.energy.cumulative(), whole.energy.cumulative())


def test_measuring_leaves_mode_weights_and_images_alone(trained):
    network = trained[0].network
    splits = bar_splits()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    validation_curve(network, splits.validation, splits.mean, splits.std, PROFILE)
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("shape", [(8, 8), (2, 1, 9, 8), (2, 3, 8, 8)])
def test_images_of_another_shape_are_refused(trained, shape):
    loaded = load_checkpoint(trained[1])
    with pytest.raises(ValueError, match=r"images must be \[N, 1, 8, 8\]"):
        loaded.potentials(np.zeros(shape, dtype=np.uint8))


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(LatsearchError, match="nothing"):
        load_checkpoint(tmp_path / "nothing")


def test_batches_shrink_with_the_network():
    cpu = torch.device("cpu")
    small = build_network(TRIAL.network, (1, 8, 8), 10, meta=True)
    large = build_network(
        replace(TRIAL.network, family="vgg11", width=64), (3, 32, 32), 10, meta=True
    )
    assert 16 <= batch_size(large, cpu) < batch_size(small, cpu) <= 4096
