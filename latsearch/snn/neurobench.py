"""Results in NeuroBench's format and conventions, counted by latsearch itself.

NeuroBench (neurobench 2.3) counts an operation for each nonzero input and nonzero weight. In a
batch it calls all operations of a layer accumulates if every input is -1, 0 or 1, else
multiply-accumulates; so layers behind sum pooling multiply. Shortcuts without weights,
normalisation, biases and neurons are not counted. Operations are those of all T timesteps; the stem
of a still image counts once, without pixels that are zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from latsearch.snn.energy import dense_fan_out, fan_out, weighted_sum
from latsearch.snn.folding import folded
from latsearch.snn.layers import Identity
from latsearch.snn.networks import LatencyNetwork


def neurobench_results(
    network: LatencyNetwork, batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, Any]:
    """What NeuroBench's harness reports of the folded network, by the same names.

    Args:
        network: a trained network.
        batches: normalised images ``[B, C, H, W]`` (or event frames) and labels ``[B]``.

    Returns:
        ``Footprint`` in bytes, ``ConnectionSparsity``, ``ActivationSparsity`` of the encoder and
        all hidden units, ``SynapticOperations`` a sample (``Effective_MACs``, ``Effective_ACs``,
        ``Dense``), and ``ClassificationAccuracy`` of the readout at T. A JSON object.

    Raises:
        ValueError: there are no samples.
    """
    twin = folded(network)
    synapses = _synapses(twin)
    counters = [_Synapse(synapse, shape) for synapse, shape in synapses]
    activity = [0, 0]

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        activity[0] += int(out.count_nonzero())
        activity[1] += out.numel()

    senders = [twin.encoder, *(unit for unit, _ in twin.hidden_layers())]
    handles = [sender.register_forward_hook(watch) for sender in senders]
    handles += [c.synapse.register_forward_pre_hook(c.count) for c in counters]
    samples = correct = 0
    with torch.inference_mode():
        for images, labels in batches:
            correct += int((twin(images)[-1].argmax(-1) == labels).sum())
            samples += len(labels)
    for handle in handles:
        handle.remove()
    if samples == 0:
        raise ValueError("nothing to report: there are no samples")
    weights = [synapse.weight for synapse, _ in synapses]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return {
        "Footprint": sum(
            x.numel() * x.element_size() for x in (*twin.parameters(), *twin.buffers())
        ),
        "ConnectionSparsity": round(zeros / sum(w.numel() for w in weights), 4),
        "ActivationSparsity": 1.0 - activity[0] / activity[1],
        "SynapticOperations": {
            "Effective_MACs": sum(c.multiplies for c in counters) / samples,
            "Effective_ACs": sum(c.accumulates for c in counters) / samples,
            "Dense": sum(c.dense for c in counters) / samples,
        },
        "ClassificationAccuracy": correct / samples,
    }


def _synapses(network: LatencyNetwork) -> list[tuple[nn.Conv2d | nn.Linear, tuple[int, ...]]]:
    """All synapses with the shape of what they receive."""
    found: list[tuple[nn.Conv2d | nn.Linear, tuple[int, ...]]] = []
    found.append((network.encoder.conv, network.input_shape))
    for layer in (*network.projections(), network.output):
        if not isinstance(layer, Identity):
            found.append((layer.synapse, layer.synapse_shape))
    return found


class _Synapse:
    """Counts the operations of one layer.

    Args:
        synapse: its weights.
        shape: shape of its input, without the batch.
    """

    def __init__(self, synapse: nn.Conv2d | nn.Linear, shape: tuple[int, ...]):
        self.synapse = synapse
        self._fan = fan_out(synapse, shape).double()
        self._dense = dense_fan_out(synapse, shape)
        self.accumulates = self.multiplies = self.dense = 0.0

    def count(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """A hook before the layer."""
        x = inputs[0]
        operations = float(weighted_sum(x != 0, self._fan).sum())
        if bool(((x == 0) | (x.abs() == 1)).all()):
            self.accumulates += operations
        else:
            self.multiplies += operations
        self.dense += self._dense * len(x)
