"""Small networks, trained a little on the digits, that an export is tried on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from latsearch.config import DataConfig
from latsearch.config.energy import DEFAULT_PROFILE
from latsearch.config.trial import NetworkConfig, StageConfig, TrainConfig, TrialConfig
from latsearch.data import Splits, load
from latsearch.evaluation import LoadedNetwork, load_checkpoint
from latsearch.training import Trainer

_RESIDUAL = (
    StageConfig(channels=6, block="residual", downsampling="sum"),
    StageConfig(channels=8, block="residual", blocks=2, downsampling="stride", neuron="lif"),
)
NETWORKS: Mapping[str, NetworkConfig] = {
    "mlp, IF": NetworkConfig(family="mlp", width=6, hidden=32, synapse="delta"),
    "mlp, LIF": NetworkConfig(
        family="mlp",
        width=6,
        hidden=32,
        hidden_layers=2,
        synapse="delta",
        neuron="lif",
        tau_mem=3.0,
        output_tau_mem=5.0,
    ),
    "lenet, IF, sum pooling": NetworkConfig(
        family="lenet", width=6, hidden=32, synapse="delta", firing_threshold=0.7
    ),
    "lenet, LIF, strides": NetworkConfig(
        family="lenet",
        width=6,
        hidden=32,
        synapse="delta",
        neuron="lif",
        learn_tau_mem=True,
        downsampling="stride",
        output_bias=True,
        encoder="direct",
    ),
    "stages, residual, IF and LIF": NetworkConfig(
        family="stages", synapse="delta", stages=_RESIDUAL, firing_threshold=0.8
    ),
    "SEW ResNet-18, IF": NetworkConfig(family="sew_resnet18", width=3, synapse="delta"),
    "vgg11, IF, rate code": NetworkConfig(family="vgg11", width=3, synapse="delta", encoder="rate"),
}


@cache
def digits() -> Splits:
    """The digits with 1,078 samples held out for validation."""
    return load(DataConfig(name="digits", validation=0.75))


def trial_of(config: NetworkConfig) -> TrialConfig:
    """A network's training."""
    train = TrainConfig(epochs=3, batch_size=32, lr=0.01, precision="fp32", compile="never")
    return TrialConfig(network=config, train=train)


def trained(
    config: NetworkConfig, folder: Path, *, epochs: int = 8, splits: Splits | None = None
) -> LoadedNetwork:
    """A network trained on the digits or other data, its checkpoint in a folder."""
    trainer = Trainer(trial_of(config), splits or digits(), seed=0, profile=DEFAULT_PROFILE)
    for _ in range(epochs):
        trainer.step()
    trainer.save(folder)
    return load_checkpoint(folder)


def threshold_of(network: LoadedNetwork, splits: Splits | None = None) -> float:
    """A decision threshold at which samples decide at different times."""
    curve = network.curve((splits or digits()).validation.take(np.arange(1000)))
    middle = (1 + network.network.timesteps) / 2
    return float(curve.decision_threshold[np.abs(curve.latency - middle).argmin()])
