"""Exports: written, run elsewhere, and refused where a format cannot say a network."""

from __future__ import annotations

import dataclasses
import json
import math
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from latsearch.config.trial import NetworkConfig, StageConfig
from latsearch.errors import UserError
from latsearch.evaluation import LoadedNetwork, load_checkpoint
from latsearch.export import ExportReport, export_model
from latsearch.export.golden import farthest
from latsearch.export.nir_check import first_spikes
from latsearch.export.nir_graph import written_threshold
from latsearch.snn.decoding import decide
from latsearch.snn.networks import build_network
from tests.export.networks import NETWORKS, digits, threshold_of, trained
from tests.export.plain import PlainNetwork, encoded

TINY = NetworkConfig(family="lenet", width=4, hidden=12, timesteps=3, synapse="delta", neuron="lif")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LoadedNetwork:
    return trained(TINY, tmp_path_factory.mktemp("tiny") / "00003", epochs=2)


@pytest.fixture(scope="module")
def exported(tiny: LoadedNetwork, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp("exports") / "tiny"
    return export_model(
        tiny,
        folder,
        formats=("safetensors", "nir"),
        decision_threshold=threshold_of(tiny),
        samples=digits().validation.take(np.arange(200)),
    )


def with_weights(tiny: LoadedNetwork, **changes: float) -> LoadedNetwork:
    """A network with the weights of the tiny one, and other settings."""
    network = build_network(dataclasses.replace(TINY, **changes), (1, 8, 8), 10)
    network.load_state_dict(tiny.network.state_dict())
    return LoadedNetwork(network, tiny.info, "cpu")


def test_two_frameworks_do_what_the_network_does(exported: ExportReport) -> None:
    assert exported.equal
    ran = {check.framework.split()[0]: check for check in exported.checks if check.samples}
    assert {"latsearch", "spikingjelly", "snntorch"} <= set(ran)
    for check in ran.values():
        assert check.samples == 200
        assert check.largest_potential_difference < 1e-4
        assert set(check.spikes) == {"encoder", "layer1", "layer2"}


def test_the_exported_folder_is_a_checkpoint(tiny: LoadedNetwork, exported: ExportReport) -> None:
    images = digits().validation.images[:50]
    again = load_checkpoint(exported.folder)
    assert again.info == tiny.info
    assert torch.equal(again.potentials(images), tiny.potentials(images))


def test_the_manifest_names_every_file(exported: ExportReport) -> None:
    manifest = json.loads((exported.folder / "manifest.json").read_text())
    there = {file.name for file in exported.folder.iterdir()}
    assert there == {*manifest["files"], "manifest.json"}
    for name, value in manifest["files"].items():
        assert sha256((exported.folder / name).read_bytes()).hexdigest() == value
    assert manifest["layers"] == ["encoder", "layer1", "layer2"]
    assert manifest["equal"]


def reproduce(folder: Path) -> None:
    """The golden vectors, from the NIR file and the encoder's files alone."""
    golden = load_file(folder / "golden.safetensors")
    said = json.loads((folder / "golden.json").read_text())
    assert set(said["tensors"]) == set(golden)
    threshold = said["decision_threshold"]
    network = PlainNetwork(folder / "network.nir")
    for i, pixels in enumerate(golden["input"]):
        inputs = encoded(folder, pixels)
        assert np.array_equal(inputs, golden["spikes.encoder"][:, i])
        spikes, potentials = network.run(inputs)
        for name, fired in spikes.items():
            if name != "output_neuron":
                ours = golden[f"spikes.{name.removesuffix('_neuron')}"][:, i]
                assert np.array_equal(fired, ours), name
        np.testing.assert_allclose(potentials, golden["potentials"][:, i], atol=1e-5, rtol=1e-5)
        above = np.flatnonzero(potentials.max(1) > threshold)
        step = above[0] if len(above) else len(potentials) - 1
        assert step + 1 == golden["decision_time"][i]
        assert potentials[step].argmax() == golden["prediction"][i]
        assert (not len(above)) == golden["silent"][i]


def test_a_plain_loop_reproduces_the_golden_vectors(exported: ExportReport) -> None:
    reproduce(exported.folder)
    golden = load_file(exported.folder / "golden.safetensors")
    assert len(golden["input"]) == 10
    assert golden["label"].tolist() == list(range(10))
    assert len(set(golden["decision_time"].tolist())) > 1


def test_exporting_twice_gives_the_same_files(
    tiny: LoadedNetwork, exported: ExportReport, tmp_path: Path
) -> None:
    again = export_model(
        tiny,
        tmp_path / "again",
        formats=("nir", "safetensors"),
        decision_threshold=exported.decision_threshold,
        samples=digits().validation.take(np.arange(200)),
    )
    assert again.files == exported.files
    manifests = [(e.folder / "manifest.json").read_bytes() for e in (again, exported)]
    assert manifests[0] == manifests[1]


def test_a_wrong_copy_is_found(
    tiny: LoadedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from latsearch.export import nir_graph

    right = nir_graph._neuron
    monkeypatch.setattr(
        nir_graph, "_neuron", lambda keep, threshold, shape: right(keep, threshold * 1.01, shape)
    )
    report = export_model(
        tiny,
        tmp_path / "wrong",
        formats=("nir",),
        decision_threshold=threshold_of(tiny),
        samples=digits().validation.take(np.arange(100)),
    )
    assert not report.equal
    for check in report.checks:
        assert check.differing > 0
        assert check.spikes["encoder"] == 0
        assert check.spikes["layer1"] > 0


REFUSED = {
    "synapse: step (use delta)": {"synapse": "step"},
    "synapse: exp (use delta)": {"synapse": "exp"},
    "spiking: strict (use relaxed)": {"spiking": "strict"},
    "reset: soft (use hard)": {"reset": "soft"},
    "norm: timestep (use pooled)": {"norm": "timestep"},
    "downsampling: max (use sum or stride)": {"downsampling": "max"},
    "neuron: relu (use if or lif)": {"neuron": "relu"},
    "neuron: sign (use if or lif)": {"neuron": "sign"},
    "encoder: analog (use latency, rate or direct)": {"encoder": "analog"},
    "decision: margin (use first_spike)": {"decision": "margin"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_nir_cannot_say_is_refused(message: str, tiny: LoadedNetwork, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, **REFUSED[message])
    network = LoadedNetwork(build_network(config, (1, 8, 8), 10), tiny.info, "cpu")
    with pytest.raises(UserError) as caught:
        export_model(
            network,
            tmp_path / "refused",
            formats=("nir",),
            decision_threshold=1.0,
            samples=digits().validation,
        )
    assert f"NIR cannot say {message};" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_max_pooling_of_a_stage_is_refused(tiny: LoadedNetwork, tmp_path: Path) -> None:
    stages = (StageConfig(channels=4, downsampling="max"),)
    config = NetworkConfig(family="stages", stages=stages, synapse="delta")
    network = LoadedNetwork(build_network(config, (1, 8, 8), 10), tiny.info, "cpu")
    with pytest.raises(UserError, match="downsampling: max"):
        export_model(
            network,
            tmp_path / "refused",
            formats=("nir",),
            decision_threshold=1.0,
            samples=digits().validation,
        )


def test_a_folder_of_something_else_is_left_alone(tiny: LoadedNetwork, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is no export"):
        export_model(
            tiny,
            tmp_path,
            formats=("safetensors",),
            decision_threshold=1.0,
            samples=digits().validation,
        )
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(("formats", "words"), [((), "no format"), (("nirr",), "'nirr' is no")])
def test_formats_are_checked(
    formats: tuple[str, ...], words: str, tiny: LoadedNetwork, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        export_model(
            tiny,
            tmp_path / "x",
            formats=formats,
            decision_threshold=1.0,
            samples=digits().validation,
        )


def test_the_readout_decides_at_the_end(tiny: LoadedNetwork, tmp_path: Path) -> None:
    report = export_model(
        tiny,
        tmp_path / "readout",
        formats=("nir",),
        decision_threshold=math.inf,
        samples=digits().validation.take(np.arange(60)),
    )
    assert report.equal
    golden = load_file(report.folder / "golden.safetensors")
    assert set(golden["decision_time"].tolist()) == {3}
    assert not golden["silent"].any()
    assert json.loads((report.folder / "manifest.json").read_text())["decision_threshold"] is None


def test_a_potential_that_is_the_threshold_is_no_spike(tiny: LoadedNetwork, tmp_path: Path) -> None:
    report = export_model(
        with_weights(tiny, firing_threshold=1e6),  # so that every potential is zero
        tmp_path / "silent",
        formats=("nir",),
        decision_threshold=0.0,
        samples=digits().validation.take(np.arange(40)),
    )
    golden = load_file(report.folder / "golden.safetensors")
    assert golden["silent"].all()
    assert not golden["potentials"].any()
    for check in report.checks:
        assert (check.samples, check.differing, check.near_threshold) == (40, 0, 0), check


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 1e-45, 0.1, 1.0, 1.0000001, 3e38, math.inf])
def test_the_written_threshold_is_the_smallest_number_above(threshold: float) -> None:
    written = np.float32(written_threshold(threshold))
    assert float(written) == written_threshold(threshold)
    assert float(written) > threshold or math.isinf(threshold)
    below = np.nextafter(written, np.float32(-np.inf))
    if abs(threshold) > 1e-37 and math.isfinite(threshold):
        assert float(below) <= threshold


def test_the_hosts_rule_is_the_networks_rule() -> None:
    random = np.random.default_rng(0)
    potentials = np.cumsum(random.normal(size=(4, 300, 5)).round(1), axis=0)
    for threshold in (0.5, 1.0, 9.0):
        ours = decide(potentials, threshold)
        found = first_spikes(potentials > threshold, potentials)
        for name in ("prediction", "decision_time", "silent", "tie"):
            assert np.array_equal(getattr(ours, name), getattr(found, name)), name


def test_golden_samples_are_those_farthest_from_thresholds() -> None:
    chosen = farthest(np.array([0.1, 0.5, 0.2, 0.3]), np.array([3, 0, 3, 0]))
    assert chosen.tolist() == [1, 2]


def test_what_a_framework_refuses_is_not_checked(tiny: LoadedNetwork, tmp_path: Path) -> None:
    report = export_model(
        with_weights(tiny, tau_mem=1.0),  # no memory: SpikingJelly wants tau > dt
        tmp_path / "forgetful",
        formats=("nir",),
        decision_threshold=0.5,
        samples=digits().validation.take(np.arange(40)),
    )
    found = {check.framework.split()[0]: check for check in report.checks}
    assert "greater than 1" in found["spikingjelly"].not_checked
    assert (found["snntorch"].samples, found["snntorch"].differing) == (40, 0)


def test_a_threshold_is_a_number(tiny: LoadedNetwork, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a number"):
        export_model(
            tiny,
            tmp_path / "x",
            formats=("nir",),
            decision_threshold=math.nan,
            samples=digits().validation,
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_round_trips(name: str, tmp_path: Path) -> None:
    network = trained(NETWORKS[name], tmp_path / "00003")
    report = export_model(
        network,
        tmp_path / "export",
        formats=("nir",),
        decision_threshold=threshold_of(network),
        samples=digits().validation.take(np.arange(1000)),
    )
    assert {check.framework.split()[0] for check in report.checks} >= {"spikingjelly", "snntorch"}
    for check in report.checks:
        assert check.samples == 1000
        assert (check.differing, check.not_checked) == (0, "")
    reproduce(report.folder)
