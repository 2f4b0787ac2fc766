from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from latsearch.config import DataConfig
from latsearch.config.energy import PROFILES
from latsearch.config.trial import NetworkConfig, TrainConfig, TrialConfig
from latsearch.data import load
from latsearch.errors import LatsearchError
from latsearch.evaluation import load_checkpoint
from latsearch.objectives import EpochReport
from latsearch.training import Trainer, TrainingError, train
from tests.samples import bar_splits

PROFILE = PROFILES["horowitz-45nm-fp32"]
NETWORK = NetworkConfig(
    family="lenet", width=4, hidden=8, timesteps=2, downsampling="max", surrogate_width=1.0
)
TRAIN = TrainConfig(epochs=4, batch_size=16, lr=0.01, crop_padding=1, horizontal_flip=True)


def trainer(network=NETWORK, seed=0, splits=None, **settings) -> Trainer:
    trial = TrialConfig(network=network, train=replace(TRAIN, **settings))
    return Trainer(trial, splits or bar_splits(), seed=seed, profile=PROFILE)


def assert_same(a: EpochReport, b: EpochReport) -> None:
    """Equal but for the time they took."""
    assert a.epoch == b.epoch
    assert a.metrics == b.metrics
    for x, y in zip(a.curve.rows(), b.curve.rows(), strict=True):
        assert x == y


def test_it_learns():
    trial = TrialConfig(network=NETWORK, train=replace(TRAIN, crop_padding=0))
    reports: list[EpochReport] = []
    done = train(trial, bar_splits(), reports.append, seed=0, profile=PROFILE)
    assert done.epoch == 4
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert reports[-1].curve.accuracy[-1] > 0.9
    assert reports[-1].metrics["train_loss"] < reports[0].metrics["train_loss"]


def test_a_report_has_its_metrics():
    report = trainer().step()
    names = {
        *("train_loss", "grad_norm", "lr", "parameters", "weight_t1", "weight_t2"),
        *("firing_rate", "firing_rate_encoder", "firing_rate_layer1", "firing_rate_layer2"),
        *(
            "energy_share_encoder",
            "energy_share_hidden",
            "energy_share_neurons",
            "energy_share_output",
        ),
        *("blank_firing_rate", "silent_neurons", "saturated_neurons", "synaptic_operations"),
        *("grad_norm_encoder", "grad_norm_layer1", "grad_norm_layer2", "grad_norm_output"),
    }
    assert set(report.metrics) == names
    assert all(math.isfinite(value) for value in report.metrics.values())
    assert report.metrics["weight_t1"] + report.metrics["weight_t2"] == pytest.approx(1)
    assert report.curve.decision_threshold[0] >= 0
    assert np.isfinite(report.curve.energy).all()
    assert EpochReport.from_json(report.to_json()).epoch == 1


def test_decision_times_agree_with_the_curve():
    report = trainer().step()
    counts = np.array(report.decision_times)
    assert counts.shape == (len(report.curve), NETWORK.timesteps)
    assert (counts.sum(1) == len(bar_splits().validation)).all()
    latency = (counts * np.arange(1, NETWORK.timesteps + 1)).sum(1) / counts.sum(1)
    assert latency == pytest.approx(report.curve.latency)


@pytest.mark.parametrize("family", ["mlp", "lenet", "vgg11"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_going_on_from_a_checkpoint_equals_never_having_stopped(tmp_path, family, optimizer):
    network = replace(NETWORK, family=family, neuron="lif")
    whole = trainer(network, optimizer=optimizer, lambda_spike=0.1)
    expected = [whole.step() for _ in range(4)]
    first = trainer(network, optimizer=optimizer, lambda_spike=0.1)
    reports = [first.step(), first.step()]
    first.save(tmp_path / "2")
    second = trainer(network, optimizer=optimizer, lambda_spike=0.1)
    second.load(tmp_path / "2")
    assert second.epoch == 2
    reports += [second.step(), second.step()]
    for a, b in zip(reports, expected, strict=True):
        assert_same(a, b)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name


def test_a_rate_coded_training_goes_on_bit_by_bit_too(tmp_path):
    network = replace(NETWORK, encoder="rate", norm="timestep")
    whole, half = trainer(network), trainer(network)
    expected = [whole.step() for _ in range(2)]
    assert_same(half.step(), expected[0])
    half.save(tmp_path / "checkpoint")
    torch.rand(7)  # whatever else draws from the global generator
    again = trainer(network)
    again.load(tmp_path / "checkpoint")
    assert_same(again.step(), expected[1])


def test_less_memory_gives_the_same_training():
    assert_same(trainer(recompute=True).step(), trainer().step())


def test_a_start_from_a_relu_network_is_ahead():
    splits = bar_splits()
    network = replace(NETWORK, learn_tau_mem=True, neuron="lif", norm="timestep")
    plain, ahead = (trainer(network, splits=splits, relu_epochs=n, epochs=6) for n in (0, 6))
    first, second = plain.step(), ahead.step()
    assert second.metrics["train_loss"] < 0.8 * first.metrics["train_loss"]
    assert_same(trainer(network, splits=splits, relu_epochs=6, epochs=6).step(), second)


@pytest.mark.parametrize("neuron", ["relu", "sign"])
def test_ordinary_networks_decide_at_once(neuron):
    encoder = "analog" if neuron == "relu" else "latency"
    report = trainer(replace(NETWORK, neuron=neuron, encoder=encoder)).step()
    assert report.curve.latency.tolist() == [1] * len(report.curve.latency)


def test_seeds_repeat_and_differ():
    assert_same(trainer(seed=1).step(), trainer(seed=1).step())
    assert trainer(seed=1).step().metrics != trainer(seed=2).step().metrics


def test_the_global_generators_and_the_data_are_left_alone():
    splits = bar_splits()
    before = splits.train.images.copy()
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(2).tolist(), np.random.rand(2).tolist()
    torch.manual_seed(3)
    np.random.seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(splits=splits).step()
    assert (torch.rand(2).tolist(), np.random.rand(2).tolist()) == expected
    assert np.array_equal(splits.train.images, before)


def test_one_batch_shows_that_everything_works():
    one = trainer()
    report = one.batch_step()
    assert one.epoch == 0
    assert report.epoch == 0
    assert math.isfinite(report.metrics["train_loss"])
    assert len(report.curve) > 1


def test_a_last_partial_batch_is_left_out_unless_it_is_the_only_one():
    assert trainer(splits=bar_splits(train=40)).steps_an_epoch == 2
    few = trainer(splits=bar_splits(train=10))
    assert few.steps_an_epoch == 1
    assert few.step().epoch == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "tet"},
        {"loss": "last", "label_smoothing": 0.1},
        {"clip_grad_norm": 0.1},
        {"precision": "bf16"},
        {"lambda_spike": 1.0},
        {"loss": "tet_step"},
        {"tad_weighting": "inverse", "tad_gradient": True, "logits": "mean"},
        {"anchor": 0.5, "anchor_threshold": 2.0},
        {"recompute": True},
        {"relu_epochs": 1},
    ],
)
def test_every_switch_of_the_training_trains(settings):
    assert math.isfinite(trainer(**settings).step().metrics["train_loss"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_reported_curve_is_that_of_the_network_as_it_is_loaded(tmp_path, precision):
    trained = trainer(precision=precision)
    report = trained.step()
    trained.save(tmp_path / "checkpoint")
    again = load_checkpoint(tmp_path / "checkpoint").curve(bar_splits().validation, PROFILE)
    assert list(again.rows()) == list(report.curve.rows())


def test_the_spike_regulariser_lowers_the_firing_rate():
    free, pressed = trainer(epochs=12), trainer(epochs=12, lambda_spike=100.0)
    for _ in range(12):
        rates = [t.step().metrics["firing_rate"] for t in (free, pressed)]
    assert rates[1] < 0.7 * rates[0]


def test_gradients_are_clipped():
    clipped = trainer(optimizer="sgd", lr=1.0, momentum=0.0, weight_decay=0.0, clip_grad_norm=1e-3)
    before = [p.detach().clone() for p in clipped.network.parameters()]
    clipped.batch_step()
    moved = [(p - q).norm() for p, q in zip(clipped.network.parameters(), before, strict=True)]
    lr = clipped._optimizer.param_groups[0]["lr"]
    assert torch.stack(moved).norm().item() == pytest.approx(1e-3 * lr, rel=1e-3)


def test_a_diverging_training_says_so():
    diverging = trainer(optimizer="sgd", lr=100.0, epochs=30, batch_size=4, warmup_epochs=0.0)
    with torch.no_grad():
        diverging.network.output.synapse.weight.fill_(3e38)
        diverging.network.output.synapse.weight[0] = -3e38
    with pytest.raises(TrainingError, match=r"epoch 1: try a lower train.lr than 100"):
        diverging.step()


def test_a_checkpoint_of_another_trial_is_refused(tmp_path):
    trainer().save(tmp_path / "0")
    for other in (trainer(seed=1), trainer(lr=0.5)):
        with pytest.raises(LatsearchError, match="another trial"):
            other.load(tmp_path / "0")


def test_digits_are_decided_well_and_early():
    splits = load(DataConfig(name="digits", validation=0.25))
    network = NetworkConfig(
        family="lenet", width=16, hidden=64, timesteps=2, downsampling="sum", surrogate_width=2.0
    )
    trial = TrialConfig(network=network, train=TrainConfig(epochs=15, batch_size=32, lr=0.01))
    reports: list[EpochReport] = []
    train(trial, splits, reports.append, seed=0, profile=PROFILE)
    curve = reports[-1].curve
    chosen = (curve.latency <= 1.5) & (curve.silent_fraction <= 0.05)
    assert curve.accuracy[chosen].max() >= 0.97


def _in_float64(normalize, images):
    return normalize(images).double()


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(parts):
    # normalisations over time and batch see a part alone: on equal samples that is the same
    splits = bar_splits()
    same = replace(splits.train, pixels=np.repeat(splits.train.images[:1], len(splits.train), 0))
    same = replace(same, labels=np.repeat(splits.train.labels[:1], len(splits.train)), rows=None)
    equal = replace(splits, train=same)
    still = {"crop_padding": 0, "horizontal_flip": False, "lambda_spike": 0.1, "epochs": 1}
    whole, split = trainer(splits=equal, **still), trainer(splits=equal, **still)
    split.parts = parts
    # in float32, rounding decides after a few steps which neurons spike
    for each in (whole, split):
        each.network.double()
        each._normalize = partial(_in_float64, each._normalize)
    one, two = whole.step(), split.step()
    for name in ("train_loss", "grad_norm", "weight_t1", "weight_t2"):
        assert two.metrics[name] == pytest.approx(one.metrics[name], rel=5e-3)


def test_parts_split_evenly_and_leave_two_samples_for_a_normalisation(monkeypatch):
    sizes = []
    one = trainer(batch_size=7)
    backward = one._backward
    monkeypatch.setattr(
        one, "_backward", lambda x, y, share: (sizes.append(len(x)), backward(x, y, share))[1]
    )
    one.parts = 64
    one.batch_step()
    assert sizes == [3, 2, 2]


def test_a_network_trains_in_parts():
    one = trainer()
    one.parts = 2
    accuracy = [one.step().curve.accuracy[-1] for _ in range(TRAIN.epochs)]
    assert accuracy[-1] > 0.7


def test_the_digest_of_weights_sees_every_bit():
    one, two = trainer(), trainer()
    assert one.weights_digest() == two.weights_digest()
    with torch.no_grad():
        weight = next(iter(two.network.parameters()))
        weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(9.0))
    assert one.weights_digest() != two.weights_digest()
