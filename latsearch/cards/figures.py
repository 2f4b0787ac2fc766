"""The figures of a card: one trained network, measured once at its decision threshold."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from latsearch.config import PROFILES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from latsearch.config import EnergyProfile
    from latsearch.data.splits import Samples
    from latsearch.evaluation import LoadedNetwork, Measurement

_Z95 = 1.959963984540054  # of the normal distribution, two-sided 95 %


@dataclass(frozen=True, kw_only=True)
class SeedFigures:
    """What one training's network did on a split.

    Attributes:
        seed: seed of the training.
        decision_threshold: potential above which a class spikes; inf for the readout at T.
        samples: how many it was measured on.
        correct: how many of them it classified correctly.
        latency: mean decision time in timesteps; of event data in ms of recording.
        silent: samples without an output spike by T.
        decision_times: samples that decide at each timestep 1..T, silent ones at T.
        energy: mean energy of an inference in nJ, by profile.
    """

    seed: int
    decision_threshold: float
    samples: int
    correct: int
    latency: float
    silent: int
    decision_times: tuple[int, ...]
    energy: Mapping[str, float]

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.samples or self.samples < 1:
            raise ValueError(f"{self.correct} of {self.samples} samples cannot be correct")
        if sum(self.decision_times) != self.samples:
            raise ValueError(
                f"{sum(self.decision_times)} decision times, but {self.samples} samples"
            )

    @property
    def accuracy(self) -> float:
        """Fraction of the samples classified correctly."""
        return self.correct / self.samples

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(self.correct, self.samples)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the threshold inf becomes null."""
        threshold = self.decision_threshold
        return {
            **asdict(self),
            "decision_threshold": threshold if math.isfinite(threshold) else None,
            "decision_times": list(self.decision_times),
            "accuracy": self.accuracy,
            "accuracy_interval_95": list(self.interval),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SeedFigures:
        """The figures that `to_json` wrote."""
        known = {name: data[name] for name in cls.__dataclass_fields__}
        if known["decision_threshold"] is None:
            known["decision_threshold"] = math.inf
        return pydantic.TypeAdapter(cls).validate_python(known)


def wilson(correct: float, samples: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a fraction that was measured on independent samples.

    Args:
        correct: successes; of a mean over several measurements no whole number.
        samples: trials, 1 or more.

    Example:
        >>> [round(bound, 4) for bound in wilson(95, 100)]
        [0.8882, 0.9785]
    """
    share, square = correct / samples, _Z95**2
    middle = (share + square / (2 * samples)) / (1 + square / samples)
    spread = share * (1 - share) / samples + square / (4 * samples**2)
    half = _Z95 * math.sqrt(spread) / (1 + square / samples)
    # the bounds at none and at all correct are exact, whatever rounding says
    low = 0.0 if correct == 0 else middle - half
    return low, 1.0 if correct == samples else middle + half


@dataclass(frozen=True)
class Spread:
    """A figure over several seeds.

    Attributes:
        mean: over the seeds.
        deviation: standard deviation over the seeds (n - 1); None of one seed.
    """

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one figure a seed."""
        mean = statistics.fmean(values)
        return cls(mean, statistics.stdev(values) if len(values) > 1 else None)


def measure_seed(
    network: LoadedNetwork, samples: Samples, decision_threshold: float
) -> SeedFigures:
    """Measure a network on samples, its energy under every profile.

    Args:
        network: the network.
        samples: what to measure it on.
        decision_threshold: potential above which a class spikes; inf for the readout at T.
    """
    return measure_points(network, samples, [decision_threshold])[0]


def measure_points(
    network: LoadedNetwork, samples: Samples, thresholds: Sequence[float]
) -> list[SeedFigures]:
    """Measure a network on samples at several decision thresholds, as `measure_seed` at one."""
    measured = []
    for pooled in (False, True):  # the two ways to count; prices do not change what was counted
        profiles = [profile for profile in PROFILES.values() if profile.pooled_mac is pooled]
        measured.append((network.measure(samples.images, profiles[0]), profiles))
    return [_figures(network, samples, threshold, measured) for threshold in thresholds]


def _figures(
    network: LoadedNetwork,
    samples: Samples,
    decision_threshold: float,
    counted: Sequence[tuple[Measurement, Sequence[EnergyProfile]]],
) -> SeedFigures:
    energy: dict[str, NDArray[np.float64]] = {}
    for measured, profiles in counted:
        decision, _ = measured.decided(decision_threshold)
        for profile in profiles:
            priced = replace(measured, energy=replace(measured.energy, profile=profile))
            energy[profile.name] = priced.decided(decision_threshold)[1]
    times = np.bincount(decision.decision_time, minlength=network.module.timesteps + 1)[1:]
    return SeedFigures(
        seed=network.info.seed,
        decision_threshold=float(decision_threshold),
        samples=len(samples),
        correct=int((decision.prediction == samples.labels).sum()),
        latency=float(measured.times(samples, decision).mean()),
        silent=int(decision.silent.sum()),
        decision_times=tuple(times.tolist()),
        energy={name: float(energy[name].mean()) for name in PROFILES},
    )
