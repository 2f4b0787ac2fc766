"""The method written the slow and plain way: one timestep after another, gradients by autograd."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latsearch.config.trial import NetworkConfig
from latsearch.snn.families import Conv
from latsearch.snn.networks import LatencyNetwork

DERIVATIVES = {
    "triangle": lambda x, w: torch.relu(1 - x.abs() / w) / w,
    "sigmoid": lambda x, w: torch.sigmoid(4 * x / w) * torch.sigmoid(-4 * x / w) * 4 / w,
    "arctan": lambda x, w: 1 / (w * (1 + (math.pi * x / w) ** 2)),
}


def step(x: Tensor, surrogate: str, width: float) -> Tensor:
    """1[x > 0] with the surrogate's derivative."""
    slope = DERIVATIVES[surrogate](x.detach(), width)
    return (x > 0).to(x.dtype) + slope * (x - x.detach())


def latency_spikes(z: Tensor, timesteps: int, width: float) -> Tensor:
    before = torch.zeros_like(z)
    spikes = []
    for t in range(1, timesteps + 1):
        code = step(z - (1 - t / timesteps), "triangle", width)
        spikes.append(code - before)
        before = code
    return torch.stack(spikes)


def fire(
    current: Tensor,
    *,
    keep: float,
    firing_threshold: float,
    soft_reset: bool,
    strict: bool,
    surrogate: str,
    surrogate_width: float,
) -> Tensor:
    """Spikes ``[T, ...]`` of the currents ``[T, ...]``."""
    v = torch.zeros_like(current[0])
    first = torch.ones_like(current[0])
    spikes = []
    for x in current:
        h = keep * v + x
        s = step(h - firing_threshold, surrogate, surrogate_width * firing_threshold)
        v = h - firing_threshold * s.detach() if soft_reset else h * (1 - s.detach())
        spikes.append(s * first if strict else s)
        first = first * (1 - s.detach())
    return torch.stack(spikes)


def leaky_sum(x: Tensor, keep: float) -> Tensor:
    y = torch.zeros_like(x[0])
    sums = []
    for step_input in x:
        y = keep * y + step_input
        sums.append(y)
    return torch.stack(sums)


def pool(x: Tensor, kind: str | None) -> Tensor:
    if kind is None:
        return x
    return F.max_pool2d(x, 2) if kind == "max" else 4 * F.avg_pool2d(x, 2)


def normalise(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Batch normalisation of ``[N, C, ...]`` with the batch's own statistics."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    centred = x - x.mean(axes, keepdim=True)
    variance = (centred**2).mean(axes, keepdim=True)
    return centred / (variance + eps).sqrt() * weight.view(shape) + bias.view(shape)


def forward(network: LatencyNetwork, images: Tensor) -> Tensor:
    """Output potentials ``[T, B, K]`` of a network in training mode."""
    config: NetworkConfig = network.config
    encoder = network.encoder
    features = F.conv2d(
        images, encoder.conv.weight, stride=encoder.conv.stride, padding=encoder.conv.padding
    )
    z = normalise(features, F.softplus(encoder.gain), encoder.shift, encoder.norm.eps)
    spikes = latency_spikes(z, config.timesteps, config.encoder_surrogate_width)
    synapse_keep = {"delta": 0.0, "step": 1.0, "exp": 1 - 1 / config.tau_syn}[config.synapse]
    for layer in network.layers():
        currents = []
        for s in spikes:
            s = pool(s, layer.pool)
            if isinstance(layer.synapse, torch.nn.Linear):
                currents.append(s.flatten(1) @ layer.synapse.weight.T)
            else:
                conv = layer.synapse
                currents.append(F.conv2d(s, conv.weight, stride=conv.stride, padding=conv.padding))
        current = leaky_sum(torch.stack(currents), synapse_keep)
        normalised = normalise(
            current.flatten(0, 1), layer.norm.weight, layer.norm.bias, layer.norm.eps
        ).view_as(current)
        spikes = fire(
            normalised,
            keep=1.0 if config.neuron == "if" else 1 - 1 / config.tau_mem,
            firing_threshold=config.firing_threshold,
            soft_reset=config.reset == "soft",
            strict=config.spiking == "strict",
            surrogate=config.surrogate,
            surrogate_width=config.surrogate_width,
        )
    weight = network.output.synapse.weight
    centred = weight - weight.mean(0)
    currents = [pool(s, network.output.pool).flatten(1) @ centred.T for s in spikes]
    keep = 1.0 if config.output_tau_mem is None else 1 - 1 / config.output_tau_mem
    return leaky_sum(torch.stack(currents), keep)


def tad(potentials: Tensor, labels: Tensor, temperature: float) -> Tensor:
    timesteps, batch, classes = potentials.shape
    total = torch.zeros((), dtype=potentials.dtype)
    for b in range(batch):
        confidence, losses = [], []
        for t in range(timesteps):
            p = torch.softmax(potentials[t, b], 0)
            entropy = -sum(q * math.log(q) for q in p.tolist() if q > 0) / math.log(classes)
            confidence.append(-math.log(entropy + 1e-3) / temperature)
            losses.append(-torch.log(p[labels[b]]))
        largest = max(confidence)
        weights = [math.exp(c - largest) for c in confidence]
        total = total + sum(
            w / sum(weights) * loss for w, loss in zip(weights, losses, strict=True)
        )
    return total / batch


def decide(potentials: np.ndarray, decision_threshold: float) -> list[tuple[int, int, bool, bool]]:
    """Prediction, decision time, silence and tie of each sample."""
    timesteps, batch, _ = potentials.shape
    decisions = []
    for b in range(batch):
        time, silent = timesteps, decision_threshold != math.inf
        for t in range(timesteps):
            if max(potentials[t, b]) > decision_threshold:
                time, silent = t + 1, False
                break
        v = list(potentials[time - 1, b])
        decisions.append((v.index(max(v)), time, silent, v.count(max(v)) > 1))
    return decisions


def synapses(layer: Conv, in_channels: int, height: int, width: int, weight: Tensor) -> np.ndarray:
    """Synapses that leave each input of a convolution, ``[C, H, W]``, counted one by one."""
    count = np.zeros((in_channels, height, width))
    k, pad = layer.kernel, layer.kernel // 2
    out_h = (height + 2 * pad - k) // layer.stride + 1
    out_w = (width + 2 * pad - k) // layer.stride + 1
    for o, c, y, x, i, j in np.ndindex(layer.channels, in_channels, out_h, out_w, k, k):
        row, column = y * layer.stride + i - pad, x * layer.stride + j - pad
        if 0 <= row < height and 0 <= column < width and weight[o, c, i, j] != 0:
            count[c, row, column] += 1
    return count
