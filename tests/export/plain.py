"""Networks run from their exported files by plain NumPy loops that share no code with ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nir
import numpy as np
from safetensors.numpy import load_file


def convolved(x: np.ndarray, weight: np.ndarray, bias: Any, stride: int, padding: int) -> Any:
    """2-d convolution of ``[C, H, W]``, one position of the output after the other."""
    outputs, _, rows, columns = weight.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    height = (x.shape[1] - rows) // stride + 1
    width = (x.shape[2] - columns) // stride + 1
    out = np.zeros((outputs, height, width))
    for i in range(height):
        for j in range(width):
            patch = x[:, i * stride : i * stride + rows, j * stride : j * stride + columns]
            out[:, i, j] = (weight * patch).sum((1, 2, 3)) + bias
    return out


def encoded(folder: Path, pixels: np.ndarray) -> np.ndarray:
    """What the encoder's files say that an image ``[C, H, W]`` becomes, ``[T, C, H, W]``."""
    said = json.loads((folder / "encoder.json").read_text())
    of = {k: v.astype(np.float64) for k, v in load_file(folder / "encoder.safetensors").items()}
    x = pixels * of["pixel_scale"][:, None, None] + of["pixel_shift"][:, None, None]
    z = convolved(x, of["weight"], of["bias"], said["stride"], said["padding"])
    steps, v, sent = [], np.zeros_like(z), np.zeros(z.shape, dtype=bool)
    for t in range(said["timesteps"]):
        if said["code"] == "latency":
            steps.append((z > of["level"][t]) & ~sent)
            sent |= steps[-1]
        elif said["code"] == "rate":
            steps.append(z > of["noise"][t])
        else:
            h = said["keep"] * v + z
            steps.append(h > said["firing_threshold"])
            v = np.where(steps[-1], 0.0, h)
    return np.array(steps, dtype=np.float64)


class PlainNetwork:
    """A NIR graph, one sample and one timestep at a time, in float64.

    The output is never reset here, so that its potential is that of the golden vectors.
    """

    def __init__(self, file: Path):
        graph = nir.read(file)
        self.nodes = graph.nodes
        self.dt = float(graph.metadata["dt"])
        self.into = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes}

    def run(self, steps: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Spikes ``[T, ...]`` by node and the output's potentials ``[T, K]``."""
        state: dict[str, np.ndarray] = {}
        sent: dict[str, list[np.ndarray]] = {}
        potentials = []
        for step in steps:
            values = {"input": step}
            while len(values) < len(self.nodes):
                for name, node in self.nodes.items():
                    if name not in values and all(other in values for other in self.into[name]):
                        x = sum(values[other] for other in self.into[name])
                        values[name] = self._node(name, node, x, state)
            for name in self.nodes:
                if name.endswith("_neuron"):
                    sent.setdefault(name, []).append(values[name])
            potentials.append(state["output_neuron"].copy())
        return {name: np.array(steps) for name, steps in sent.items()}, np.array(potentials)

    def _node(self, name: str, node: Any, x: np.ndarray, state: dict[str, np.ndarray]) -> Any:
        kind = type(node).__name__
        if kind == "Output":
            return x
        if kind == "Flatten":
            return x.reshape(-1)
        if kind == "SumPool2d":
            (rows, columns), channels = node.kernel_size, x.shape[0]
            height, width = x.shape[1] // rows, x.shape[2] // columns
            kept = x[:, : height * rows, : width * columns]
            return kept.reshape(channels, height, rows, width, columns).sum((2, 4))
        if kind in ("Linear", "Affine"):
            return node.weight @ x + getattr(node, "bias", 0.0)
        if kind == "Conv2d":
            return convolved(x, node.weight, node.bias, int(node.stride[0]), int(node.padding[0]))
        v = state.get(name, np.zeros_like(x))
        if kind == "IF":
            h = v + self.dt * node.r * x
        else:
            h = v + self.dt / node.tau * (node.v_leak - v + node.r * x)
        spikes = h > node.v_threshold
        state[name] = h if name == "output_neuron" else np.where(spikes, node.v_reset, h)
        return spikes.astype(np.float64)
