"""Robustness in the report: what evaluations have left in the study's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latsearch.report import gather, report_page
from latsearch.report.robustness import read_robustness
from tests.report.conftest import NewStudy, filled

MEASURED = {
    "model": "synthetic:3",
    "corruptions": "drawn <here>",
    "decision_threshold": None,
    "samples": 1000,
    "summary": {"mean_corruption_error": 0.3},
    "rows": [
        {"corruption": name, "group": "g", "severity": severity, "accuracy": accuracy,
         "latency": latency, "energy": 20.0 * latency, "silent_fraction": 0.0}
        for name, severity, accuracy, latency in (
            ("clean", 0, 0.91, 1.0),
            ("gaussian_noise", 2, 0.6, 1.5),
            ("gaussian_noise", 1, 0.8, 1.1),
        )
    ],
}  # fmt: skip


def test_means_over_severities(tmp_path: Path) -> None:
    (tmp_path / "robustness-3.json").write_text(json.dumps(MEASURED))
    [measured], strange = read_robustness(tmp_path)
    assert strange == []
    clean, noise = measured.rows
    assert (clean.corruption, clean.accuracy) == ("clean", 0.91)
    assert noise.accuracies == [0.8, 0.6]
    assert noise.accuracy == pytest.approx(0.7)
    assert (noise.latency, noise.energy) == (pytest.approx(1.3), pytest.approx(26.0))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [1]}', "\x00"])
def test_other_files_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "robustness-x.json").write_text(text)
    assert read_robustness(tmp_path) == ([], ["robustness-x.json"])


def test_the_report_shows_it(new_study: NewStudy) -> None:
    study = filled(new_study()).study
    assert "Not measured." in report_page(gather(study))
    (study.folder / "robustness-3.json").write_text(json.dumps(MEASURED))
    (study.folder / "robustness-bad.json").write_text("{}")
    page = report_page(gather(study))
    assert "Not measured." not in page
    assert "gaussian noise" in page
    assert "drawn &lt;here&gt;" in page
    assert "robustness-bad.json is no evaluation" in page
