from __future__ import annotations

import json

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from latsearch.config.energy import PROFILES
from latsearch.config.trial import NetworkConfig, StageConfig
from latsearch.snn.energy import EnergyMeter
from latsearch.snn.folding import folded
from latsearch.snn.neurobench import neurobench_results
from latsearch.snn.neurons import ReluNeuron, SignNeuron, SpikingNeuron
from tests.snn.test_folding import worn
from tests.snn.test_networks import RESIDUAL, inputs

NETWORKS = {
    "mlp": NetworkConfig(family="mlp", width=2, hidden=9, hidden_layers=2, timesteps=3),
    "strides": NetworkConfig(family="lenet", width=3, hidden=8, downsampling="stride"),
    "sum pooling": NetworkConfig(family="lenet", width=3, hidden=8, downsampling="sum"),
    "max pooling": NetworkConfig(family="lenet", width=3, hidden=8, downsampling="max"),
    "vgg": NetworkConfig(family="vgg11", width=2, timesteps=2, downsampling="max"),
    "residual": NetworkConfig(family="resnet18", width=2, timesteps=2),
    "spike-element-wise": NetworkConfig(family="sew_resnet18", width=2, timesteps=2),
    "direct": NetworkConfig(family="lenet", width=3, hidden=8, encoder="direct", neuron="lif"),
    "frames": NetworkConfig(family="stages", stages=RESIDUAL, encoder="frames", timesteps=3),
    "relu": NetworkConfig(
        family="stages",
        stages=(StageConfig(channels=3, kernel=5),),
        neuron="relu",
        encoder="analog",
    ),
    "sign": NetworkConfig(family="mlp", width=2, hidden=7, neuron="sign"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_neurobench(name):
    benchmarks = pytest.importorskip("neurobench.benchmarks")
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
    from neurobench.models import TorchModel

    torch.manual_seed(0)
    network = worn(NETWORKS[name], shape=(1, 11, 8))
    with torch.no_grad():  # weights of zero make no operation
        for weight in (p for p in network.parameters() if p.ndim > 1):
            weight[torch.rand_like(weight) < 0.2] = 0
        network.output.synapse.weight.zero_()
        network.output.synapse.weight[0, 1:] = 1.0
    images = inputs(network, 12)
    images[:, ..., :3] = 0
    data = TensorDataset(images, torch.zeros(12, dtype=torch.int64))
    model = TorchModel(folded(network))
    for kind in (SpikingNeuron, ReluNeuron, SignNeuron):
        model.add_activation_module(kind)
    expected = benchmarks.Benchmark(
        model,
        DataLoader(data, batch_size=5),
        [],
        [lambda potentials: potentials[-1].argmax(-1)],
        [[Footprint, ConnectionSparsity], [ActivationSparsity, SynapticOperations]],
    ).run(quiet=True)
    got = neurobench_results(network, DataLoader(data, batch_size=5))
    assert json.loads(json.dumps(got)) == got
    assert got["SynapticOperations"] == pytest.approx(expected["SynapticOperations"], rel=1e-9)
    assert got["Footprint"] == expected["Footprint"]
    assert got["ConnectionSparsity"] == expected["ConnectionSparsity"]
    operations = got["SynapticOperations"]
    assert 0 < operations["Effective_MACs"] < operations["Dense"]
    assert (operations["Effective_ACs"] > 0) == (name != "relu")


@pytest.mark.parametrize("name", ["mlp", "strides", "sum pooling", "max pooling", "vgg", "direct"])
def test_the_energy_meter_counts_the_same(name):
    """With NeuroBench's convention for pooled inputs, and no pixel or output weight at zero."""
    torch.manual_seed(0)
    network = folded(worn(NETWORKS[name], shape=(1, 11, 8)))
    images = inputs(network, 12) + 0.1
    profile = PROFILES["horowitz-45nm-fp32-pooled-macs"]
    with EnergyMeter(network, profile) as meter, torch.no_grad():
        network(images)
    report = meter.report()
    behind = (*report.hidden, report.output)
    expected = neurobench_results(network, [(images, torch.zeros(12))])["SynapticOperations"]
    macs = sum(float(x.multiplies.sum()) for x in (report.stem, *behind)) / 12
    assert macs == pytest.approx(expected["Effective_MACs"], rel=1e-12)
    acs = sum(float(x.accumulates.sum()) for x in behind) / 12
    assert acs == pytest.approx(expected["Effective_ACs"], rel=1e-12)
    assert (sum(float(x.multiplies.sum()) for x in behind) > 0) == (
        name in ("sum pooling", "direct")
    )


def test_accuracy_and_sparsity_of_activations():
    torch.manual_seed(0)
    network = worn(NETWORKS["strides"])
    images = inputs(network, 20)
    with torch.no_grad():
        predictions = network(images)[-1].argmax(-1)
    labels = predictions.clone()
    labels[:5] = (labels[:5] + 1) % 3
    got = neurobench_results(network, [(images[:8], labels[:8]), (images[8:], labels[8:])])
    assert got["ClassificationAccuracy"] == 0.75
    sent = []
    senders = [network.encoder, *(unit for unit, _ in network.hidden_layers())]
    for module in senders:
        module.register_forward_hook(lambda module, inputs, out: sent.append(out.flatten()))
    with torch.no_grad():
        network(images)
    assert got["ActivationSparsity"] == pytest.approx(float((torch.cat(sent) == 0).float().mean()))
    with pytest.raises(ValueError, match="no samples"):
        neurobench_results(network, [])
