"""Synthetic studies for reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tracking import synthetic
from tests.tracking.synthetic import SyntheticStudy

NewStudy = Callable[..., SyntheticStudy]


@pytest.fixture
def new_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewStudy:
    """Makes an empty synthetic study, of other objectives or constraints if wanted."""

    def make(*, objectives: str | None = None, constraints: str | None = None) -> SyntheticStudy:
        lines = synthetic.YAML.splitlines()
        given = {"objectives": objectives, "constraints": constraints}
        for key, value in given.items():
            if value is not None:
                lines = [f"{key}: {value}" if ln.startswith(f"{key}:") else ln for ln in lines]
        monkeypatch.setattr(synthetic, "YAML", "\n".join(lines))
        return SyntheticStudy(tmp_path / "runs" / "synthetic")

    return make


def filled(study: SyntheticStudy) -> SyntheticStudy:
    """The study with complete, pruned, failed and running trials."""
    for _ in range(14):
        study.trial(checkpoint=True)
    number = study.start()
    study.report(number, 1)
    study.prune(number)
    study.fail(study.start(), "CUDA out of memory")
    study.report(study.start(), 1)
    return study
