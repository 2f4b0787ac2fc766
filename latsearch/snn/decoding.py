"""Decisions at the first output spike, for the output potentials of any network.

With ``M[t] = max_k V[t, k]`` a sample decides at ``t* = min{t : M[t] > decision_threshold}`` for
``argmax_k V[t*, k]``, the lowest class in an exact tie. Without such a t it is silent: it decides
at T by ``argmax_k V[T, k]``. The threshold inf is the plain readout at T, where nobody is silent.
Works on NumPy and torch arrays; computed by NumPy in float64, which holds every potential exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latsearch.objectives import FIRST_SPIKE, READOUT, DecisionCurve, FloatArray

if TYPE_CHECKING:
    from torch import Tensor

    ArrayLike = NDArray[Any] | Tensor

MAX_ROWS = 64


@dataclass(frozen=True, eq=False)
class Decision:
    """The decisions of a batch.

    Attributes:
        prediction: ``[B]`` int64 classes.
        decision_time: ``[B]`` int64 timesteps, 1..T.
        silent: ``[B]`` whether no output spiked by T.
        tie: ``[B]`` whether several classes had the largest potential at the decision.
    """

    prediction: NDArray[np.int64]
    decision_time: NDArray[np.int64]
    silent: NDArray[np.bool_]
    tie: NDArray[np.bool_]


def decide(potentials: ArrayLike, decision_threshold: float) -> Decision:
    """Decide each sample at its first output spike.

    Args:
        potentials: ``[T, B, K]``.
        decision_threshold: potential above which a class spikes; inf for the readout at T.

    Raises:
        ValueError: the potentials are not ``[T, B, K]`` or not finite.

    Example:
        >>> V = np.array([[[0.2, 0.4]], [[2.0, 1.0]]])  # T = 2, one sample, two classes
        >>> decide(V, 0.3).prediction, decide(V, 0.5).decision_time
        (array([1]), array([2]))
    """
    return _Evidence(_potentials(potentials)).decide(decision_threshold)


def decision_curve(
    potentials: ArrayLike,
    labels: ArrayLike,
    energy: ArrayLike | None = None,
    *,
    minimum_threshold: float | None = None,
) -> DecisionCurve:
    """Figures of a network at every decision threshold that matters.

    The rows: one in which everybody decides at t = 1, then thresholds between the samples'
    potentials, spaced evenly in mean decision time, at last the readout at T; 64 at most. The
    labels have no part in placing them.

    Args:
        potentials: ``[T, B, K]``.
        labels: ``[B]`` integers.
        energy: ``[T, B]`` energy of an inference that decides at t, in nJ; None: NaN.
        minimum_threshold: lowest threshold of a row; 0 where a spike needs a positive potential.

    Raises:
        ValueError: shapes do not match, there are no samples, or potentials are not finite.
    """
    evidence = _Evidence(_potentials(potentials))
    timesteps, samples = evidence.peak.shape
    label = _array(labels)
    if label.shape != (samples,):
        raise ValueError(f"labels must be [{samples}], got {label.shape}")
    cost = np.full((timesteps, samples), np.nan) if energy is None else _array(energy)
    if cost.shape != (timesteps, samples):
        raise ValueError(f"energy must be [{timesteps}, {samples}], got {cost.shape}")
    thresholds = [*_place_thresholds(evidence.running_peak, minimum_threshold), math.inf]
    return _measure(evidence, label, cost, thresholds)


class _Evidence:
    """What the decisions at every threshold need of the potentials ``[T, B, K]``."""

    def __init__(self, potentials: NDArray[np.floating[Any]]):
        self.prediction: NDArray[np.int64] = potentials.argmax(-1)
        largest = potentials.max(-1)
        self.tie = (potentials == largest[..., None]).sum(-1) > 1
        self.peak: FloatArray = largest.astype(np.float64)
        self.running_peak: FloatArray = np.maximum.accumulate(self.peak, axis=0)
        self._samples = np.arange(potentials.shape[1])

    def decide(self, decision_threshold: float) -> Decision:
        quiet = self.running_peak <= decision_threshold
        index = quiet[:-1].sum(0)
        return Decision(
            prediction=self.prediction[index, self._samples],
            decision_time=index.astype(np.int64) + 1,
            silent=quiet[-1] & (decision_threshold != math.inf),
            tie=self.tie[index, self._samples],
        )


def _place_thresholds(running_peak: FloatArray, minimum: float | None) -> list[float]:
    """At most 63 rising thresholds, evenly spaced in the mean decision time they give.

    The mean decision time is ``1 + #{t < T, b : R[t, b] <= threshold} / B``, a step function of
    the threshold whose steps are the values of the running maximum R.
    """
    lowest = float(running_peak[0].min())
    bottom = lowest - max(1.0, abs(lowest))
    if minimum is not None:
        bottom = max(bottom, minimum)
    values, counts = np.unique(running_peak[:-1], return_counts=True)
    # candidate i lies between values i and i + 1: above the first counts[: i + 1].sum() values
    below = np.cumsum(counts)[:-1]
    same_as_bottom = (running_peak[:-1] <= bottom).sum()
    candidates = np.flatnonzero(below > same_as_bottom)
    if len(candidates) > MAX_ROWS - 2:
        wanted = np.linspace(same_as_bottom, below[candidates[-1]], MAX_ROWS - 1)
        nearest = np.searchsorted(below[candidates], wanted[1:])
        candidates = np.unique(candidates[nearest])
    thresholds = [_between(values[index], values[index + 1]) for index in candidates]
    return sorted({bottom, *thresholds})


def _between(low: float, high: float) -> float:
    """A threshold in ``[low, high)``: the midpoint, to six digits where they suffice."""
    middle = float(low + (high - low) / 2)
    short = float(f"{middle:.6g}")
    return next(value for value in (short, middle, float(low)) if low <= value < high)


def _measure(
    evidence: _Evidence, labels: NDArray[Any], energy: NDArray[Any], thresholds: list[float]
) -> DecisionCurve:
    """One row for each threshold; memory for one row at a time."""
    samples = np.arange(labels.shape[0])
    rows = []
    for threshold in thresholds:
        decision = evidence.decide(threshold)
        correct = decision.prediction == labels
        time = decision.decision_time
        rows.append(
            (
                threshold,
                correct.mean(),
                (correct & ~decision.silent).mean(),
                time.mean(),
                _percentile_95(time),
                energy[time - 1, samples].mean(dtype=np.float64),
                decision.silent.mean(),
                decision.tie.mean(),
            )
        )
    columns = np.array(rows, dtype=np.float64).T
    kind = tuple(READOUT if math.isinf(threshold) else FIRST_SPIKE for threshold in thresholds)
    return DecisionCurve(
        decision_threshold=columns[0],
        kind=kind,
        accuracy=columns[1],
        accuracy_silent_wrong=columns[2],
        latency=columns[3],
        latency_p95=columns[4],
        energy=columns[5],
        silent_fraction=columns[6],
        tie_fraction=columns[7],
    )


def _percentile_95(times: NDArray[np.int64]) -> int:
    """The timestep by which 95 % of the samples have decided."""
    decided = np.cumsum(np.bincount(times))
    return int(np.searchsorted(20 * decided, 19 * len(times)))


def _array(values: ArrayLike) -> NDArray[Any]:
    """A NumPy array of any device's tensor."""
    if isinstance(values, np.ndarray):
        return values
    tensor = values.detach().cpu()
    return (tensor.float() if tensor.dtype.itemsize < 4 else tensor).numpy()


def _potentials(values: ArrayLike) -> NDArray[np.floating[Any]]:
    array = _array(values)
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"potentials must be [T, B, K] and not empty, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("the potentials are not finite (NaN or inf)")
    return array
