from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from latsearch.config import StudyConfig
from latsearch.config.energy import EnergyProfile
from latsearch.config.trial import NetworkConfig
from latsearch.evaluation import measure
from latsearch.search.reference import reference_point
from latsearch.snn.decoding import decision_curve
from latsearch.snn.energy import EnergyMeter
from latsearch.snn.images import Normalization, as_tensor
from latsearch.snn.networks import build_network
from latsearch.snn.pipeline import Pipeline, delay_of
from tests.samples import bar_splits
from tests.snn.test_networks import inputs, networks

PROFILE = EnergyProfile("test", mac=5.0, ac=1.0, neuron=0.25, source="made up")


def test_positions_of_layers_blocks_and_shortcuts():
    mlp = build_network(NetworkConfig(family="mlp", hidden_layers=3), (1, 8, 8), 3)
    assert Pipeline.of(mlp) == Pipeline((2, 3, 4), (2, 3, 4), 5)
    resnet = build_network(NetworkConfig(family="sew_resnet18", width=2), (1, 32, 32), 3)
    pipeline = Pipeline.of(resnet)
    # eight blocks of two convolutions after the stem; shortcuts that change the shape beside them
    assert pipeline.depth == 1 + 16 + 1
    assert sorted(set(pipeline.units)) == list(range(2, 18))
    assert len(pipeline.projections) == len(resnet.projections())
    assert [n for n in range(2, 18) if pipeline.projections.count(n) == 2] == [7, 11, 15]
    assert delay_of(resnet) == 0


@settings(max_examples=20, deadline=None)
@given(networks())
def test_a_layer_works_ahead_by_its_distance_from_the_output(config):
    """E(t*) counts layer l up to min(t* + L - l, T), looked up in counts without delay."""
    torch.manual_seed(0)
    reports = []
    for delay in ("none", "layer"):
        torch.manual_seed(0)
        network = build_network(dataclasses.replace(config, delay=delay), (1, 8, 8), 3).eval()
        torch.manual_seed(1)
        with EnergyMeter(network, PROFILE) as meter, torch.no_grad():
            network(inputs(network, 2))
        reports.append(meter.report())
    plain, delayed = reports
    pipeline, timesteps = Pipeline.of(network), network.timesteps
    positions = (1, *pipeline.projections, pipeline.depth)
    layers = (plain.stem, *plain.hidden, plain.output)
    for t in range(1, timesteps + 1):
        expected = torch.zeros(2, dtype=torch.float64)
        for at, layer in zip(positions, layers, strict=True):
            steps = min(t + pipeline.depth - at, timesteps)
            expected += layer.energy(PROFILE)[:steps].sum(0)
        for at, updates in zip((1, *pipeline.units), plain.updates, strict=True):
            steps = min(t + pipeline.depth - at, timesteps)
            expected += 1e-3 * 0.25 * updates.count * steps
        torch.testing.assert_close(delayed.cumulative()[t - 1], expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(delayed.cumulative()[-1], plain.cumulative()[-1])


def test_latency_grows_by_the_depth_less_one():
    config = NetworkConfig(family="mlp", hidden_layers=2, hidden=6, width=2, timesteps=3)
    curves = []
    splits = bar_splits()
    for delay in ("none", "layer"):
        torch.manual_seed(0)
        network = build_network(dataclasses.replace(config, delay=delay), (1, 8, 8), 4)
        images = as_tensor(splits.validation.images, "cpu")
        found = measure(network, images, Normalization(splits.mean, splits.std, "cpu"), PROFILE)
        curves.append(found.curve(splits.validation.labels))
    plain, delayed = curves
    np.testing.assert_allclose(delayed.latency, plain.latency + 3)
    np.testing.assert_allclose(delayed.latency_p95, plain.latency_p95 + 3)
    np.testing.assert_array_equal(delayed.accuracy, plain.accuracy)
    assert (delayed.energy >= plain.energy).all()


def test_bins_of_events_are_delayed_by_their_length():
    potentials = np.array([[[0.1, 2.0]], [[0.3, 3.0]]])
    curve = decision_curve(potentials, np.array([1]), bin_ends=np.array([[50.0, 100.0]]), delay=3)
    assert curve.latency.tolist() == [200.0, 250.0]


@pytest.mark.parametrize("choice", ["layer", {"choices": ["none", "layer"]}])
def test_the_reference_is_beyond_the_delay(choice):
    network = {
        "family": {"choices": ["mlp", "vgg11"]},
        "hidden_layers": {"low": 1, "high": 9},
        "timesteps": {"low": 2, "high": 4},
        "delay": choice,
    }
    config = StudyConfig.model_validate(
        {"version": 1, "study": "s", "data": {"name": "digits"}, "network": network}
    )
    # the mlp has a stem, nine hidden layers and an output: L = 11
    assert reference_point(config, bar_splits())["latency"] == 4 + 10
