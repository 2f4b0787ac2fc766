"""The method written the slow and plain way: one timestep after another, gradients by autograd."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latsearch.config.trial import NetworkConfig
from latsearch.snn.families import Conv
from latsearch.snn.layers import HiddenLayer, Identity
from latsearch.snn.networks import LatencyNetwork

DERIVATIVES = {
    "triangle": lambda x, w: torch.relu(1 - x.abs() / w) / w,
    "rectangle": lambda x, w: (x.abs() < w / 2).to(x.dtype) / w,
    "sigmoid": lambda x, w: torch.sigmoid(4 * x / w) * torch.sigmoid(-4 * x / w) * 4 / w,
    "arctan": lambda x, w: 1 / (w * (1 + (math.pi * x / w) ** 2)),
}


def step(x: Tensor, surrogate: str, width: float) -> Tensor:
    """1[x > 0] with the surrogate's derivative."""
    slope = DERIVATIVES[surrogate](x.detach(), width)
    return (x > 0).to(x.dtype) + slope * (x - x.detach())


def level(t: int, timesteps: int, spacing: str) -> float:
    if spacing == "linear":
        return 1 - t / timesteps
    return (2.0**-t - 2.0**-timesteps) / (1 - 2.0**-timesteps)


def latency_spikes(z: Tensor, timesteps: int, width: float, spacing: str = "linear") -> Tensor:
    before = torch.zeros_like(z)
    spikes = []
    for t in range(1, timesteps + 1):
        code = step(z - level(t, timesteps, spacing), "triangle", width)
        spikes.append(code - before)
        before = code
    return torch.stack(spikes)


def fire(
    current: Tensor,
    *,
    keep: float | Tensor,
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
    if kind == "global":
        return x.flatten(2).sum(2)[..., None, None]
    return F.max_pool2d(x, 2) if kind == "max" else 4 * F.avg_pool2d(x, 2)


def normalise(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Batch normalisation of ``[N, C, ...]`` with the batch's own statistics."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    centred = x - x.mean(axes, keepdim=True)
    variance = (centred**2).mean(axes, keepdim=True)
    return centred / (variance + eps).sqrt() * weight.view(shape) + bias.view(shape)


def encode(network: LatencyNetwork, images: Tensor) -> Tensor:
    """What the encoder sends, ``[T, B, ...]``."""
    config, encoder, timesteps = network.config, network.encoder, network.timesteps

    def convolve(x: Tensor) -> Tensor:
        return F.conv2d(
            x, encoder.conv.weight, stride=encoder.conv.stride, padding=encoder.conv.padding
        )

    def norm(x: Tensor) -> Tensor:
        return normalise(x, F.softplus(encoder.gain), encoder.shift, encoder.norm.eps)

    if config.encoder == "frames":
        currents = [convolve(images[:, t]) for t in range(timesteps)]
        summed = leaky_sum(torch.stack(currents), synapse_keep(config))
        return spiking(config, norm(summed.flatten(0, 1)).view_as(summed), encoder.neuron)
    z = norm(convolve(images))
    if config.encoder == "latency":
        return latency_spikes(z, timesteps, config.encoder_surrogate_width, config.encoder_map)
    if config.encoder == "direct":
        return spiking(config, torch.stack([z] * timesteps), encoder.neuron)
    return torch.stack([torch.relu(z)] * timesteps)


def synapse_keep(config: NetworkConfig) -> float:
    return {"delta": 0.0, "step": 1.0, "exp": 1 - 1 / config.tau_syn}[config.synapse]


def spiking(config: NetworkConfig, current: Tensor, unit: torch.nn.Module | None = None) -> Tensor:
    """Spikes ``[T, ...]`` of the network's hidden units."""
    if config.neuron == "relu":
        return torch.relu(current)
    if config.neuron == "sign":
        hard_tanh = current.clamp(-1, 1)
        return torch.where(current > 0, 1.0, -1.0) + hard_tanh - hard_tanh.detach()
    logit = getattr(unit, "keep_logit", None)
    keep = 1.0 if config.neuron == "if" else 1 - 1 / config.tau_mem
    return fire(
        current,
        keep=keep if logit is None else torch.sigmoid(logit),
        firing_threshold=config.firing_threshold,
        soft_reset=config.reset == "soft",
        strict=config.spiking == "strict",
        surrogate=config.surrogate,
        surrogate_width=config.surrogate_width,
    )


def project(config: NetworkConfig, layer: torch.nn.Module, spikes: Tensor) -> Tensor:
    """Normalised currents ``[T, B, ...]`` behind a projection or an identity."""
    if isinstance(layer, Identity):
        scale = 1.0 if config.neuron in ("relu", "sign") else config.firing_threshold
        return leaky_sum(spikes, synapse_keep(config)) * scale
    currents = []
    for s in spikes:
        s = pool(s, layer.pool)
        if isinstance(layer.synapse, torch.nn.Linear):
            currents.append(s.flatten(1) @ layer.synapse.weight.T)
        else:
            conv = layer.synapse
            currents.append(F.conv2d(s, conv.weight, stride=conv.stride, padding=conv.padding))
    current = leaky_sum(torch.stack(currents), synapse_keep(config))
    if config.norm == "timestep":
        return torch.stack(
            [
                normalise(x, norm.weight, norm.bias, norm.eps)
                for x, norm in zip(current, layer.norm.norms, strict=True)
            ]
        )
    normalised = normalise(
        current.flatten(0, 1), layer.norm.weight, layer.norm.bias, layer.norm.eps
    )
    return normalised.view_as(current)


def hidden(config: NetworkConfig, layer: torch.nn.Module, spikes: Tensor) -> Tensor:
    """Spikes ``[T, B, ...]`` of a hidden layer or a residual block."""
    if isinstance(layer, HiddenLayer):
        return spiking(config, project(config, layer.projection, spikes), layer.neuron)
    inner = spikes
    for part in layer.body:
        inner = hidden(config, part, inner)
    current = project(config, layer.last, inner)
    if not layer.adds_spikes:
        return spiking(config, current + project(config, layer.shortcut, spikes), layer.neuron)
    short = spikes
    if layer.shortcut is not None:
        short = spiking(config, project(config, layer.shortcut, spikes), layer.shortcut_neuron)
    return spiking(config, current, layer.neuron) + short


def forward(network: LatencyNetwork, images: Tensor) -> Tensor:
    """Output potentials ``[T, B, K]`` of a network in training mode."""
    config: NetworkConfig = network.config
    spikes = encode(network, images)
    for layer in network.hidden:
        spikes = hidden(config, layer, spikes)
    weight, bias = network.output.synapse.weight, network.output.synapse.bias
    if config.output_centred:
        weight = weight - weight.mean(0)
        bias = None if bias is None else bias - bias.mean()
    currents = []
    for s in spikes:
        scale = 1 / s[0, 0].numel() if network.output.pool == "global" else 1.0
        current = pool(s, network.output.pool).flatten(1) @ weight.T * scale
        currents.append(current if bias is None else current + bias)
    keep = 1.0 if config.output_tau_mem is None else 1 - 1 / config.output_tau_mem
    return leaky_sum(torch.stack(currents), keep)


def loss(
    potentials: Tensor,
    labels: Tensor,
    *,
    loss: str = "tad",
    temperature: float = 1.0,
    weighting: str = "log",
    through_weights: bool = False,
    mean_logits: bool = False,
    label_smoothing: float = 0.0,
    anchor: float = 0.0,
    anchor_threshold: float = 1.0,
    output_keep: float = 1.0,
) -> Tensor:
    """The loss, one sample and one timestep after another."""
    timesteps, batch, classes = potentials.shape
    total = torch.zeros((), dtype=potentials.dtype)
    for b in range(batch):
        confidence, losses = [], []
        for t in range(timesteps):
            logits = potentials[t, b]
            if loss == "tet_step" and t > 0:
                logits = logits - output_keep * potentials[t - 1, b]
            if mean_logits and loss != "tet_step":
                logits = logits / (t + 1)
            p = torch.softmax(logits, 0)
            entropy = -(p * torch.log(p)).sum() / math.log(classes) + 1e-3
            if not through_weights:
                entropy = entropy.detach()
            confidence.append(1 / entropy if weighting == "inverse" else -torch.log(entropy))
            target = torch.full((classes,), label_smoothing / classes, dtype=p.dtype)
            target[labels[b]] += 1 - label_smoothing
            losses.append(-(target * torch.log(p)).sum())
        if loss == "tad":
            raw = [torch.exp((c - max(confidence)) / temperature) for c in confidence]
            weights = [w / sum(raw) for w in raw]
        elif loss == "last":
            weights = [0.0] * (timesteps - 1) + [1.0]
        else:
            weights = [1 / timesteps] * timesteps
        total = total + sum(w * x for w, x in zip(weights, losses, strict=True))
    ties = [
        math.nan if anchor == 0 else -torch.log(torch.sigmoid(x if k == labels[b] else -x))
        for b in range(batch)
        for k in range(classes)
        for x in potentials[:, b, k] - anchor_threshold
    ]
    return total / batch + (anchor * sum(ties) / len(ties) if anchor else 0.0)


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
