"""A NIR file run by other frameworks: the file is all that they get of a network.

SpikingJelly reads it with its own importer. snnTorch's and norse's own importers do not give what
NIR says (docs/export.md has the list), so their neurons are put into the graph by a map of ours;
nirtorch walks the graph for all three.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latsearch.export.nir_graph import DT, NEVER

_PROBE = "output_potential"


class NirRun:
    """A NIR file, imported into a framework.

    Args:
        file: the NIR file.
        framework: a key of `FRAMEWORKS`.

    Raises:
        ValueError: the framework cannot run the graph.
    """

    def __init__(self, file: Path, framework: str):
        import nir

        graph = nir.read(file)
        # beside the output, the same neurons without a threshold: their potential is never reset
        output = graph.nodes["output_neuron"]
        graph.nodes[_PROBE] = replace(output, v_threshold=np.full_like(output.v_threshold, NEVER))
        into = [edge for edge in graph.edges if edge[1] == "output_neuron"]
        graph.edges += [(source, _PROBE) for source, _ in into]
        self._module = FRAMEWORKS[framework](graph).eval()
        self.neurons = [name for name in graph.nodes if name.endswith("_neuron")]

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Spikes ``[T, B, ...]`` by node, and the output's potentials ``[T, B, K]``.

        Args:
            inputs: ``[T, B, ...]`` what the graph takes.
        """
        sent: dict[str, list[Tensor]] = {name: [] for name in self.neurons}
        potentials = []
        state = None
        with ExitStack() as hooks:
            for name in self.neurons:
                neuron = self._module.get_submodule(name)
                hook = neuron.register_forward_hook(_keeper(sent[name]))
                hooks.callback(hook.remove)
            for step in inputs:
                _, state = self._module(step, state)
                potentials.append(state[_PROBE][0].clone())
        return {name: torch.stack(steps) for name, steps in sent.items()}, torch.stack(potentials)


def _keeper(into: list[Tensor]) -> Callable[..., None]:
    def keep(module: nn.Module, args: Any, out: tuple[Tensor, Any]) -> None:
        into.append(out[0].clone())

    return keep


def _spikingjelly(graph: Any) -> nn.Module:
    from spikingjelly.activation_based.nir_exchange.from_nir import import_from_nir

    module: nn.Module = import_from_nir(graph, dt=DT)
    return module


class _Leaky(nn.Module):
    """snnTorch's neuron, told of its state."""

    def __init__(self, keep: float, threshold: float):
        super().__init__()
        import snntorch

        self._neuron = snntorch.Leaky(
            beta=keep, threshold=threshold, reset_mechanism="zero", reset_delay=False
        )

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, tuple[Tensor]]:
        """Spikes of the currents, and the potentials after them."""
        spikes, potential = self._neuron(x, torch.zeros_like(x) if state is None else state[0])
        return spikes, (potential,)


class _Box(nn.Module):
    """norse's neuron; NIR's R, which norse has not, multiplies the current."""

    def __init__(self, cell: nn.Module, gain: float):
        super().__init__()
        self._cell = cell
        self._gain = gain

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Spikes of the currents, and the state after them."""
        spikes, after = self._cell(x * self._gain, state)
        return spikes, after


def _one(values: Any) -> float:
    """The value that all neurons of a node share."""
    (value,) = np.unique(values)
    return float(value)


def _snntorch_if(node: Any) -> nn.Module:
    _gain_is(_one(node.r) * DT)
    return _Leaky(1.0, _one(node.v_threshold))


def _snntorch_lif(node: Any) -> nn.Module:
    _gain_is(_one(node.r) * DT / _one(node.tau))
    return _Leaky(1.0 - DT / _one(node.tau), _one(node.v_threshold))


def _gain_is(gain: float) -> None:
    if not np.isclose(gain, 1.0, rtol=1e-12):
        raise ValueError(f"a timestep multiplies currents by {gain:g}, not by one")


def _norse_if(node: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch, about norse's scripts
        from norse.torch.module.iaf import IAFCell, IAFParameters

    parameters = IAFParameters(v_th=torch.tensor(_one(node.v_threshold)))
    return _Box(IAFCell(parameters), _one(node.r) * DT)


def _norse_lif(node: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        from norse.torch.module.lif_box import LIFBoxCell, LIFBoxParameters

    rate, threshold = torch.tensor(1.0 / _one(node.tau)), torch.tensor(_one(node.v_threshold))
    return _Box(LIFBoxCell(LIFBoxParameters(tau_mem_inv=rate, v_th=threshold), DT), _one(node.r))


def _affine(node: Any) -> nn.Module:
    linear = nn.Linear(node.weight.shape[1], node.weight.shape[0])
    linear.load_state_dict(_parameters(node))
    return linear


def _conv(node: Any) -> nn.Module:
    outputs, inputs, *kernel = node.weight.shape
    stride, padding = (tuple(np.asarray(pair).tolist()) for pair in (node.stride, node.padding))
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    conv.load_state_dict(_parameters(node))
    return conv


def _parameters(node: Any) -> dict[str, Tensor]:
    return {"weight": torch.from_numpy(node.weight), "bias": torch.from_numpy(node.bias)}


def _with_neurons(integrate: Callable[[Any], nn.Module], leak: Callable[[Any], nn.Module]) -> Any:
    def imported(graph: Any) -> nn.Module:
        import nir
        import nirtorch

        modules = {nir.IF: integrate, nir.LIF: leak, nir.Affine: _affine, nir.Conv2d: _conv}
        module: nn.Module = nirtorch.nir_to_torch(graph, modules)
        return module

    return imported


FRAMEWORKS: Mapping[str, Callable[[Any], nn.Module]] = {
    "spikingjelly": _spikingjelly,
    "snntorch": _with_neurons(_snntorch_if, _snntorch_lif),
    "norse": _with_neurons(_norse_if, _norse_lif),
}


def present() -> list[str]:
    """The frameworks that are installed."""
    return [name for name in FRAMEWORKS if importlib.util.find_spec(name) is not None]


def titled(framework: str) -> str:
    """A framework's name with its version."""
    return f"{framework} {version(framework)}"
