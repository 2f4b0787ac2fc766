"""Decisions at the first output spike, for the output potentials of any network.

With ``M[t] = max_k V[t, k]`` a sample decides at ``t* = min{t : M[t] > decision_threshold}`` for
``argmax_k V[t*, k]``, the lowest class in an exact tie. Without such a t it is silent: it decides
at T by ``argmax_k V[T, k]``. The threshold inf is the plain readout at T, where nobody is silent.

Other rules decide at the first t whose evidence exceeds the threshold: the lead of the largest
potential over the second (``margin``), one minus the normalised entropy of the softmax
(``entropy``), or its largest value (``max_softmax``).
Works on NumPy and torch arrays; computed by NumPy in float64, which holds every potential exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latsearch.errors import NotFiniteError
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


def joined(decisions: Sequence[Decision]) -> Decision:
    """The decisions of several batches as those of one."""
    return Decision(
        *(np.concatenate([getattr(d, f.name) for d in decisions]) for f in fields(Decision))
    )


def decide(potentials: ArrayLike, decision_threshold: float, rule: str = FIRST_SPIKE) -> Decision:
    """Decide each sample at its first output spike.

    Args:
        potentials: ``[T, B, K]``.
        decision_threshold: evidence above which a sample decides, for the first spike the
            potential above which a class spikes; inf for the readout at T.
        rule: what the evidence is, a key of `RULES`.

    Raises:
        ValueError: the rule is not known, or the potentials are not ``[T, B, K]`` or not finite.

    Example:
        >>> V = np.array([[[0.2, 0.4]], [[2.0, 1.0]]])  # T = 2, one sample, two classes
        >>> decide(V, 0.3).prediction, decide(V, 0.5).decision_time
        (array([1]), array([2]))
    """
    return _Evidence(_potentials(potentials), rule).decide(decision_threshold)


def decision_curve(
    potentials: ArrayLike,
    labels: ArrayLike,
    energy: ArrayLike | None = None,
    *,
    bin_ends: ArrayLike | None = None,
    minimum_threshold: float | None = None,
    rule: str = FIRST_SPIKE,
    delay: int = 0,
    thresholds: Sequence[float] | None = None,
) -> DecisionCurve:
    """Figures of a network at every decision threshold that matters, or at given ones.

    The rows: one in which everybody decides at t = 1, then thresholds between the samples'
    potentials, spaced evenly in mean decision time, at last the readout at T; 64 at most. The
    labels have no part in placing them.

    Args:
        potentials: ``[T, B, K]``.
        labels: ``[B]`` integers.
        energy: ``[T, B]`` energy of an inference that decides at t, in nJ; None: NaN.
        bin_ends: ``[B, T]`` end of each event frame's bin in ms of recording, in which latency is
            then measured; None for images, whose latency is in timesteps.
        minimum_threshold: lowest threshold of a row; 0 where a spike needs a positive potential.
        rule: what must exceed the threshold, a key of `RULES`.
        delay: timesteps by which the hardware delays every decision.
        thresholds: the rows' thresholds, e.g. those chosen on another split; inf for the readout.

    Raises:
        ValueError: the rule is not known, shapes do not match, there are no samples, or
            potentials are not finite.
    """
    evidence = _Evidence(_potentials(potentials), rule)
    timesteps, samples = evidence.running_peak.shape
    label = _array(labels)
    if label.shape != (samples,):
        raise ValueError(f"labels must be [{samples}], got {label.shape}")
    cost = np.full((timesteps, samples), np.nan) if energy is None else _array(energy)
    if cost.shape != (timesteps, samples):
        raise ValueError(f"energy must be [{timesteps}, {samples}], got {cost.shape}")
    times = np.broadcast_to(np.arange(1, timesteps + 1), (samples, timesteps))
    if bin_ends is not None:
        times = _array(bin_ends)
    if times.shape != (samples, timesteps):
        raise ValueError(f"bin_ends must be [{samples}, {timesteps}], got {times.shape}")
    times = times + delay * times[:, :1]  # the first bin is as long as each of them
    if thresholds is None:
        thresholds = [*_place_thresholds(evidence.running_peak, minimum_threshold), math.inf]
    return _measure(evidence, label, cost, times, thresholds, rule)


def decision_times(
    potentials: ArrayLike, thresholds: ArrayLike, rule: str = FIRST_SPIKE
) -> NDArray[np.int64]:
    """Samples that decide at each timestep, ``[R, T]``, silent ones at T.

    Args:
        potentials: ``[T, B, K]``.
        thresholds: ``[R]`` decision thresholds; inf for the readout at T.
        rule: what decides.

    Raises:
        ValueError: the potentials are not ``[T, B, K]`` or not finite.

    Example:
        >>> V = np.array([[[0.2, 0.4]], [[2.0, 1.0]]])  # T = 2, one sample, two classes
        >>> decision_times(V, np.array([0.3, 0.5])).tolist()
        [[1, 0], [0, 1]]
    """
    peaks = _Evidence(_potentials(potentials), rule).running_peak
    wanted = _array(thresholds)
    waiting = [np.searchsorted(np.sort(peak), wanted, side="right") for peak in peaks[:-1]]
    all_, none = np.full(len(wanted), peaks.shape[1]), np.zeros(len(wanted), dtype=np.int64)
    still = np.stack([all_, *waiting, none], axis=1)  # [R, T + 1] that wait after t = 0..T
    return np.asarray(still[:, :-1] - still[:, 1:], dtype=np.int64)


def running_peak(potentials: ArrayLike, rule: str = FIRST_SPIKE) -> FloatArray:
    """The largest evidence of each sample up to each timestep, ``[T, B]``.

    A sample decides at the first t whose value exceeds the decision threshold.

    Args:
        potentials: ``[T, B, K]``.
        rule: what the evidence is, a key of `RULES`.

    Raises:
        ValueError: the potentials are not ``[T, B, K]`` or not finite.
    """
    return _Evidence(_potentials(potentials), rule).running_peak


def accuracies(
    potentials: ArrayLike, labels: ArrayLike, thresholds: ArrayLike, rule: str = FIRST_SPIKE
) -> FloatArray:
    """Fraction of the samples that are classified correctly at each threshold, ``[R]``.

    Args:
        potentials: ``[T, B, K]``.
        labels: ``[B]`` integers.
        thresholds: ``[R]`` decision thresholds; inf for the readout at T.
        rule: what decides.

    Raises:
        ValueError: the potentials are not ``[T, B, K]`` or not finite.
    """
    evidence, label = _Evidence(_potentials(potentials), rule), _array(labels)
    wanted = _array(thresholds).tolist()
    return np.array([(evidence.decide(value).prediction == label).mean() for value in wanted])


def _largest(potentials: FloatArray) -> FloatArray:
    """``[T, B]``: the largest potential."""
    largest: FloatArray = potentials.max(-1)
    return largest


def _margin(potentials: FloatArray) -> FloatArray:
    """``[T, B]``: the largest potential less the second."""
    second, first = np.moveaxis(np.partition(potentials, -2, axis=-1)[..., -2:], -1, 0)
    lead: FloatArray = first - second
    return lead


def _certainty(potentials: FloatArray) -> FloatArray:
    """``[T, B]``: one minus the entropy of the softmax relative to its maximum, ln K."""
    log_p = _log_softmax(potentials)
    entropy = -(np.exp(log_p) * log_p).sum(-1)
    certain: FloatArray = 1.0 - entropy / math.log(potentials.shape[-1])
    return certain


def _log_softmax(potentials: FloatArray) -> FloatArray:
    """``[T, B, K]``: logarithms of the softmax over the classes."""
    shifted = potentials - potentials.max(-1, keepdims=True)
    logarithm: FloatArray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return logarithm


def _max_softmax(potentials: FloatArray) -> FloatArray:
    """``[T, B]``: the largest value of the softmax."""
    largest: FloatArray = np.exp(_log_softmax(potentials).max(-1))
    return largest


RULES: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    FIRST_SPIKE: _largest,
    "margin": _margin,
    "entropy": _certainty,
    "max_softmax": _max_softmax,
}


class _Evidence:
    """What the decisions at every threshold need of the potentials ``[T, B, K]``."""

    def __init__(self, potentials: NDArray[np.floating[Any]], rule: str):
        if rule not in RULES:
            raise ValueError(f"{rule!r} is no decision rule; known are {', '.join(RULES)}")
        self.prediction: NDArray[np.int64] = potentials.argmax(-1)
        largest = potentials.max(-1)
        self.tie = (potentials == largest[..., None]).sum(-1) > 1
        peak = RULES[rule](potentials.astype(np.float64))
        self.running_peak: FloatArray = np.maximum.accumulate(peak, axis=0)
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
    evidence: _Evidence,
    labels: NDArray[Any],
    energy: NDArray[Any],
    times: NDArray[Any],
    thresholds: Sequence[float],
    rule: str,
) -> DecisionCurve:
    """One row for each threshold; memory for one row at a time."""
    samples = np.arange(labels.shape[0])
    rows = []
    for threshold in thresholds:
        decision = evidence.decide(threshold)
        correct = decision.prediction == labels
        step = decision.decision_time - 1
        time = times[samples, step]
        rows.append(
            (
                threshold,
                correct.mean(),
                (correct & ~decision.silent).mean(),
                time.mean(dtype=np.float64),
                _percentile_95(time),
                energy[step, samples].mean(dtype=np.float64),
                decision.silent.mean(),
                decision.tie.mean(),
            )
        )
    columns = np.array(rows, dtype=np.float64).T
    kind = tuple(READOUT if math.isinf(threshold) else rule for threshold in thresholds)
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


def _percentile_95(times: NDArray[Any]) -> float:
    """The time by which 95 % of the samples have decided."""
    last = (19 * len(times) + 19) // 20 - 1  # of the fewest samples that are 95 %
    return float(np.partition(times, last)[last])


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
        raise NotFiniteError
    return array
