"""What a study's parent run gets beside its tables."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from latsearch import api
from latsearch.report import attach_report
from latsearch.tracking import default_uri
from tests.report.conftest import NewStudy, filled


def test_the_report_and_importances(new_study: NewStudy, tmp_path: Path) -> None:
    study = filled(new_study()).study
    attach_report(study, tmp_path)
    assert "<title>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")


def test_importances_wait_for_enough_trials(new_study: NewStudy, tmp_path: Path) -> None:
    made = new_study()
    made.trial()
    attach_report(made.study, tmp_path)
    assert (tmp_path / "report.html").is_file()
    assert not (tmp_path / "importance.png").exists()


def test_publishing_attaches_them(new_study: NewStudy) -> None:
    study = filled(new_study()).study
    report = api.publish(study.folder)
    uri = default_uri(study.folder.parent)
    there = {file.path for file in MlflowClient(uri).list_artifacts(report.run_id)}
    assert {"report.html", "importance.png", "study.yaml", "pareto"} <= there
