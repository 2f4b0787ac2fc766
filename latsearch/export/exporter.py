"""Writing an export: the files, their proof, golden vectors, and a manifest of all."""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from latsearch.data.splits import Samples
from latsearch.errors import UserError
from latsearch.evaluation import LoadedNetwork, batch_size, load_checkpoint
from latsearch.export.comparing import Tally
from latsearch.export.golden import farthest, write_golden
from latsearch.export.manifest import MANIFEST_FILE, hashes, manifest
from latsearch.export.parts import check_nir
from latsearch.export.report import Check, ExportReport
from latsearch.export.traces import Reference, Runner, layer_names, reference
from latsearch.snn.checkpoint import CONFIG_FILE, MODEL_FILE
from latsearch.snn.images import Normalization, as_tensor
from latsearch.snn.networks import LatencyNetwork, own

NIR_FILE, ONNX_FILE, TORCH_EXPORT_FILE = "network.nir", "network.onnx", "network.pt2"
FORMATS = ("safetensors", "nir", "onnx", "torch-export")
_NEEDS = {"nir": ("nir",), "onnx": ("onnx", "onnxscript")}
_EXTRA = "pip install 'latsearch[export]'"
_LARGEST_BATCH = 250


def export_model(
    source: LoadedNetwork | Path,
    folder: Path,
    *,
    formats: Sequence[str],
    decision_threshold: float,
    samples: Samples,
    name: str = "network",
    beside: Mapping[str, str] | None = None,
) -> ExportReport:
    """Write a network in other formats, and prove each by running it elsewhere.

    Args:
        source: the network, or the folder of its checkpoint.
        folder: where to; an earlier export there is replaced.
        formats: of `FORMATS`.
        decision_threshold: potential above which a class spikes; inf for the readout at T.
        samples: validation samples to compare on, and to choose golden vectors from.
        name: of the network, for messages and the manifest.
        beside: text of further files, by name.

    Raises:
        UserError: a format is not known or needs a package that is not there, a part of the network
            cannot be said in NIR, or the folder holds something else.
    """
    check_formats(formats)
    _check_folder(folder)
    if math.isnan(decision_threshold):
        raise UserError(f"{name}: the decision threshold is not a number; give one, or inf")
    loaded = load_checkpoint(source) if isinstance(source, Path) else source
    network = copy.deepcopy(own(loaded.module, "an export")).cpu().eval()
    network.use_compiled_kernels(False)
    if "nir" in formats:
        check_nir(network, name)
    if not len(samples):
        raise UserError(f"{name}: there are no samples to compare the export on")
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    aside.mkdir(parents=True)
    try:
        export = _Export(loaded, network, aside, decision_threshold)
        for wanted in FORMATS:
            if wanted in formats:
                export.write(wanted)
        for file, text in (beside or {}).items():
            (aside / file).write_text(text, encoding="utf-8")
        checks = export.prove(samples)
        report = ExportReport(
            folder=folder,
            model=name,
            decision_threshold=decision_threshold,
            formats=[wanted for wanted in FORMATS if wanted in formats],
            files=hashes(aside),
            checks=checks,
        )
        said = json.dumps(manifest(report, network), indent=1)
        (aside / MANIFEST_FILE).write_text(said + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return report


class _Export:
    """The files of one network on their way.

    Args:
        loaded: the network as it was given.
        network: a copy of it on the CPU.
        folder: where to write.
        decision_threshold: at which it decides.
    """

    def __init__(
        self,
        loaded: LoadedNetwork,
        network: LatencyNetwork,
        folder: Path,
        decision_threshold: float,
    ):
        self._info = loaded.info
        self._network = network
        self._folder = folder
        self._threshold = decision_threshold
        self._rule = network.config.decision
        self._layers = layer_names(network)
        self._normalize = Normalization(loaded.info.mean, loaded.info.std, "cpu")
        self._runners: list[tuple[str, str, Callable[[], Runner]]] = []
        self._missing: list[Check] = []

    def write(self, wanted: str) -> None:
        """Write one format, and note how its files can be run."""
        {
            "safetensors": self._write_safetensors,
            "nir": self._write_nir,
            "onnx": self._write_onnx,
            "torch-export": self._write_torch_export,
        }[wanted]()

    def prove(self, samples: Samples) -> list[Check]:
        """Run all that was written on the samples, and write golden vectors of some of them."""
        tallies: list[tuple[str, str, Runner, Tally]] = []
        for wanted, framework, make in self._runners:
            try:
                runner = make()
            except (ValueError, NotImplementedError, AssertionError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                self._missing.append(Check(wanted, framework, not_checked=reason))
                continue
            tally = Tally(self._layers, self._threshold, self._rule)
            tallies.append((wanted, framework, runner, tally))
        distances = []
        for pixels in self._batches(samples):
            ours = self._reference(pixels)
            distances.append(_smallest_distance(ours))
            for _, _, runner, tally in tallies:
                tally.add(ours, runner(pixels))
        self._write_golden(samples, np.concatenate(distances))
        done = [tally.check(wanted, framework) for wanted, framework, _, tally in tallies]
        return [*done, *self._missing]

    def _reference(self, pixels: torch.Tensor) -> Reference:
        return reference(self._network, self._normalize(pixels), self._threshold)

    def _batches(self, samples: Samples) -> Iterator[torch.Tensor]:
        size = min(_LARGEST_BATCH, batch_size(self._network, torch.device("cpu")))
        yield from torch.split(as_tensor(samples.images, "cpu"), size)

    def _write_golden(self, samples: Samples, distances: np.ndarray[Any, Any]) -> None:
        chosen = farthest(distances, samples.labels)
        pixels = as_tensor(samples.images[chosen], "cpu")
        write_golden(
            self._folder,
            pixels,
            samples.labels[chosen],
            self._reference(pixels),
            layers=self._layers,
            decision_threshold=self._threshold,
            distance=float(distances[chosen].min()),
        )

    def _write_safetensors(self) -> None:
        weights = {name: w.contiguous() for name, w in self._network.state_dict().items()}
        (self._folder / MODEL_FILE).write_bytes(safetensors.torch.save(weights))
        said = json.dumps(self._info.to_json(), indent=1)
        (self._folder / CONFIG_FILE).write_text(said + "\n", encoding="utf-8")

        def runner() -> Runner:
            network = load_checkpoint(self._folder).network
            return lambda pixels: reference(network, self._normalize(pixels), self._threshold)

        self._runners.append(("safetensors", f"latsearch {version('latsearch')}", runner))

    def _write_nir(self) -> None:
        from latsearch.export.encoder import write_encoder
        from latsearch.export.frameworks import FRAMEWORKS, present, titled
        from latsearch.export.nir_check import nir_runner
        from latsearch.export.nir_graph import layer_nodes, write_nir

        file = self._folder / NIR_FILE
        write_nir(self._network, file, self._threshold)
        write_encoder(self._network, self._normalize, self._folder)
        layers = layer_nodes(self._network)
        for framework in present():
            runner = partial(
                nir_runner, file, framework, layers, readout=math.isinf(self._threshold)
            )
            self._runners.append(("nir", titled(framework), runner))
        if len(present()) < 2:
            lacking = " or ".join(name for name in FRAMEWORKS if name not in present())
            self._missing.append(Check("nir", lacking, not_checked=f"not installed: {_EXTRA}"))

    @cached_property
    def _program(self) -> Any:
        from latsearch.export.graphs import program
        from latsearch.export.unrolled import UnrolledNetwork

        shape: tuple[int, ...] = self._info.input_shape
        if self._info.duration_ms is not None:
            shape = (self._network.timesteps, *shape)
        return program(UnrolledNetwork(self._network, self._normalize), shape)

    def _write_onnx(self) -> None:
        from latsearch.export.graphs import onnx_runner, write_onnx

        file = self._folder / ONNX_FILE
        write_onnx(self._program, file)
        if importlib.util.find_spec("onnxruntime") is None:
            reason = f"not installed: {_EXTRA}"
            self._missing.append(Check("onnx", "onnxruntime", not_checked=reason))
            return
        runner = partial(onnx_runner, file, self._threshold, self._rule)
        self._runners.append(("onnx", f"onnxruntime {version('onnxruntime')}", runner))

    def _write_torch_export(self) -> None:
        from latsearch.export.graphs import torch_export_runner, write_torch_export

        file = self._folder / TORCH_EXPORT_FILE
        write_torch_export(self._program, file)
        runner = partial(torch_export_runner, file, self._threshold, self._rule)
        self._runners.append(("torch-export", f"torch {version('torch')}", runner))


def _smallest_distance(found: Reference) -> np.ndarray[Any, Any]:
    """``[B]``: how far the potential closest to its threshold was from it."""
    by_layer = [layer.flatten(2).amin((0, 2)) for layer in found.distances]
    smallest: np.ndarray[Any, Any] = torch.stack(by_layer).amin(0).numpy()
    return smallest


def check_formats(formats: Sequence[str]) -> None:
    """Check that formats are known and can be written here.

    Raises:
        UserError: one is not, or needs a package that is not there.
    """
    if not formats:
        raise UserError(f"no format is named; known are {', '.join(FORMATS)}")
    for wanted in formats:
        if wanted not in FORMATS:
            raise UserError(f"{wanted!r} is no format; known are {', '.join(FORMATS)}")
        for package in _NEEDS.get(wanted, ()):
            if importlib.util.find_spec(package) is None:
                raise UserError(f"format {wanted} needs the package {package}: {_EXTRA}")


def _check_folder(folder: Path) -> None:
    if not folder.exists() or (folder / MANIFEST_FILE).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise UserError(f"{folder} exists and is no export; name another folder with --out")
