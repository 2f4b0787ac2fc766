"""How a trained network fares under corruptions: accuracy, decision time and energy of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from latsearch.config.energy import EnergyProfile
from latsearch.data.corruptions import GROUPS, CorruptedSet
from latsearch.data.splits import Samples
from latsearch.evaluation import LoadedNetwork, Measurement
from latsearch.objectives import unit
from latsearch.quantised import QuantisedRival, quantised_rival
from latsearch.snn.energy import dense_fan_out, synapses_of
from latsearch.snn.networks import LatencyNetwork

CLEAN = "clean"


@dataclass(frozen=True)
class RobustnessRow:
    """A network's figures on the samples under one corruption.

    Attributes:
        corruption: its name, or ``clean``.
        group: ``noise``, ``blur``, ``weather``, ``digital`` or ``clean``.
        severity: 1..5; 0 for the clean samples.
        accuracy: fraction of the samples classified correctly.
        latency: mean decision time in timesteps; of event data in ms of recording.
        energy: mean energy of an inference in nJ.
        silent_fraction: fraction of the samples without an output spike by T.
    """

    corruption: str
    group: str
    severity: int
    accuracy: float
    latency: float
    energy: float
    silent_fraction: float


@dataclass(frozen=True)
class Robustness:
    """A network under corruptions, at one decision threshold.

    Attributes:
        model: what was measured.
        corruptions: which corruptions these are, and whose severities.
        decision_threshold: potential above which a class spikes.
        samples: number of samples under each corruption.
        rows: the clean samples first, then each corruption by rising severity.
        latency_unit: unit of the rows' latency.
        rival: the clean samples' operations up to their decisions beside an ordinary network of
            equal shape with quantised activations; None where the network sends no spikes.
    """

    model: str
    corruptions: str
    decision_threshold: float
    samples: int
    rows: tuple[RobustnessRow, ...]
    latency_unit: str = "timesteps"
    rival: QuantisedRival | None = None

    @property
    def clean(self) -> RobustnessRow:
        """Figures on the clean samples."""
        return self.rows[0]

    @property
    def corrupted(self) -> tuple[RobustnessRow, ...]:
        """Figures under the corruptions."""
        return self.rows[1:]

    @property
    def mean_accuracy(self) -> float:
        """Mean accuracy over all corruptions and severities."""
        return float(np.mean([row.accuracy for row in self.corrupted]))

    def summary(self, against: Robustness | None = None) -> dict[str, float]:
        """Figures over all corruptions, by name; those of the clean samples where there are none.

        ``mean_corruption_error`` is the plain mean of the error rates, as it is given for
        CIFAR-10-C. ``relative_corruption_error`` is its excess over the clean error. With another
        network to compare with, ``mce`` and ``relative_mce`` are ImageNet-C's: errors summed over
        the severities, divided by the other network's, and averaged over the corruptions.
        """
        figures = {
            "clean_accuracy": self.clean.accuracy,
            "clean_latency": self.clean.latency,
            "clean_energy": self.clean.energy,
            "standard_error": math.sqrt(
                self.clean.accuracy * (1 - self.clean.accuracy) / self.samples
            ),
        }
        rows = self.corrupted
        if not rows:
            return figures
        figures |= {
            "corrupted_accuracy": self.mean_accuracy,
            "mean_corruption_error": 1 - self.mean_accuracy,
            "relative_corruption_error": self.clean.accuracy - self.mean_accuracy,
            "corrupted_latency": float(np.mean([row.latency for row in rows])),
            "corrupted_energy": float(np.mean([row.energy for row in rows])),
        }
        if against is not None:
            figures["mce"] = _mce(self, against, relative=False)
            figures["relative_mce"] = _mce(self, against, relative=True)
        return figures

    def to_json(self, against: Robustness | None = None) -> dict[str, Any]:
        """A JSON object."""
        threshold = self.decision_threshold
        return {
            "model": self.model,
            "corruptions": self.corruptions,
            "decision_threshold": threshold if math.isfinite(threshold) else None,
            "samples": self.samples,
            "latency_unit": self.latency_unit,
            "summary": self.summary(against),
            "rows": [asdict(row) for row in self.rows],
            "quantised_rival": self.rival and {**asdict(self.rival), "cheaper": self.rival.cheaper},
        }


def measure_robustness(
    network: LoadedNetwork,
    clean: Samples,
    corrupted: Iterable[CorruptedSet],
    *,
    decision_threshold: float,
    profile: EnergyProfile,
    model: str,
    corruptions: str,
) -> Robustness:
    """Measure a network on clean and corrupted samples at a decision threshold.

    Args:
        network: the network.
        clean: the samples as they are.
        corrupted: the same samples under each corruption.
        decision_threshold: potential above which a class spikes; inf for the readout at T.
        profile: prices of the operations.
        model: what the network is called.
        corruptions: which corruptions these are, and whose severities.
    """
    measured = network.measure(clean.images, profile)
    rows = [_row(measured, CLEAN, 0, clean, decision_threshold)]
    for one in corrupted:
        found = network.measure(one.samples.images, profile)
        rows.append(_row(found, one.corruption, one.severity, one.samples, decision_threshold))
    return Robustness(
        model,
        corruptions,
        decision_threshold,
        len(clean),
        tuple(rows),
        unit("latency", events=clean.bin_ends is not None),
        _rival(network, measured, decision_threshold),
    )


def _row(
    measured: Measurement, corruption: str, severity: int, samples: Samples, threshold: float
) -> RobustnessRow:
    decision, energy = measured.decided(threshold)
    group = next((group for group, names in GROUPS.items() if corruption in names), corruption)
    return RobustnessRow(
        corruption,
        group,
        severity,
        accuracy=float((decision.prediction == samples.labels).mean()),
        latency=float(measured.times(samples, decision).mean()),
        energy=float(energy.mean()),
        silent_fraction=float(decision.silent.mean()),
    )


def _rival(
    network: LoadedNetwork, measured: Measurement, threshold: float
) -> QuantisedRival | None:
    net = network.module
    if not isinstance(net, LatencyNetwork) or net.analog:
        return None
    decision, _ = measured.decided(threshold)
    operations = measured.energy.synaptic_operations().cpu().numpy()
    spent = operations[decision.decision_time - 1, np.arange(operations.shape[1])]
    synapses = sum(dense_fan_out(x.synapse, x.synapse_shape) for x in synapses_of(net))
    return quantised_rival(net.timesteps, float(spent.mean()), synapses)


def _mce(one: Robustness, other: Robustness, *, relative: bool) -> float:
    ratios = []
    for mine, theirs in zip(_errors(one, relative), _errors(other, relative), strict=True):
        ratios.append(mine / theirs if theirs > 0 else math.nan)
    return float(np.mean(ratios))


def _errors(robustness: Robustness, relative: bool) -> Iterator[float]:
    """Error of each corruption, summed over its severities."""
    below = 1 - robustness.clean.accuracy if relative else 0.0
    for name in corruption_names(robustness.corrupted):
        yield sum(
            1 - row.accuracy - below for row in robustness.corrupted if row.corruption == name
        )


def corruption_names(rows: Sequence[RobustnessRow]) -> list[str]:
    """Names of the corruptions, each once, in order."""
    return list(dict.fromkeys(row.corruption for row in rows))
