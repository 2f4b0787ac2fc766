"""A written NIR file and encoder, run by another framework on images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from latsearch.export.encoder import HostEncoder
from latsearch.export.frameworks import NirRun
from latsearch.export.traces import Runner, Trace
from latsearch.snn.decoding import Decision


def nir_runner(file: Path, framework: str, layers: Sequence[str], *, readout: bool) -> Runner:
    """What runs a NIR file, with the encoder beside it, in a framework.

    Args:
        file: the NIR file.
        framework: a key of `FRAMEWORKS`.
        layers: the graph's hidden neurons from the input to the output.
        readout: whether nobody decides before T.

    Raises:
        ValueError: the framework cannot run the graph.
    """
    encoder, network = HostEncoder(file.parent), NirRun(file, framework)

    def run(pixels: Tensor) -> Trace:
        inputs = encoder(pixels)
        sent, potentials = network(inputs)
        first = sent.get("encoder_neuron", inputs)
        spikes = [first > 0, *(sent[name] > 0 for name in layers)]
        decision = first_spikes(
            sent["output_neuron"].numpy() > 0, potentials.numpy(), readout=readout
        )
        return Trace(spikes, potentials, decision)

    return run


def first_spikes(
    spikes: NDArray[np.bool_], potentials: NDArray[np.floating], *, readout: bool = False
) -> Decision:
    """What a host makes of the output's spikes: the first one decides, the potential breaks ties.

    Args:
        spikes: ``[T, B, K]`` of the output neurons.
        potentials: ``[T, B, K]`` of output neurons that are never reset.
        readout: whether nobody decides before T, so that nobody is silent.

    Example:
        >>> fired = np.array([[[False, False]], [[True, True]]])  # T = 2, one sample, two classes
        >>> first_spikes(fired, np.array([[[0.2, 0.4]], [[1.0, 2.0]]])).prediction
        array([1])
    """
    timesteps, samples, _ = spikes.shape
    some = spikes.any(-1)
    silent = np.logical_not(some.any(0))
    step = np.where(silent, timesteps - 1, some.argmax(0))
    who = np.arange(samples)
    allowed = spikes[step, who] | silent[:, None]
    at = np.where(allowed, potentials[step, who], -np.inf)
    largest = at.max(-1, keepdims=True)
    return Decision(
        prediction=at.argmax(-1),
        decision_time=step.astype(np.int64) + 1,
        silent=np.zeros_like(silent) if readout else silent,
        tie=(at == largest).sum(-1) > 1,
    )
