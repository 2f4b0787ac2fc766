"""A trained network as a NIR graph, from the encoder's spikes to the output's first spike.

One Euler step of ``dt`` is one timestep. With ``R = 1/dt`` NIR's IF, ``v' = R I``, does
``v ← v + I``; with ``τ = dt / (1 - λ)`` and ``R = τ/dt`` its LIF, ``τ v' = -v + R I``, does
``v ← λ v + I``. Both spike where ``v > v_threshold`` and are then set to zero, as ours. The output
is such a neuron with the decision threshold; up to its first spike its potential is V[t].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from latsearch.snn.encoding import Encoder
from latsearch.snn.folding import Shift, folded
from latsearch.snn.layers import HiddenLayer, Identity, Projection, ResidualBlock
from latsearch.snn.networks import LatencyNetwork
from latsearch.snn.neurons import SpikingNeuron

DT = 1e-4  # s, the step that SpikingJelly and snnTorch take where they are told of none
NEVER = float(np.finfo(np.float32).max)  # threshold of a neuron that only integrates

Shape = tuple[int, ...]


def write_nir(network: LatencyNetwork, file: Path, decision_threshold: float) -> None:
    """Write a network to a NIR file.

    Args:
        network: one that `check_nir` lets pass.
        file: where to.
        decision_threshold: of the output neurons, above which a class spikes; inf for never.
    """
    nir.write(file, nir_graph(network, decision_threshold))


def nir_graph(network: LatencyNetwork, decision_threshold: float) -> Any:
    """The NIR graph of a network, batch normalisation folded into its weights."""
    builder = _Builder()
    twin = folded(network).cpu()
    sources = builder.encoder(twin.encoder)
    for layer in twin.hidden:
        if isinstance(layer, HiddenLayer):
            sources = builder.hidden(layer, sources)
        else:
            assert isinstance(layer, ResidualBlock)
            sources = builder.block(layer, sources)
    output = twin.output
    sources = builder.pooled("output", output.pool, sources)
    sources = builder.synapse("output", output.synapse, output.synapse_shape, sources)
    neuron = _neuron(output.keep, written_threshold(decision_threshold), (twin.classes,))
    builder.add("output_neuron", neuron, sources)
    builder.add("output", nir.Output(np.array([twin.classes])), ["output_neuron"])
    metadata = {"dt": DT, "timesteps": twin.timesteps, "source": "latsearch"}
    return nir.NIRGraph(builder.nodes, builder.edges, metadata)


def written_threshold(decision_threshold: float) -> float:
    """The smallest float32 above a decision threshold, which is what the file says.

    Potentials often equal the threshold itself: 0 where nothing has arrived. No class spikes there,
    neither where neurons spike above their threshold, as NIR says, nor where they spike at it, as
    SpikingJelly's do.
    """
    if decision_threshold >= NEVER:
        return NEVER
    nearest = np.float32(decision_threshold)
    if float(nearest) <= decision_threshold:
        nearest = np.nextafter(nearest, np.float32(np.inf))
    tiny = float(np.finfo(np.float32).tiny)  # smaller ones are zero to some hardware
    return tiny if 0.0 < float(nearest) < tiny else float(nearest)


def layer_nodes(network: LatencyNetwork) -> list[str]:
    """Names of the graph's hidden neurons, in the order of `LatencyNetwork.hidden_layers`."""
    return [f"layer{i}_neuron" for i in range(1, len(network.hidden_layers()) + 1)]


class _Builder:
    """Nodes and edges as they come to be; what several nodes send to one adds up there."""

    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self._units = 0
        self._shape: Shape = ()  # of what the sources send

    def add(self, name: str, node: Any, sources: Sequence[str]) -> list[str]:
        """A node that receives the sum of what its sources send."""
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return [name]

    def encoder(self, encoder: Encoder) -> list[str]:
        """The input: spikes of a host's encoder, or event frames, whose stem is in the graph."""
        if encoder.still:
            self._shape = encoder.output_shape
            return self.add("input", nir.Input(np.array(encoder.output_shape)), [])
        self._shape = encoder.input_shape
        sources = self.add("input", nir.Input(np.array(encoder.input_shape)), [])
        assert isinstance(encoder.folded, Shift)
        conv = _conv(encoder.conv, encoder.input_shape, encoder.folded.shift)
        sources = self.add("encoder_synapse", conv, sources)
        return self.neurons("encoder", encoder.neuron, encoder.output_shape, sources)

    def hidden(self, layer: HiddenLayer, sources: Sequence[str]) -> list[str]:
        """A hidden layer."""
        name = self._next()
        current = self.projection(name, layer.projection, sources)
        return self.neurons(name, layer.neuron, layer.output_shape, current)

    def block(self, block: ResidualBlock, sources: Sequence[str]) -> list[str]:
        """A residual block: its shortcut's currents or spikes reach the same node as the body's."""
        before = self._shape
        inner: Sequence[str] = sources
        for layer in block.body:
            assert isinstance(layer, HiddenLayer)
            inner = self.hidden(layer, inner)
        name = self._next()
        current = self.projection(name, block.last, inner)
        if not block.adds_spikes:
            short = self._shortcut(f"{name}_shortcut", block, sources, before)
            return self.neurons(name, block.neuron, block.output_shape, [*current, *short])
        spikes = self.neurons(name, block.neuron, block.output_shape, current)
        if block.shortcut is None:
            return [*spikes, *sources]
        name = self._next()
        short = self._shortcut(name, block, sources, before)
        return [*spikes, *self.neurons(name, block.shortcut_neuron, block.output_shape, short)]

    def _shortcut(
        self, name: str, block: ResidualBlock, sources: Sequence[str], shape: Shape
    ) -> list[str]:
        short = block.shortcut
        if isinstance(short, Projection):
            self._shape = shape
            return self.projection(name, short, sources)
        assert isinstance(short, Identity)
        if short.scale == 1.0:
            return list(sources)
        # a 1x1 convolution, since the importers of several frameworks do not know NIR's Scale
        weight = np.eye(shape[0], dtype=np.float32)[:, :, None, None] * np.float32(short.scale)
        bias = np.zeros(shape[0], dtype=np.float32)
        conv = nir.Conv2d(shape[1:], weight, (1, 1), (0, 0), (1, 1), 1, bias)
        return self.add(name, conv, sources)

    def projection(self, name: str, projection: Projection, sources: Sequence[str]) -> list[str]:
        """Pooling and synapses."""
        pooled = self.pooled(name, projection.pool, sources)
        return self.synapse(name, projection.synapse, projection.synapse_shape, pooled)

    def pooled(self, name: str, pool: str | None, sources: Sequence[str]) -> list[str]:
        """Sum pooling of 2x2, or of the whole map."""
        if pool is None:
            return list(sources)
        if pool not in ("sum", "global"):
            raise ValueError(f"NIR has no {pool} pooling of spikes")
        kernel = np.array((2, 2) if pool == "sum" else self._shape[1:])
        return self.add(f"{name}_pool", nir.SumPool2d(kernel, kernel, np.zeros(2, int)), sources)

    def synapse(
        self, name: str, synapse: nn.Conv2d | nn.Linear, shape: Shape, sources: Sequence[str]
    ) -> list[str]:
        """Weights, and what is left of the normalisation as their bias."""
        if isinstance(synapse, nn.Conv2d):
            assert synapse.bias is not None
            return self.add(f"{name}_synapse", _conv(synapse, shape, synapse.bias), sources)
        if len(shape) > 1:
            # counted from the end: importers disagree on whether the batch counts as a dimension
            flatten = nir.Flatten({"input": np.array(shape)}, start_dim=-len(shape), end_dim=-1)
            sources = self.add(f"{name}_flatten", flatten, sources)
        weight = _array(synapse.weight)
        if synapse.bias is None:
            return self.add(f"{name}_synapse", nir.Linear(weight), sources)
        return self.add(f"{name}_synapse", nir.Affine(weight, _array(synapse.bias)), sources)

    def neurons(
        self, name: str, neuron: nn.Module | None, shape: Shape, sources: Sequence[str]
    ) -> list[str]:
        """A layer of IF or LIF neurons."""
        assert isinstance(neuron, SpikingNeuron)
        learned = neuron.keep()
        keep = neuron.rule.keep if learned is None else float(learned)
        self._shape = shape
        node = _neuron(keep, neuron.rule.firing_threshold, shape)
        return self.add(f"{name}_neuron", node, sources)

    def _next(self) -> str:
        self._units += 1
        return f"layer{self._units}"


def _neuron(keep: float, threshold: float, shape: Shape) -> Any:
    """IF or LIF; in float64, so that a step keeps λ as exactly as it can be said."""

    def everywhere(value: float) -> NDArray[np.float64]:
        return np.full(shape, value)

    if keep == 1.0:
        return nir.IF(everywhere(1.0 / DT), everywhere(threshold), everywhere(0.0))
    tau = 1.0 / (1.0 - keep)  # in timesteps
    return nir.LIF(
        tau=everywhere(tau * DT),
        r=everywhere(tau),
        v_leak=everywhere(0.0),
        v_threshold=everywhere(threshold),
        v_reset=everywhere(0.0),
    )


def _conv(conv: nn.Conv2d, shape: Shape, bias: Tensor) -> Any:
    stride, padding = tuple(conv.stride), tuple(int(p) for p in conv.padding)
    return nir.Conv2d(shape[1:], _array(conv.weight), stride, padding, (1, 1), 1, _array(bias))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().contiguous().numpy()
    return array
