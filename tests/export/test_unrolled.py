"""The full-T network as one function, and what torch and ONNX make of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latsearch.config.trial import NetworkConfig, StageConfig
from latsearch.data.splits import Samples
from latsearch.evaluation import LoadedNetwork
from latsearch.export import ExportReport, export_model
from latsearch.export.traces import reference
from latsearch.export.unrolled import UnrolledNetwork
from latsearch.snn.checkpoint import CheckpointInfo
from latsearch.snn.images import Normalization
from tests.export.networks import trial_of
from tests.snn.test_folding import worn
from tests.snn.test_networks import networks


def info_of(config: NetworkConfig, shape: tuple[int, int, int]) -> CheckpointInfo:
    return CheckpointInfo(
        trial=trial_of(config),
        input_shape=shape,
        classes=3,
        mean=(0.4,) * shape[0],
        std=(0.3,) * shape[0],
        dataset="noise",
        epoch=1,
        seed=0,
        duration_ms=float(config.timesteps) if config.encoder == "frames" else None,
    )


def pixels_of(network: torch.nn.Module, count: int) -> torch.Tensor:
    shape = network.input_shape
    if network.encoder.still:
        return torch.randint(0, 256, (count, *shape), dtype=torch.uint8)
    return torch.randint(0, 3, (count, network.timesteps, *shape), dtype=torch.uint8)


@settings(max_examples=25)
@given(networks(), st.integers(0, 1000))
def test_it_is_the_network(config: NetworkConfig, seed: int) -> None:
    torch.manual_seed(seed)
    network = worn(config, dtype=torch.float64)
    normalize = Normalization((0.4, 0.5), (0.3, 0.2), "cpu")
    pixels = pixels_of(network, 3)
    unrolled = UnrolledNetwork(network, normalize).double()
    images = normalize(pixels).double()
    with torch.no_grad():
        potentials, counts = unrolled(pixels)
        torch.testing.assert_close(potentials, network(images), rtol=1e-5, atol=1e-5)
    trace = reference(network, images, 1.0)
    ours = torch.stack([layer.flatten(2).sum(2) for layer in trace.layers], dim=-1)
    assert torch.equal(counts.long(), ours)


def exported(config: NetworkConfig, folder: Path, *formats: str) -> ExportReport:
    """An export of an untrained network, which does what the network does."""
    torch.manual_seed(1)
    loaded = LoadedNetwork(worn(config), info_of(config, (2, 8, 8)), "cpu")
    pixels = pixels_of(loaded.network, 60).numpy()
    samples = Samples(pixels, np.arange(60, dtype=np.int64) % 3)
    report = export_model(loaded, folder, formats=formats, decision_threshold=0.5, samples=samples)
    assert report.checks
    for check in report.checks:
        assert (check.differing, check.not_checked, check.samples) == (0, "", 60), check
    return report


TINY = NetworkConfig(family="mlp", width=2, hidden=4, timesteps=2)


def test_torch_export_of_a_tiny_network(tmp_path: Path) -> None:
    exported(TINY, tmp_path / "tiny", "torch-export")


@pytest.mark.slow
def test_torch_export_and_onnx_depend_on_neither_time_nor_place(tmp_path: Path) -> None:
    first, second = (exported(TINY, tmp_path / n, "torch-export", "onnx") for n in "ab")
    assert first.files == second.files
    for file in ("network.pt2", "network.onnx"):
        assert str(Path(__file__).parents[2]).encode() not in (first.folder / file).read_bytes()


RESIDUAL = (
    StageConfig(channels=2, block="residual", downsampling="stride"),
    StageConfig(channels=2, block="residual", downsampling="max", neuron="lif"),
)
OTHERS = {
    "residual, maximum, strict, soft reset, exp, timestep norm, rate": NetworkConfig(
        family="stages",
        stages=RESIDUAL,
        spiking="strict",
        reset="soft",
        synapse="exp",
        norm="timestep",
        encoder="rate",
        timesteps=2,
        decision="margin",
    ),
    "event frames": NetworkConfig(family="lenet", width=3, hidden=6, encoder="frames", timesteps=2),
    "1-bit": NetworkConfig(family="mlp", width=3, hidden=6, neuron="sign", encoder="direct"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_torch_export_and_onnx(name: str, tmp_path: Path) -> None:
    exported(OTHERS[name], tmp_path / "export", "torch-export", "onnx")


def test_nir_takes_event_frames_with_the_stem_in_the_graph(tmp_path: Path) -> None:
    config = dataclasses.replace(OTHERS["event frames"], synapse="delta", neuron="lif", tau_mem=3.0)
    report = exported(config, tmp_path / "frames", "nir")
    assert len(report.checks) >= 2
    assert not (report.folder / "encoder.safetensors").exists()
