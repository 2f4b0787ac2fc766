"""The encoder that stays with the host: images in, the NIR graph's input spikes out.

It ships as ``encoder.safetensors`` (normalisation, folded convolution, code) and ``encoder.json``,
which says how to apply them. `HostEncoder` does so from these two files alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from latsearch.snn.encoding import Encoder, LatencyEncoder, RateEncoder, levels
from latsearch.snn.folding import folded
from latsearch.snn.images import Normalization
from latsearch.snn.networks import LatencyNetwork
from latsearch.snn.neurons import SpikingNeuron

WEIGHTS_FILE = "encoder.safetensors"
CONFIG_FILE = "encoder.json"

_PIXELS = "x = pixels * pixel_scale + pixel_shift, by channel; pixels uint8 [B, C, H, W]"
_CONV = "z = conv2d(x, weight, stride, padding with zeros) + bias"
_STEPS = {
    "latency": [_PIXELS, _CONV, "spike at t = 1..T where z > level[t-1], unless one came before"],
    "rate": [_PIXELS, _CONV, "spike at t = 1..T where z > noise[t-1]"],
    "direct": [
        _PIXELS,
        _CONV,
        "at t = 1..T: h = keep * v + z; spike where h > firing_threshold; v = 0 there, else h",
    ],
    "frames": ["the graph takes the counts of events [T, B, P, H, W] as they are"],
}


def write_encoder(network: LatencyNetwork, normalize: Normalization, folder: Path) -> list[Path]:
    """Write a network's encoder; the files."""
    encoder = folded(network).cpu().encoder
    code = network.config.encoder
    said: dict[str, Any] = {
        "version": 1,
        "code": code,
        "steps": _STEPS[code],
        "timesteps": network.timesteps,
        "input_shape": list(encoder.input_shape),
        "output_shape": list(encoder.output_shape if encoder.still else encoder.input_shape),
    }
    files = [folder / CONFIG_FILE]
    if encoder.still:
        said |= {"stride": encoder.conv.stride[0], "padding": encoder.conv.padding[0]}
        said |= _neuron(encoder)
        files.append(folder / WEIGHTS_FILE)
        files[-1].write_bytes(safetensors.torch.save(_tensors(encoder, normalize)))
    files[0].write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return files


def _tensors(encoder: Encoder, normalize: Normalization) -> dict[str, Tensor]:
    assert encoder.conv.bias is not None
    scale, shift = normalize.affine()
    tensors = {
        "pixel_scale": scale.flatten(),
        "pixel_shift": shift.flatten(),
        "weight": encoder.conv.weight.detach(),
        "bias": encoder.conv.bias.detach(),
    }
    if isinstance(encoder, LatencyEncoder):
        device = torch.device("cpu")
        tensors["level"] = levels(
            encoder.timesteps, device=device, dtype=torch.float32, spacing=encoder.spacing
        )
    if isinstance(encoder, RateEncoder):
        tensors["noise"] = encoder.noise.view(encoder.timesteps, *encoder.output_shape)
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def _neuron(encoder: Encoder) -> dict[str, float]:
    neuron = encoder.neuron
    if not isinstance(neuron, SpikingNeuron):
        return {}
    learned = neuron.keep()
    keep = neuron.rule.keep if learned is None else float(learned)
    return {"keep": keep, "firing_threshold": neuron.rule.firing_threshold}


class HostEncoder:
    """An encoder as its files say it.

    Args:
        folder: where the files are.
    """

    def __init__(self, folder: Path):
        self._said = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        self._code: str = self._said["code"]
        self._tensors: dict[str, Tensor] = {}
        if self._code != "frames":
            self._tensors = safetensors.torch.load_file(folder / WEIGHTS_FILE)

    def __call__(self, pixels: Tensor) -> Tensor:
        """What the graph takes, ``[T, B, ...]`` float32.

        Args:
            pixels: ``[B, C, H, W]`` uint8, or counts of events ``[B, T, P, H, W]``.
        """
        if self._code == "frames":
            return pixels.transpose(0, 1).to(torch.float32)
        of, timesteps = self._tensors, self._said["timesteps"]
        by_channel = (-1, 1, 1)
        x = pixels.to(torch.float32) * of["pixel_scale"].view(by_channel)
        x = x + of["pixel_shift"].view(by_channel)
        z = F.conv2d(x, of["weight"], of["bias"], self._said["stride"], self._said["padding"])
        if self._code == "latency":
            code = torch.stack([z > level for level in of["level"]]).to(torch.float32)
            return torch.cat([code[:1], code[1:] - code[:-1]])
        if self._code == "rate":
            return (z > of["noise"][:, None]).to(torch.float32)
        return self._fired(z, timesteps)

    def _fired(self, z: Tensor, timesteps: int) -> Tensor:
        steps, v = [], torch.zeros_like(z)
        for _ in range(timesteps):
            h = self._said["keep"] * v + z
            steps.append((h > self._said["firing_threshold"]).to(torch.float32))
            v = h * (1.0 - steps[-1])
        return torch.stack(steps)
