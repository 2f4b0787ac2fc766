"""What a trial is measured by: objectives, decision curves, operating points and reports.

A trained network that decides at its first output spike runs at any decision threshold without
retraining. Its result is therefore a `DecisionCurve`, one row for each decision threshold, and an
`OperatingPoint` is one row of one trial.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Direction = Literal["maximize", "minimize"]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Objective:
    """A figure that the search improves.

    Attributes:
        name: column of the decision curve.
        direction: ``maximize`` or ``minimize``.
        unit: unit of the figure, for tables and axes.
        log: whether hypervolumes and distances use its log10.
    """

    name: str
    direction: Direction
    unit: str
    log: bool = False

    def losses(self, values: FloatArray) -> FloatArray:
        """Values on the scale of fronts and hypervolumes, where less is better."""
        scaled = np.log10(np.maximum(values, 1e-12)) if self.log else values
        return -scaled if self.direction == "maximize" else scaled


OBJECTIVES: Mapping[str, Objective] = {
    "accuracy": Objective("accuracy", "maximize", "fraction"),
    "latency": Objective("latency", "minimize", "timesteps"),
    "energy": Objective("energy", "minimize", "nJ", log=True),
    "robust_accuracy": Objective("robust_accuracy", "maximize", "fraction"),
}
ROBUST = "robust_accuracy"


def unit(name: str, *, events: bool) -> str:
    """Unit of an objective's figures in a study of event data, or of images."""
    return "ms" if events and name == "latency" else OBJECTIVES[name].unit


# figures of a network that are known before it is trained; constraints may bound them
BEFORE_TRAINING: Mapping[str, str] = {
    "parameters": "weights and biases",
    "macs": "synapses that an image passes in one timestep, each counted once",
    "energy_bound": "energy in nJ were every neuron to spike at every timestep",
}

FIRST_SPIKE = "first_spike"
READOUT = "readout"


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """A trained network's figures at each decision threshold, measured on one split.

    All columns have shape ``[R]``, R rows in order of rising decision threshold.

    Attributes:
        decision_threshold: output potential above which a class spikes; inf for ``readout``.
        kind: the rule that decides, ``first_spike`` or another of `snn.decoding`, or ``readout``
            (argmax of the potentials at T).
        accuracy: fraction of the samples classified correctly.
        accuracy_silent_wrong: the same with every silent sample counted as wrong.
        latency: mean decision time in timesteps, 1..T; for event data in milliseconds of
            recording, the end of the bin that decides.
        latency_p95: 95th percentile of the decision times.
        energy: mean energy of an inference up to its decision in nJ (NaN if not measured).
        silent_fraction: fraction of the samples without an output spike by T.
        tie_fraction: fraction of the samples decided by an exact tie of the potentials.
        robust_accuracy: fraction of corrupted samples classified correctly; None where that is
            neither an objective nor constrained.
        traits: figures of the network that are the same at every threshold, by name, of `TRAITS`.
    """

    decision_threshold: FloatArray
    kind: tuple[str, ...]
    accuracy: FloatArray
    accuracy_silent_wrong: FloatArray
    latency: FloatArray
    latency_p95: FloatArray
    energy: FloatArray
    silent_fraction: FloatArray
    tie_fraction: FloatArray
    robust_accuracy: FloatArray | None = None
    traits: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(values) for _, values in self._items()}
        if len(lengths) != 1:
            raise ValueError(f"the columns of a curve must have equal lengths, got {lengths}")

    def __len__(self) -> int:
        return len(self.kind)

    def columns(self, names: tuple[str, ...]) -> FloatArray:
        """The named columns side by side, ``[R, len(names)]``."""
        return np.stack([getattr(self, name) for name in names], axis=1)

    def figures(self, name: str) -> FloatArray:
        """A column, or a trait in every row, ``[R]``; NaN where it was not measured."""
        column: FloatArray | None = getattr(self, name, None)
        if column is not None:
            return column
        return np.full(len(self), self.traits.get(name, math.nan))

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries, one a decision threshold."""
        for index in range(len(self)):
            yield {
                column: self.kind[index] if column == "kind" else float(values[index])
                for column, values in self._items()
            }

    def to_json(self) -> dict[str, Any]:
        """A JSON object of columns, and of traits if there are any; inf and NaN become null."""
        traits = {name: _finite(value) for name, value in self.traits.items()}
        return {
            column: list(values) if column == "kind" else [_finite(value) for value in values]
            for column, values in self._items()
        } | ({"traits": traits} if traits else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DecisionCurve:
        """The curve that `to_json` wrote."""
        # one string for all rows of all curves
        columns: dict[str, Any] = {"kind": tuple(map(sys.intern, data["kind"]))}
        for column in (name for name in (*NUMERIC_COLUMNS, ROBUST) if name in data):
            missing = math.inf if column == "decision_threshold" else math.nan
            columns[column] = np.array(
                [missing if value is None else value for value in data[column]], dtype=np.float64
            )
        traits = data.get("traits", {}).items()
        return cls(
            **columns,
            traits={name: math.nan if value is None else value for name, value in traits},
        )

    def _items(self) -> Iterator[tuple[str, Any]]:
        """The columns that were measured."""
        names = (column.name for column in fields(self) if column.name != "traits")
        found = ((name, getattr(self, name)) for name in names)
        return ((name, values) for name, values in found if values is not None)


# the columns of every curve
NUMERIC_COLUMNS = tuple(
    column.name for column in fields(DecisionCurve) if column.name not in ("kind", ROBUST, "traits")
)

# a network's firing rate, that on a blank input, and fractions of its hidden neurons
TRAITS = ("firing_rate", "blank_firing_rate", "silent_neurons", "saturated_neurons")


def _finite(value: float) -> float | None:
    """Six significant digits keep a curve's figures and a third of its size."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


@dataclass(frozen=True)
class OperatingPoint:
    """One row of one trial's curve: a network, and the decision threshold it runs at.

    Attributes:
        trial: number of the trial in its study.
        row: index of the row in the trial's curve.
        epoch: epoch after which the curve was measured.
        state: state of the trial, e.g. ``complete``.
        metrics: the row's figures, `NUMERIC_COLUMNS` without the threshold.
        params: values of the searched parameters by their dotted name.
        decision_threshold: output potential above which a class spikes.
        kind: ``first_spike`` or ``readout``.
    """

    trial: int
    row: int
    epoch: int
    state: str
    decision_threshold: float
    kind: str
    metrics: Mapping[str, float]
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EpochReport:
    """What a training reports after an epoch.

    Attributes:
        epoch: epochs trained so far, from 1.
        curve: decision curve on the validation split.
        metrics: further scalars, e.g. ``train_loss``.
        seconds: wall time of this epoch, its validation included.
        checkpoint: folder of the checkpoint written after this epoch, relative to the study's
            folder; None where none was written.
        decision_times: samples that decide at each timestep 1..T, for each row of the curve; None
            where they were not kept.
        weights: digest of the network's weights; None where no checkpoint was written.
        ran: where the training ran, in its first report after it was started or went on.
    """

    epoch: int
    curve: DecisionCurve
    metrics: Mapping[str, float]
    seconds: float
    checkpoint: str | None = None
    decision_times: tuple[tuple[int, ...], ...] | None = None
    weights: str | None = None
    ran: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "epoch": self.epoch,
            "curve": self.curve.to_json(),
            "metrics": {name: _finite(value) for name, value in self.metrics.items()},
            "seconds": round(self.seconds, 3),
            "checkpoint": self.checkpoint,
            **({"decision_times": self.decision_times} if self.decision_times else {}),
            **({"weights": self.weights} if self.weights else {}),
            **({"ran": dict(self.ran)} if self.ran else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EpochReport:
        """The report that `to_json` wrote."""
        return cls(
            epoch=data["epoch"],
            curve=DecisionCurve.from_json(data["curve"]),
            metrics={
                name: math.nan if value is None else value
                for name, value in data["metrics"].items()
            },
            seconds=data["seconds"],
            checkpoint=data["checkpoint"],
            decision_times=tuple(map(tuple, data.get("decision_times") or ())) or None,
            weights=data.get("weights"),
            ran=data.get("ran"),
        )
