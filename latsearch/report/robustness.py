"""What `latsearch evaluate RUN:TRIAL --corruptions --json` has measured of a study's networks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

PATTERN = "robustness*.json"  # in the study's folder


@dataclass(frozen=True)
class CorruptionRow:
    """A network's figures under one corruption, means over its severities.

    Attributes:
        corruption: its name; ``clean`` for none.
        accuracies: by rising severity.
        latency: mean decision time in timesteps.
        energy: nJ an inference.
        silent_fraction: part of the samples without an output spike.
    """

    corruption: str
    accuracies: Sequence[float]
    latency: float
    energy: float
    silent_fraction: float

    @property
    def accuracy(self) -> float:
        """Mean over the severities."""
        return fmean(self.accuracies)


@dataclass(frozen=True)
class MeasuredRobustness:
    """One file of an evaluation.

    Attributes:
        model: what was measured.
        label: whose corruptions they are; empty where none were measured.
        samples: number of test samples.
        decision_threshold: that it ran at; None for the readout.
        rows: the clean samples first.
    """

    model: str
    label: str
    samples: int
    decision_threshold: float | None
    rows: Sequence[CorruptionRow]


def read_robustness(folder: Path) -> tuple[list[MeasuredRobustness], list[str]]:
    """Evaluations in a study's folder by file name, and the files that are none."""
    found: list[MeasuredRobustness] = []
    strange: list[str] = []
    for file in sorted(folder.glob(PATTERN)):
        try:
            found.append(_measured(json.loads(file.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError):
            strange.append(file.name)
    return found, strange


def _measured(data: dict[str, Any]) -> MeasuredRobustness:
    names = list(dict.fromkeys(str(row["corruption"]) for row in data["rows"]))
    threshold = data["decision_threshold"]
    return MeasuredRobustness(
        model=str(data["model"]),
        label=str(data["corruptions"]),
        samples=int(data["samples"]),
        decision_threshold=None if threshold is None else float(threshold),
        rows=[_row(name, [r for r in data["rows"] if r["corruption"] == name]) for name in names],
    )


def _row(name: str, rows: Sequence[dict[str, Any]]) -> CorruptionRow:
    by_severity = sorted(rows, key=lambda row: int(row["severity"]))
    return CorruptionRow(
        corruption=name.replace("_", " "),
        accuracies=[float(row["accuracy"]) for row in by_severity],
        latency=fmean(float(row["latency"]) for row in rows),
        energy=fmean(float(row["energy"]) for row in rows),
        silent_fraction=fmean(float(row["silent_fraction"]) for row in rows),
    )
