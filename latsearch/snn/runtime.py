"""Early exit: inference timestep by timestep, in which decided samples leave the batch.

`EarlyExit` decides as `decoding.decide` does on the potentials of a whole evaluation, and computes
no timestep of a sample after its decision. Its arithmetic is that of the folded network, so that
potentials differ by rounding: a decision can differ where a potential lies that close to a
threshold.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latsearch.errors import NotFiniteError
from latsearch.snn.decoding import RULES, Decision
from latsearch.snn.folding import folded
from latsearch.snn.layers import HiddenLayer
from latsearch.snn.networks import Network
from latsearch.snn.steps import BlockStage, EncoderStage, LayerStage, OutputStage

# Batches shrink to multiples of this part of the first one: convolutions are set up anew for each
# size, and to move a few samples costs more than to carry them along.
_PARTS = 16


class EarlyExit:
    """A network that runs one timestep after another, until its samples have decided.

    Keeps a folded copy of the weights, and the memory of the largest batch seen.

    Args:
        network: a trained network; later changes of its weights are not seen.

    Attributes:
        timesteps: T.
        rule: what must exceed the decision threshold, a key of `decoding.RULES`.

    Example:
        ``EarlyExit(network).decide(images, decision_threshold=2.0)``
    """

    def __init__(self, network: Network):
        twin = folded(network)
        self.timesteps = twin.timesteps
        self.rule = twin.config.decision
        self._channels_last = twin.convolutional
        self._encoder = EncoderStage(twin.encoder)
        self._hidden = [
            LayerStage(layer) if isinstance(layer, HiddenLayer) else BlockStage(layer)  # type: ignore[arg-type]
            for layer in twin.hidden
        ]
        self._output = OutputStage(twin.output)
        stages = [self._encoder, *self._hidden, self._output]
        self._parts = [part for stage in stages for part in stage.parts()]

    def begin(self, images: Tensor) -> None:
        """Take a batch of normalised images ``[B, C, H, W]`` or event frames: run the stem."""
        if self._channels_last and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        self._encoder.begin(images)

    def step(self, t: int) -> Tensor:
        """Output potentials ``[n, K]`` at timestep t = 0..T-1 of the samples that are left."""
        x = self._encoder(t)
        for stage in self._hidden:
            x = stage(x, t)
        return self._output(x, t)

    @torch.inference_mode()
    def decide(self, images: Tensor, decision_threshold: float) -> Decision:
        """Decide each sample at its first output spike, or as the network's decision rule says.

        Args:
            images: normalised images ``[B, C, H, W]``, or event frames ``[B, T, P, H, W]``.
            decision_threshold: evidence above which a sample decides, for the first spike the
                potential above which a class spikes; inf for the readout at T.

        Raises:
            ValueError: a potential is not finite.
        """
        self.begin(images)
        record = _Record(len(images), decision_threshold, self.timesteps, self.rule)
        for t in range(self.timesteps):
            record.update(self.step(t).cpu().numpy(), t)
            if record.finished:
                break
            self._shrink(record)
        return record.decision()

    def _shrink(self, record: _Record) -> None:
        moved = record.shrink()
        if moved is None:
            return
        holes, movers, left = moved
        device = self._output.states["v"].device
        to, fro = torch.from_numpy(holes).to(device), torch.from_numpy(movers).to(device)
        for part in self._parts:
            part.keep(to, fro, left)


class _Record:
    """Who has decided what, and which rows of the batch are still open.

    Args:
        samples: B.
        decision_threshold: evidence above which a sample decides.
        timesteps: T.
        rule: what the evidence is, a key of `RULES`.
    """

    def __init__(self, samples: int, decision_threshold: float, timesteps: int, rule: str):
        self._threshold = decision_threshold
        self._evidence = RULES[rule]
        self._last = timesteps - 1
        self._sample = np.arange(samples)  # of each row
        self._open = np.ones(samples, dtype=np.bool_)  # of each row
        self._prediction = np.zeros(samples, dtype=np.int64)
        self._time = np.full(samples, timesteps, dtype=np.int64)
        self._silent = np.zeros(samples, dtype=np.bool_)
        self._tie = np.zeros(samples, dtype=np.bool_)
        self._grain = max(1, samples // _PARTS)

    @property
    def finished(self) -> bool:
        """Whether every sample has decided."""
        return not self._open.any()

    def update(self, potentials: NDArray[np.floating], t: int) -> None:
        """Take the potentials ``[n, K]`` of timestep t = 0..T-1."""
        if not np.isfinite(potentials).all():
            raise NotFiniteError
        largest = potentials.max(-1)
        spikes = self._evidence(potentials.astype(np.float64)) > self._threshold
        rows = np.flatnonzero(self._open if t == self._last else self._open & spikes)
        if not len(rows):
            return
        which = self._sample[rows]
        self._prediction[which] = potentials[rows].argmax(-1)
        self._tie[which] = (potentials[rows] == largest[rows, None]).sum(-1) > 1
        self._time[which] = t + 1
        if t == self._last and self._threshold != math.inf:
            self._silent[which] = ~spikes[rows]
        self._open[rows] = False

    def shrink(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int] | None:
        """Rows to fill, rows to fill them with, and rows that are left; None: leave all as it is.

        Some decided rows may stay, to make the number of rows a multiple of the grain.
        """
        rows = len(self._open)
        still = int(self._open.sum())
        left = min(rows, -(-still // self._grain) * self._grain)
        if left == rows:
            return None
        movers = left + np.flatnonzero(self._open[left:])
        holes = np.flatnonzero(~self._open[:left])[: len(movers)]
        self._sample[holes] = self._sample[movers]
        self._open[holes] = True
        self._sample, self._open = self._sample[:left], self._open[:left]
        return holes, movers, left

    def decision(self) -> Decision:
        """The decisions of all samples."""
        return Decision(self._prediction, self._time, self._silent, self._tie)
