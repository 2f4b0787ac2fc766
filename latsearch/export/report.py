"""What an export wrote, and what running it elsewhere showed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Check:
    """An exported file run by another framework, against our network.

    Samples whose first difference lies within 1e-5 of a threshold are counted in `near_threshold`
    alone, all others in the counts before it.

    Attributes:
        format: of the file.
        framework: what ran it, with its version.
        samples: number of samples; 0 where it was not checked.
        predictions: samples with another prediction.
        decision_times: samples that decide at another time.
        spikes: by layer, samples with other spikes.
        differing: samples with any of these differences.
        near_threshold: samples that float32 rounding at a threshold explains.
        largest_potential_difference: of the output, over the samples without a difference.
        not_checked: why the file was not run; empty where it was.
    """

    format: str
    framework: str
    samples: int = 0
    predictions: int = 0
    decision_times: int = 0
    spikes: Mapping[str, int] = field(default_factory=dict)
    differing: int = 0
    near_threshold: int = 0
    largest_potential_difference: float = 0.0
    not_checked: str = ""

    @property
    def equal(self) -> bool:
        """Whether nothing differs that float32 does not explain."""
        return not self.differing


@dataclass(frozen=True)
class ExportReport:
    """An export.

    Attributes:
        folder: where it is.
        model: name of the network.
        decision_threshold: at which it decides.
        formats: what was written.
        files: by name, each with its SHA-256.
        checks: what running them showed.
    """

    folder: Path
    model: str
    decision_threshold: float
    formats: Sequence[str]
    files: Mapping[str, str]
    checks: Sequence[Check]

    @property
    def equal(self) -> bool:
        """Whether every file that was run does what our network does."""
        return all(check.equal for check in self.checks)

    @property
    def unchecked(self) -> list[Check]:
        """The checks that could not be made."""
        return [check for check in self.checks if check.not_checked]

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the readout's threshold, infinity, is null."""
        return {
            "folder": str(self.folder),
            "model": self.model,
            "decision_threshold": finite(self.decision_threshold),
            "formats": list(self.formats),
            "files": dict(self.files),
            "equal": self.equal,
            "checks": [asdict(check) for check in self.checks],
        }


def finite(value: float) -> float | None:
    """A number for JSON, which has no infinity."""
    return value if math.isfinite(value) else None
