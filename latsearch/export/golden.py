"""Golden vectors: what a few samples do in the network, for tests of other implementations.

Chosen are those whose potentials keep farthest from every threshold, one of each class, so that any
order of additions reproduces their spikes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from latsearch.export.report import finite
from latsearch.export.traces import Reference

WEIGHTS_FILE, CONFIG_FILE = "golden.safetensors", "golden.json"
MOST = 10


def farthest(distances: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """Of each class the sample that is farthest from every threshold, in the order of classes.

    Args:
        distances: ``[N]`` smallest distance to a threshold.
        labels: ``[N]``.

    Example:
        >>> farthest(np.array([0.1, 0.3, 0.2]), np.array([1, 1, 0]))
        array([2, 1])
    """
    order = np.argsort(-distances, kind="stable")
    _, first = np.unique(labels[order], return_index=True)
    return order[first][:MOST]


def write_golden(
    folder: Path,
    pixels: Tensor,
    labels: NDArray[np.int64],
    found: Reference,
    *,
    layers: Sequence[str],
    decision_threshold: float,
    distance: float,
) -> list[Path]:
    """Write the vectors of a few samples; the files.

    Args:
        folder: where to.
        pixels: ``[N, ...]`` uint8.
        labels: ``[N]``.
        found: what our network did with them.
        layers: names of its layers.
        decision_threshold: at which it decided.
        distance: the smallest distance of these samples to a threshold.
    """
    decision = found.decision
    tensors: dict[str, Tensor] = {"input": pixels}
    for name, spikes in zip(layers, found.layers, strict=True):
        tensors[f"spikes.{name}"] = spikes.to(torch.uint8)
    tensors["potentials"] = found.potentials
    tensors["prediction"] = torch.from_numpy(decision.prediction)
    tensors["decision_time"] = torch.from_numpy(decision.decision_time)
    tensors["silent"] = torch.from_numpy(decision.silent).to(torch.uint8)
    tensors["label"] = torch.from_numpy(np.ascontiguousarray(labels))
    files = [folder / WEIGHTS_FILE, folder / CONFIG_FILE]
    ready = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    files[0].write_bytes(safetensors.torch.save(ready))
    said = {
        "version": 1,
        "samples": len(pixels),
        "decision_threshold": finite(decision_threshold),
        "smallest_distance_to_a_threshold": distance,
        "tensors": {name: _described(name, ready[name]) for name in ready},
    }
    files[1].write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return files


_MEANING: Mapping[str, str] = {
    "input": "pixels of images [N, C, H, W], or counts of events [N, T, P, H, W]",
    "spikes": "[T, N, ...], 1 where the layer's neuron spikes in timestep t = 1..T",
    "potentials": "[T, N, K], output potentials after timestep t in units of the thresholds; "
    "never reset, equal up to float32 rounding",
    "prediction": "[N], class of the first output spike; the largest potential breaks ties, the "
    "lowest class where these are equal too",
    "decision_time": "[N], timestep of the first output spike, 1..T; T where there is none",
    "silent": "[N], 1 where no output spiked",
    "label": "[N], class in the data set",
}


def _described(name: str, tensor: Tensor) -> dict[str, Any]:
    meaning = _MEANING[name.split(".")[0]]
    if name == "spikes.encoder":
        meaning += "; what the NIR graph takes, but for event frames, whose stem is in the graph"
    dtype = str(tensor.dtype).removeprefix("torch.")
    return {"shape": list(tensor.shape), "dtype": dtype, "meaning": meaning}
