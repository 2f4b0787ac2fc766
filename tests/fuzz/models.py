"""Targets that are checkpoints: description, weights, and the state to go on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from latsearch.config.trial import NetworkConfig, StageConfig, TrainConfig, TrialConfig
from latsearch.evaluation import load_checkpoint
from latsearch.snn.checkpoint import (
    CONFIG_FILE,
    DIGESTS,
    MODEL_FILE,
    STATE_FILE,
    CheckpointInfo,
    read_state,
    write_checkpoint,
)
from latsearch.snn.networks import build_network
from tests.fuzz.mutation import bytes_of, json_of, safetensors_of, zip_of
from tests.fuzz.targets import Check, Target

_SMALL = NetworkConfig(family="lenet", width=1, hidden=2, timesteps=2)
_STAGES = replace(_SMALL, family="stages", stages=(StageConfig(channels=2),), neuron="lif")


def write_small(folder: Path, network: NetworkConfig = _SMALL) -> Path:
    """A checkpoint of a network of few weights, without digests: a stranger's would fit."""
    torch.manual_seed(0)
    built = build_network(network, (1, 8, 8), 2)
    info = CheckpointInfo(
        trial=TrialConfig(network=network, train=TrainConfig()),
        input_shape=(1, 8, 8),
        classes=2,
        mean=(0.5,),
        std=(0.25,),
        dataset="digits",
        epoch=1,
        seed=0,
    )
    state = {"epoch": 1, "optimizer": {"lr": 0.1, "momentum": [torch.zeros(2)]}}
    place = folder / "checkpoint"
    write_checkpoint(place, info, built.state_dict(), state)
    description = json.loads((place / CONFIG_FILE).read_text())
    del description[DIGESTS]
    (place / CONFIG_FILE).write_text(json.dumps(description))
    return place


def _seeds(name: str) -> Callable[[Path], list[bytes]]:
    networks = (_SMALL, _STAGES) if name == CONFIG_FILE else (_SMALL,)
    return lambda folder: [(write_small(folder, each) / name).read_bytes() for each in networks]


def _loading(name: str) -> Callable[[Path], Check]:
    """The whole way from a checkpoint's folder to the network's decisions."""

    def opened(folder: Path) -> Check:
        place = write_small(folder)

        def check(content: bytes) -> None:
            (place / name).write_bytes(content)
            loaded = load_checkpoint(place)
            if loaded.info.input_shape == (1, 8, 8) and loaded.info.duration_ms is None:
                loaded.decide(np.zeros((1, 1, 8, 8), np.uint8), 0.5)

        return check

    return opened


def _state(folder: Path) -> Check:
    place = write_small(folder)

    def check(content: bytes) -> None:
        (place / STATE_FILE).write_bytes(content)
        read_state(place)

    return check


TARGETS = (
    Target("checkpoint config", 100_000, _seeds(CONFIG_FILE), json_of, _loading(CONFIG_FILE)),
    Target("checkpoint weights", 100_000, _seeds(MODEL_FILE), safetensors_of, _loading(MODEL_FILE)),
    Target("checkpoint state", 100_000, _seeds(STATE_FILE), zip_of(bytes_of), _state),
)
