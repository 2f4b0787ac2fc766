"""Networks of the user's own: built, checked, counted, trained, loaded as latsearch's own are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latsearch.config import PROFILES
from latsearch.config.code import allowing_code
from latsearch.config.trial import NetworkConfig, Options, TrainConfig, TrialConfig
from latsearch.errors import UserError
from latsearch.evaluation import load_checkpoint, measure
from latsearch.snn.custom import CustomNetwork
from latsearch.snn.energy import (
    conventions,
    dense_energy,
    dense_operations,
    fan_out,
    ordinary_energy,
    ordinary_macs,
)
from latsearch.snn.folding import folded
from latsearch.snn.images import Normalization
from latsearch.snn.networks import build_any, build_network, own
from latsearch.snn.runtime import EarlyExit
from latsearch.training import Trainer
from tests.samples import bar_splits

HERE = "tests.snn.custom.own_networks"
PROFILE = PROFILES["horowitz-45nm-fp32"]
SHAPE = (1, 8, 8)


def config(function: str, **fields) -> NetworkConfig:
    options = fields.pop("options", {"width": 24})
    return NetworkConfig(
        family="custom", function=f"{HERE}:{function}", options=Options(options), **fields
    )


def build(function: str, shape=SHAPE, classes: int = 4, **fields) -> CustomNetwork:
    with allowing_code(True):
        network = build_any(config(function, **fields), shape, classes)
    assert isinstance(network, CustomNetwork)
    return network


def fault(function: str, **fields) -> str:
    with pytest.raises(UserError) as caught:
        build(function, **fields)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pair(family: str, **fields):
    """One of latsearch's networks after some training, and the same written anew."""
    plain = {"width": 3, "hidden": 10, "timesteps": 3, "stem_kernel": 3, **fields}
    trial = TrialConfig(
        network=NetworkConfig(family=family, **plain), train=TrainConfig(epochs=2, batch_size=16)
    )
    trainer = Trainer(trial, bar_splits(), seed=0, profile=PROFILE)
    trainer.step()
    mine = trainer.network.eval()
    options = {"family": family, "hidden": plain.pop("hidden")}
    theirs = build("twin", options=options, **plain)
    theirs.module.take_over(mine)
    theirs.module.gain.data.copy_(mine.encoder.gain.data)
    theirs.module.shift.data.copy_(mine.encoder.shift.data)
    return mine, theirs.eval()


@pytest.mark.parametrize("profile", ["horowitz-45nm-fp32", "memory-45nm-fp32", "loihi"])
@pytest.mark.parametrize(
    ("family", "fields"),
    [("mlp", {}), ("mlp", {"timesteps": 1, "stem_stride": 2}), ("lenet", {"downsampling": "sum"})],
)
def test_one_of_ours_written_anew_has_the_same_figures(family, fields, profile):
    mine, theirs = pair(family, **fields)
    samples = bar_splits().validation
    images = torch.from_numpy(np.array(samples.images))
    normalize = Normalization((0.2,), (0.3,), "cpu")
    prices = PROFILES[profile]
    first = measure(mine, images, normalize, prices)
    second = measure(theirs, images, normalize, prices)
    assert torch.allclose(first.potentials, second.potentials, atol=1e-5)
    one, two = first.energy, second.energy
    assert torch.equal(one.stem.multiplies, two.stem.multiplies)
    for layer, other in zip((*one.hidden, one.output), (*two.hidden, two.output), strict=True):
        assert torch.equal(layer.accumulates, other.accumulates)
        assert torch.equal(layer.multiplies, other.multiplies)
        assert layer.memory == other.memory
    assert torch.allclose(one.cumulative(), two.cumulative(), rtol=1e-12)
    assert torch.equal(one.synaptic_operations(), two.synaptic_operations())
    ours, anew = first.curve(samples.labels), second.curve(samples.labels)
    assert np.allclose(ours.accuracy, anew.accuracy)
    assert np.allclose(ours.energy, anew.energy, rtol=1e-6)
    assert np.allclose(ours.latency, anew.latency)
    mine_found, theirs_found = first.diagnostics(), second.diagnostics()
    assert mine_found.keys() == theirs_found.keys()
    for name in ("firing_rate", "silent_neurons", "saturated_neurons", "blank_firing_rate"):
        assert mine_found[name] == pytest.approx(theirs_found[name], abs=1e-6)
    assert theirs.parameter_count() == mine.parameter_count()
    assert theirs.hidden_neurons() == mine.hidden_neurons()
    assert ordinary_macs(theirs) == ordinary_macs(mine)
    assert ordinary_energy(theirs, prices) == pytest.approx(ordinary_energy(mine, prices))
    if family == "mlp":  # the bound of pooled sums is what was seen, not what could be
        assert dense_operations(theirs) == dense_operations(mine)
        assert dense_energy(theirs, prices) == pytest.approx(dense_energy(mine, prices))


def test_pooled_sums_are_macs_where_the_profile_says_so():
    mine, theirs = pair("lenet", downsampling="sum")
    images, normalize = torch.rand(9, *SHAPE), Normalization((0.2,), (0.3,), "cpu")
    prices = PROFILES["horowitz-45nm-fp32-pooled-macs"]
    first, second = (measure(x, images, normalize, prices).energy for x in (mine, theirs))
    assert first.hidden[0].multiplies.sum() > 0
    assert torch.allclose(first.cumulative(), second.cumulative(), rtol=1e-12)


def test_a_plain_loop_is_counted_by_hand():
    network = build("plain_loop", timesteps=3, options={"width": 5}).eval()
    images = torch.rand(6, *SHAPE)
    images[0] = 0.0
    seen = []
    network.module.second.register_forward_pre_hook(lambda _, x: seen.append(x[0].clone()))
    unit = Normalization((0.0,), (1.0,), "cpu")
    report = measure(network, images, unit, PROFILE).energy
    spikes = torch.stack(seen[:3]).sum(-1)
    pixels = (images.flatten(1) != 0).sum(1)
    assert torch.equal(report.stem.multiplies, (5.0 * pixels).expand(3, -1).double())
    assert report.stem.accumulates.sum() == 0
    assert torch.equal(report.output.accumulates, 4.0 * spikes.double())
    assert [update.count for update in report.updates] == [5]
    step = 4.6 * report.stem.multiplies + 0.9 * report.output.accumulates + 0.9 * 5
    assert torch.allclose(report.cumulative(), 1e-3 * step.cumsum(0), rtol=1e-12)
    assert dense_operations(network) == (0.0, 64 * 5 + 5 * 4)
    assert dense_energy(network, PROFILE) == pytest.approx(
        3e-3 * (4.6 * 320 + 0.9 * 20 + 0.9 * 5), rel=1e-12
    )


def test_counts_of_events_are_macs_beyond_one():
    network = build("frames", shape=(2, 4, 4), timesteps=3, encoder="frames").eval()
    frames = torch.randint(0, 3, (5, 3, 2, 4, 4)).float()
    report = measure(network, frames, Normalization((0.0,), (1.0,), "cpu"), PROFILE).energy
    ones, more = ((frames == 1).sum((2, 3, 4)).T, (frames > 1).sum((2, 3, 4)).T)
    assert torch.equal(report.stem.accumulates, 12.0 * ones.double())
    assert torch.equal(report.stem.multiplies, 12.0 * more.double())


@pytest.mark.parametrize("library", ["spikingjelly", "snntorch"])
def test_networks_of_other_libraries(library):
    pytest.importorskip(library)
    network = build(library, timesteps=4).eval()
    assert network.uncounted == ()
    ((_, shape),) = network.hidden_layers()
    assert shape == ((4, 8, 8) if library == "spikingjelly" else (16,))
    found = measure(network, torch.rand(7, *SHAPE), Normalization((0.5,), (0.5,), "cpu"), PROFILE)
    assert found.potentials.shape == (4, 7, 4)
    assert 0 < found.energy.firing_rate < 1
    assert found.energy.output.accumulates.sum() > 0
    assert found.energy.output.multiplies.sum() == 0


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (torch.nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, dilation=2), (4, 7, 9)),
        (torch.nn.Conv1d(2, 3, 5, padding=2), (2, 11)),
        (torch.nn.Linear(6, 5), (6,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fan_out_equals_the_gradient_of_a_count(layer, shape):
    from latsearch.snn.custom.layers import CountedLayer

    with torch.no_grad():
        layer.weight[torch.rand_like(layer.weight) < 0.3] = 0
    found = CountedLayer("x", layer, False, "once", False, shape, (), None).fan_out()
    reached = torch.zeros(shape, dtype=torch.float64)
    weight = (layer.weight != 0).double()
    for index in np.ndindex(*shape):
        one = torch.zeros(1, *shape, dtype=torch.float64)
        one[(0, *index)] = 1
        if isinstance(layer, torch.nn.Linear):
            reached[index] = (one @ weight.T).sum()
        else:
            reached[index] = layer.double()._conv_forward(one, weight, None).sum()
    assert torch.equal(found, reached)
    if isinstance(layer, torch.nn.Linear):
        assert torch.equal(found.float(), fan_out(layer, shape))


def test_training_goes_on_from_a_checkpoint_bit_by_bit(tmp_path: Path):
    trial = TrialConfig(
        network=config("plain_loop", timesteps=3),
        train=TrainConfig(epochs=3, batch_size=32, lambda_spike=0.1),
    )
    with allowing_code(True):
        trainer = Trainer(trial, bar_splits(), seed=1, profile=PROFILE)
        reports = [trainer.step(), trainer.step()]
        trainer.save(tmp_path / "2")
        third = trainer.step()
        again = Trainer(trial, bar_splits(), seed=1, profile=PROFILE)
        again.load(tmp_path / "2")
        assert again.step().curve.to_json() == third.curve.to_json()
        loaded = load_checkpoint(tmp_path / "2")
    assert reports[0].metrics["parameters"] == 64 * 24 + 24 + 24 * 4 + 4
    assert {"grad_norm_encoder", "grad_norm_output", "firing_rate"} <= reports[0].metrics.keys()
    assert third.curve.accuracy.max() > 0.6
    splits = bar_splits()
    curve = loaded.curve(splits.validation)
    assert curve.to_json() == reports[1].curve.to_json()
    threshold = float(curve.decision_threshold[0])
    decision, energy = loaded.predict(splits.validation.images, threshold)
    assert (
        loaded.decide(splits.validation.images, threshold).prediction == decision.prediction
    ).all()
    assert energy.mean() == pytest.approx(curve.energy[0])


def test_code_runs_only_where_it_is_allowed(tmp_path: Path):
    line = (
        f"network.function is Python code ({HERE}:plain_loop); if you trust it, allow it with "
        "--allow-code"
    )
    with pytest.raises(UserError) as caught:
        build_any(config("plain_loop"), SHAPE, 4)
    assert str(caught.value) == line
    with allowing_code(True), allowing_code(False), pytest.raises(UserError) as caught:
        build_any(config("plain_loop"), SHAPE, 4)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("swapped", "returned [5, 3, 4], expected [T, B, K] = [3, 5, 4]; swap the first two with"),
        ("summed", "returned [5, 4], expected [T, B, K] = [3, 5, 4]; give the potentials of every"),
        ("whole", "returned torch.int64, expected floating-point potentials"),
        ("listed", "returned list, expected a tensor of potentials [T, B, K] = [3, 5, 4]"),
        ("random", "the same images gave other potentials the second time, in evaluation mode"),
        ("misfit", "(5x64 and 10x24) (own_networks.py:"),
        ("missing_option", "missing_option failed: KeyError: 'depth' (own_networks.py:"),
        ("no_module", "no_module returned int, expected a torch.nn.Module"),
        ("untrained", "untrained returned Flatten without parameters to train"),
        ("two_arguments", "it is called two_arguments(config, input_shape, classes)"),
        ("nowhere", f"{HERE} has no nowhere"),
    ],
)
def test_code_that_fails_says_where_in_one_line(function: str, message: str):
    assert message in fault(function, timesteps=3)


def test_a_module_that_fails_on_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *__import__("sys").path])
    Path("broken_own_module.py").write_text("import math\n\nmath.sqrt(-1)\n")
    Path("unparsed_own_module.py").write_text("def f(:\n")
    for module, line in (("broken", ":3)"), ("unparsed", ":1)")):
        wrong = replace(config("x"), function=f"{module}_own_module:make")
        with allowing_code(True), pytest.raises(UserError) as caught:
            build_any(wrong, SHAPE, 4)
        assert f"{module}_own_module.py{line}" in str(caught.value)


def test_what_cannot_be_counted_is_named():
    network = build("recurrent", timesteps=3)
    assert network.uncounted == ("rnn (RNN)",)
    for figure in (dense_operations, lambda x: dense_energy(x, PROFILE)):
        with pytest.raises(UserError, match=r"cannot count the operations of rnn \(RNN\)"):
            figure(network)
    found = measure(network, torch.rand(6, *SHAPE), Normalization((0.5,), (0.5,), "cpu"), PROFILE)
    curve = found.curve(np.arange(6) % 4)
    assert np.isnan(curve.energy).all()
    assert np.isfinite(curve.accuracy).all()


def test_what_needs_layers_that_latsearch_knows_is_refused():
    network = build("plain_loop")
    with pytest.raises(UserError, match="needs layers that latsearch knows"):
        build_network(config("plain_loop"), SHAPE, 4)
    for refuse in (folded, EarlyExit, lambda x: own(x, "export")):
        with pytest.raises(UserError, match="is the user's own code"):
            refuse(network)


def test_conventions_are_printed():
    assert "spiking = True" in conventions(PROFILE, own_code=True)
    assert "spiking = True" not in conventions(PROFILE)
