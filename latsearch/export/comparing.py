"""How an exported network differs from ours.

It computes the same sums in another order, so that a potential may differ by float32 rounding and,
where it is that close to a threshold, a spike; that spike changes all that comes after it. A sample
therefore counts as explained by rounding only where its *first* difference, in the order of time
and within a timestep of layers, is of neurons within `TOLERANCE` of their threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latsearch.export.report import Check
from latsearch.export.traces import TOLERANCE, Reference, Trace
from latsearch.snn.decoding import RULES

Flags = NDArray[np.bool_]


class Tally:
    """Differences between traces and their references, added up over batches.

    Args:
        layers: names of the layers.
        decision_threshold: that both decided at.
        rule: what decides, a key of `RULES`.
    """

    def __init__(self, layers: Sequence[str], decision_threshold: float, rule: str):
        self._layers = layers
        self._threshold = decision_threshold
        self._rule = rule
        self._samples = self._predictions = self._times = self._near = self._differ = 0
        self._spikes = np.zeros(len(layers), dtype=np.int64)
        self._largest = 0.0

    def add(self, reference: Reference, trace: Trace) -> None:
        """Count the differences of a batch."""
        pairs = zip(reference.layers, trace.layers, reference.distances, strict=True)
        found = [_spike_differences(*pair) for pair in pairs]
        differs = np.stack([one for one, _ in found], axis=1)  # [T, L, B]
        far = np.stack([other for _, other in found], axis=1)
        spikes = differs.any(0)  # [L, B]
        prediction = reference.decision.prediction != trace.decision.prediction
        time = reference.decision.decision_time != trace.decision.decision_time
        any_difference = spikes.any(0) | prediction | time
        explained = np.where(spikes.any(0), _first_is_near(differs, far), self._close(reference))
        unexplained = any_difference & ~explained
        self._samples += len(prediction)
        self._near += int((any_difference & explained).sum())
        self._differ += int(unexplained.sum())
        self._predictions += int((prediction & unexplained).sum())
        self._times += int((time & unexplained).sum())
        self._spikes += (spikes & unexplained).sum(1)
        equal = torch.from_numpy(~any_difference)
        if equal.any():
            gap = (reference.potentials.cpu() - trace.potentials.cpu())[:, equal].abs().max()
            self._largest = max(self._largest, float(gap))

    def _close(self, reference: Reference) -> Flags:
        """``[B]``: whether rounding may change a decision of equal spikes."""
        potentials = reference.potentials.cpu().numpy().astype(np.float64)
        steps = reference.decision.decision_time - 1
        at = potentials[steps, np.arange(potentials.shape[1])]
        second, first = np.sort(at, axis=-1)[:, -2:].T
        close: Flags = first - second <= TOLERANCE * np.maximum(1.0, np.abs(first))
        if math.isfinite(self._threshold):
            evidence = RULES[self._rule](potentials)
            gap = np.abs(evidence - self._threshold) / max(1.0, abs(self._threshold))
            close = close | (gap <= TOLERANCE).any(0)
        return close

    def check(self, file_format: str, framework: str) -> Check:
        """What was found."""
        return Check(
            format=file_format,
            framework=framework,
            samples=self._samples,
            predictions=self._predictions,
            decision_times=self._times,
            spikes=dict(zip(self._layers, self._spikes.tolist(), strict=True)),
            differing=self._differ,
            near_threshold=self._near,
            largest_potential_difference=self._largest,
        )


def _spike_differences(ours: Tensor, theirs: Tensor, distance: Tensor) -> tuple[Flags, Flags]:
    """``[T, B]``: whether the spikes of a layer differ, and whether rounding does not explain it.

    Of a copy that tells the number of spikes alone, as many may differ as neurons are near.
    """
    ours, theirs, near = ours.cpu(), theirs.cpu(), (distance <= TOLERANCE).cpu()
    if theirs.ndim == 2 and ours.ndim > 2:
        gap = (ours.flatten(2).sum(2) - theirs).abs()
        return (gap > 0).numpy(), (gap > near.flatten(2).sum(2)).numpy()
    unlike = (ours != theirs).flatten(2)
    return unlike.any(2).numpy(), (unlike & ~near.flatten(2)).any(2).numpy()


def _first_is_near(differs: Flags, far: Flags) -> Flags:
    """``[B]``: whether the first difference of ``[T, L, B]`` is near; any where there is none."""
    order = differs.reshape(-1, differs.shape[-1])
    first = order.argmax(0)
    near: Flags = ~far.reshape(order.shape)[first, np.arange(order.shape[1])]
    return near
