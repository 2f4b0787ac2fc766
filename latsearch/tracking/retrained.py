"""Networks of a front that were trained anew, for the model registry (no mlflow)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Retrained:
    """A network of the front that was trained anew.

    Attributes:
        name: what it is called.
        folder: of its weights.
        weights: digest of these.
        seed: of the training.
        tags: further figures by name, e.g. those on the test split.
    """

    name: str
    folder: Path
    weights: str
    seed: int
    tags: Mapping[str, str]
