"""The manifest of an export: its files, what was proven, and how to read the numbers."""

from __future__ import annotations

from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from latsearch.export.report import ExportReport
from latsearch.export.traces import TOLERANCE, layer_names
from latsearch.snn.networks import LatencyNetwork

MANIFEST_FILE = "manifest.json"
_PACKAGES = ("latsearch", "torch", "numpy", "nir", "onnx", "onnxscript", "safetensors")


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, by name."""
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def manifest(report: ExportReport, network: LatencyNetwork) -> dict[str, Any]:
    """The manifest as a JSON object; nothing in it depends on the time or the place."""
    said = report.to_json()
    del said["folder"]
    return {
        "version": 1,
        **said,
        "timesteps": network.timesteps,
        "classes": network.classes,
        "input_shape": list(network.input_shape),
        "layers": layer_names(network),
        "conventions": _conventions(network),
        "versions": _versions(),
    }


def _conventions(network: LatencyNetwork) -> dict[str, str]:
    return {
        "time": "t = 1..T in timesteps; in nir one timestep is an Euler step of dt = 1e-4 s",
        "spike": "where the potential exceeds the threshold, strictly",
        "reset": "hidden neurons to zero after a spike"
        if network.config.reset == "hard"
        else "hidden neurons by one threshold after a spike",
        "output": "potentials V[t] are never reset; nir's output neurons are, at the decision",
        "decision": f"first t at which {network.config.decision} exceeds decision_threshold; at T "
        "where none does (silent); null is the readout at T",
        "tie": "the largest potential decides among classes that spike together, then the lowest",
        "batch_normalisation": "folded into weights and biases in nir, onnx and torch-export",
        "delay": f"none here, layers pass spikes on at once; the study's: {network.config.delay}",
        "tolerance": f"a difference is explained by float32 within {TOLERANCE:g} of a threshold, "
        "relative to thresholds above one",
        "onnx and torch-export": "images uint8 [B, ...] in; potentials float32 [T, B, K] and "
        "spike_counts int32 [T, B, layers] out",
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
