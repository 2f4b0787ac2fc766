"""Networks with 8-bit weights: against plain integer arithmetic, and against their originals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from latsearch.config.trial import NetworkConfig, StageConfig
from latsearch.errors import UserError
from latsearch.snn.decoding import decide
from latsearch.snn.folding import folded
from latsearch.snn.integer import exact_in_float32, integer_state, quantised
from latsearch.snn.networks import LatencyNetwork, build_network
from latsearch.snn.runtime import EarlyExit

SHAPE, CLASSES = (2, 8, 8), 5
RESIDUAL = (StageConfig(channels=4, blocks=1, block="residual"),)
CHANGING = (StageConfig(channels=4), StageConfig(channels=6, block="residual"))
NETWORKS = {
    "mlp": NetworkConfig(family="mlp", width=3, hidden=7, hidden_layers=2, timesteps=3),
    "lenet step": NetworkConfig(family="lenet", width=3, hidden=6, timesteps=3, synapse="step"),
    "max": NetworkConfig(family="lenet", width=3, hidden=6, timesteps=2, downsampling="max"),
    "strict": NetworkConfig(family="lenet", width=3, hidden=6, timesteps=4, spiking="strict"),
    "soft": NetworkConfig(family="lenet", width=3, hidden=6, timesteps=4, reset="soft"),
    "leaky": NetworkConfig(family="lenet", width=3, hidden=6, timesteps=3, neuron="lif"),
    "learned": NetworkConfig(
        family="lenet", width=3, hidden=6, timesteps=3, neuron="lif", learn_tau_mem=True
    ),
    "exp": NetworkConfig(family="lenet", width=3, hidden=6, timesteps=3, synapse="exp"),
    "output": NetworkConfig(
        family="mlp", width=3, hidden=6, timesteps=3, output_tau_mem=3.0, output_bias=True
    ),
    "residual": NetworkConfig(family="stages", stages=RESIDUAL, timesteps=3),
    "changing": NetworkConfig(family="stages", stages=CHANGING, timesteps=3, synapse="step"),
    "spikes": NetworkConfig(family="sew_resnet18", width=2, timesteps=2),
    "rate": NetworkConfig(family="mlp", width=3, hidden=6, timesteps=3, encoder="rate"),
    "direct": NetworkConfig(family="mlp", width=3, hidden=6, timesteps=3, encoder="direct"),
    "frames": NetworkConfig(family="lenet", width=3, hidden=6, timesteps=3, encoder="frames"),
    "margin": NetworkConfig(family="mlp", width=3, hidden=6, timesteps=3, decision="margin"),
}


def network(config: NetworkConfig) -> LatencyNetwork:
    """A network with weights and statistics that make its neurons spike."""
    torch.manual_seed(0)
    found = build_network(config, SHAPE, CLASSES)
    for part in found.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(part.running_var, 0.2, 1.5)
            if part.affine:
                torch.nn.init.uniform_(part.weight, 0.5, 1.5)
                torch.nn.init.uniform_(part.bias, -0.1, 0.4)
    return found.eval()


def samples(config: NetworkConfig, count: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if config.encoder == "frames":
        shape = (count, config.timesteps, *SHAPE)
        return torch.randint(0, 3, shape, generator=generator).float()
    return torch.randn(count, *SHAPE, generator=generator)


@pytest.mark.parametrize("name", NETWORKS)
def test_early_exit_computes_the_same(name: str) -> None:
    config = NETWORKS[name]
    with torch.inference_mode():
        twin = quantised(network(config))
        images = samples(config)
        potentials = twin(images)
        peaks = potentials.max(-1).values
        for threshold in (0.0, float(peaks.median()), math.inf):
            found = EarlyExit(twin).decide(images, threshold)
            expected = decide(potentials, threshold, config.decision)
            for column in ("prediction", "decision_time", "silent", "tie"):
                assert np.array_equal(getattr(found, column), getattr(expected, column)), column


@pytest.mark.parametrize("name", NETWORKS)
def test_the_state_is_small_integers_and_survives_its_file(name: str) -> None:
    config = NETWORKS[name]
    with torch.inference_mode():
        twin = quantised(network(config))
        images = samples(config)
        state = integer_state(twin)
        weights = [value for key, value in state.items() if key.endswith(".weight")]
        assert weights
        for value in weights:
            assert value.dtype == torch.int8
            assert 0 < int(value.abs().max()) <= 127
        for key, value in state.items():  # nothing is lost in the types they are stored in
            assert torch.equal(value.to(twin.state_dict()[key].dtype), twin.state_dict()[key]), key
        contiguous = {key: value.contiguous() for key, value in state.items()}
        again = quantised(build_network(config, SHAPE, CLASSES, meta=True)).to_empty(device="cpu")
        again.load_state_dict(load(save(contiguous)))
        assert torch.equal(again(images), twin(images))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_the_folded_ones_to_half_a_step(name: str) -> None:
    config = NETWORKS[name]
    with torch.inference_mode():
        plain = folded(network(config))
        twin = quantised(network(config))
        output = plain.output.synapse.weight
        unit = twin.output.unit
        assert unit is not None
        assert float((twin.output.synapse.weight * unit - output).abs().max()) <= unit / 2 * 1.001
        before = plain.encoder.conv.weight
        after = twin.encoder.conv.weight
        largest = before.abs().flatten(1).amax(1)
        assert torch.equal(after.abs().flatten(1).amax(1), torch.full_like(largest, 127))
        error = (after * (largest / 127).view(-1, 1, 1, 1) - before).abs().flatten(1).amax(1)
        assert (error <= largest / 254 * 1.001).all()


def test_quantising_leaves_the_network_alone() -> None:
    one = network(NETWORKS["residual"])
    before = {name: value.clone() for name, value in one.state_dict().items()}
    with torch.inference_mode():
        quantised(one)
    for name, value in one.state_dict().items():
        assert torch.equal(value, before[name])


def convolved(spikes: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """``[C, H, W]`` int64 of a convolution in plain integers."""
    pad = weight.shape[2] // 2
    x = np.pad(spikes.astype(np.int64), ((0, 0), (pad, pad), (pad, pad)))
    size = [(n + 2 * pad - weight.shape[2]) // stride + 1 for n in spikes.shape[1:]]
    out = np.zeros((weight.shape[0], *size), np.int64)
    for i in range(size[0]):
        for j in range(size[1]):
            window = x[:, i * stride :, j * stride :][:, : weight.shape[2], : weight.shape[3]]
            out[:, i, j] = (weight.astype(np.int64) * window).sum((1, 2, 3))
    return out


class Chip:
    """One IF layer with a hard or soft reset in int64, as a chip would hold it.

    Args:
        state: the network's stored integers.
        name: prefix of the layer in it.
        step: whether the synaptic kernel keeps its sum.
        soft: whether a spike subtracts the threshold.
    """

    def __init__(self, state: dict[str, np.ndarray], name: str, *, step: bool, soft: bool):
        self.weight = state[f"{name}.projection.synapse.weight"]
        shift = state.get(f"{name}.projection.synapse.bias")
        self.shift = state[f"{name}.projection.norm.shift"] if shift is None else shift
        self.threshold = state[f"{name}.neuron.thresholds"].astype(np.int64)
        self.step, self.soft = step, soft
        self.total: np.ndarray | int = 0
        self.v: np.ndarray | int = 0

    def __call__(self, spikes: np.ndarray) -> np.ndarray:
        if self.weight.ndim == 2:
            current = self.weight.astype(np.int64) @ spikes.reshape(-1).astype(np.int64)
        else:
            current = convolved(spikes, self.weight, 1)
        self.total = current + (self.total if self.step else 0)
        axes = (-1, *(1,) * (current.ndim - 1))
        threshold = self.threshold.reshape(axes)
        h = self.v + self.total + self.shift.astype(np.int64).reshape(axes)
        fired = h > threshold
        self.v = h - threshold * fired if self.soft else np.where(fired, 0, h)
        return fired


@pytest.mark.parametrize("synapse", ["delta", "step"])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_a_chip_in_plain_integers_decides_the_same(synapse: str, reset: str) -> None:
    config = NetworkConfig(
        family="lenet", width=3, hidden=6, timesteps=4, synapse=synapse, reset=reset,
        output_bias=True,
    )  # fmt: skip
    with torch.inference_mode():
        one = network(config)
        nn.init.normal_(one.output.synapse.bias)
        twin = quantised(one)
        assert exact_in_float32(twin)
        images = samples(config, 12)
        spikes = twin.encoder(images).numpy()  # [T, B, C, H, W]
        potentials = twin(images).numpy()
    state = {name: value.numpy() for name, value in integer_state(twin).items()}
    pools = [layer.projection.pool for layer in twin.hidden]
    unit = np.float32(state["output.unit"])
    fired = 0
    for b in range(len(images)):
        layers = [
            Chip(state, f"hidden.{index}", step=synapse == "step", soft=reset == "soft")
            for index in range(len(twin.hidden))
        ]
        v = np.zeros(CLASSES, np.int64)
        for t in range(config.timesteps):
            x = spikes[t, b].astype(np.int64)
            for layer, pool in zip(layers, pools, strict=True):
                assert pool in (None, "sum")
                if pool == "sum":
                    c, h, w = x.shape
                    x = x.reshape(c, h // 2, 2, w // 2, 2).sum((2, 4))
                x = layer(x).astype(np.int64)
                fired += int(x.sum())
            if twin.output.pool == "sum":
                c, h, w = x.shape
                x = x.reshape(c, h // 2, 2, w // 2, 2).sum((2, 4))
            v += state["output.synapse.weight"].astype(np.int64) @ x.reshape(-1)
            v += state["output.synapse.bias"].astype(np.int64)
            # the chip's integers times the unit are the potentials, bit by bit
            assert np.array_equal(v.astype(np.float32) * unit, potentials[t, b])
    assert fired > 100  # else nothing was compared


def test_hard_thresholds_are_whole_and_exact() -> None:
    """``v > floor(x)`` is ``v > x`` for integers v: nothing is lost by the rounding."""
    config = NETWORKS["mlp"]
    with torch.inference_mode():
        plain, twin = folded(network(config)), quantised(network(config))
    for before, after in zip(plain.hidden, twin.hidden, strict=True):
        largest = before.projection.synapse.weight.abs().amax(1)
        quotient = config.firing_threshold / (largest / 127)
        assert torch.equal(after.neuron.thresholds, quotient.floor())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"neuron": "relu"}, "network.neuron relu"),
        ({"encoder": "analog"}, "network.encoder analog"),
        ({"norm": "timestep"}, "network.norm timestep"),
    ],
)
def test_what_cannot_be_quantised_is_named(change: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        quantised(network(replace(NETWORKS["mlp"], **change)))


def test_twice_is_refused() -> None:
    with torch.inference_mode():
        twin = quantised(network(NETWORKS["mlp"]))
    with pytest.raises(UserError, match="already"):
        quantised(twin)
