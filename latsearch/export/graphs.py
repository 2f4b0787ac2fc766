"""The full-T network as ONNX and as a torch.export program: written, and run from the file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latsearch.export.traces import Runner, Trace
from latsearch.export.unrolled import UnrolledNetwork
from latsearch.snn.decoding import decide

INPUT, OUTPUTS = "images", ("potentials", "spike_counts")
_BATCH = 2  # of the example that is traced; one would be taken for a constant


def program(module: UnrolledNetwork, sample_shape: tuple[int, ...]) -> Any:
    """The network as a torch.export program of any batch size, without the places it came from."""
    example = torch.zeros(_BATCH, *sample_shape, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    found = torch.export.export(module.eval(), (example,), dynamic_shapes={INPUT: {0: batch}})
    for node in found.graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node"):
            node.meta.pop(key, None)
    return found


def write_torch_export(found: Any, file: Path) -> None:
    """Write a program to a file that `torch.export.load` reads."""
    torch.export.save(found, file)


def write_onnx(found: Any, file: Path) -> None:
    """Write a program as ONNX, its weights in the same file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter, about itself
        exported = torch.onnx.export(
            found, input_names=[INPUT], output_names=list(OUTPUTS), dynamo=True, verbose=False
        )
    assert exported is not None
    exported.save(str(file), external_data=False)


def torch_export_runner(file: Path, decision_threshold: float, rule: str) -> Runner:
    """What runs a torch.export program from its file."""
    module = torch.export.load(file).module()

    def run(pixels: Tensor) -> Trace:
        with torch.no_grad():
            potentials, counts = module(pixels)
        return _trace(potentials, counts, decision_threshold, rule)

    return run


def onnx_runner(file: Path, decision_threshold: float, rule: str) -> Runner:
    """What runs an ONNX file in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(pixels: Tensor) -> Trace:
        found = session.run(list(OUTPUTS), {INPUT: np.ascontiguousarray(pixels.numpy())})
        potentials, counts = map(torch.from_numpy, found)
        return _trace(potentials, counts, decision_threshold, rule)

    return run


def _trace(potentials: Tensor, counts: Tensor, decision_threshold: float, rule: str) -> Trace:
    decision = decide(potentials, decision_threshold, rule)
    return Trace(counts.unbind(-1), potentials, decision)
