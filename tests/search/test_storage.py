"""The study's storage: what is written is there, once, after any kill."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from latsearch.config import parse_study
from latsearch.errors import StudyError
from latsearch.objectives import EpochReport
from latsearch.search.checkpoints import trial_folder
from latsearch.search.storage import Study
from latsearch.search.trials import TrialState
from tests.search import studies

VALUES = {"network.family": "mlp", "network.timesteps": 2, "network.hidden": 16, "train.lr": 0.01}


@pytest.fixture(params=["journal", "sqlite"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Study:
    config = studies.config()
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/study.db"
        config = config.model_copy(update={"storage": url})
    return studies.new_study(tmp_path / "study", config)


def reopened(study: Study) -> Study:
    return Study.open(study.folder, drive=True)


def test_a_new_study_is_there_when_opened_again(study: Study) -> None:
    again = reopened(study)
    assert again.config == study.config
    assert again.reference == studies.REFERENCE
    assert again.trials() == []


def test_reports_and_values_survive(study: Study) -> None:
    token = study.start_session()
    number = study.new_trial(VALUES)
    first = studies.report(VALUES, 1)
    study.append_report(number, first, token)
    study.append_report(number, studies.report(VALUES, 2, "trials/00000/00002"), token)
    (record,) = reopened(study).trials()
    assert record.values == VALUES
    assert record.state is TrialState.RUNNING
    assert record.epoch == 2
    assert record.checkpoint == "trials/00000/00002"
    assert record.curve is not None
    assert record.curve.decision_threshold[-1] == math.inf
    assert EpochReport.from_json(record.log[1]).metrics == first.metrics
    assert [entry["sequence"] for entry in record.log.values()] == [1, 2]


def test_optuna_sees_the_knee_row(study: Study) -> None:
    token = study.start_session()
    number = study.new_trial(VALUES)
    study.append_report(number, studies.report(VALUES, 3), token)
    (record,) = study.trials()
    study.end_trial(record, TrialState.COMPLETE)
    (trial,) = reopened(study)._study.trials
    rows = studies.made_up_curve(VALUES, 3).columns(("accuracy", "latency", "energy"))
    assert any(trial.values == pytest.approx(row, rel=1e-5) for row in rows[:2])  # not the silent


def test_failed_trials_keep_reason_and_trace(study: Study) -> None:
    study.start_session()
    number = study.new_trial(VALUES)
    study.fail_trial(number, "OutOfMemoryError: 3 GB", "Traceback ...")
    (record,) = reopened(study).trials()
    assert (record.state, record.reason) == (TrialState.FAILED, "OutOfMemoryError: 3 GB")
    assert record.trace == "Traceback ..."


def test_a_line_that_a_killed_driver_did_not_finish_is_cut_off(tmp_path: Path) -> None:
    study = studies.new_study(tmp_path / "study")
    study.start_session()
    study.new_trial(VALUES)
    journal = study.folder / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 5, "half a li')
    assert len(Study.open(study.folder).trials()) == 1  # readers need no repair
    again = reopened(study)
    assert journal.read_bytes() == whole
    again.start_session()
    again.new_trial(VALUES)
    assert len(reopened(study).trials()) == 2


def test_a_creation_that_was_killed_is_no_study(tmp_path: Path) -> None:
    study = studies.new_study(tmp_path / "study")
    (study.folder / "study.json").unlink()
    assert not Study.exists(study.folder)
    with pytest.raises(StudyError, match="no study here"):
        Study.open(study.folder)
    assert studies.new_study(tmp_path / "study").trials() == []


def test_a_newer_format_is_refused(study: Study) -> None:
    header = study.folder / "study.json"
    header.write_text(json.dumps({**json.loads(header.read_text()), "version": 2}))
    with pytest.raises(StudyError, match="written in format 2, this latsearch reads 1"):
        Study.open(study.folder)


def test_a_damaged_header_or_storage_is_one_line(study: Study, tmp_path: Path) -> None:
    (study.folder / "study.json").write_text("{not json")
    with pytest.raises(StudyError, match="cannot be read"):
        Study.open(study.folder)
    other = studies.new_study(tmp_path / "other")
    (other.folder / "study.journal").unlink()
    with pytest.raises(StudyError, match="damaged or gone"):
        Study.open(other.folder)


def test_what_may_change_may_change(study: Study) -> None:
    more = parse_study(studies.CONFIG.replace("trials: 12", "trials: 50"))
    again = reopened(study)
    again.adopt(more.model_copy(update={"storage": study.config.storage}))
    assert reopened(study).config.search.trials == 50


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("high: 4}", "high: 8}", "network.timesteps.high: 4 → 8"),
        ("name: digits", "name: cifar10", 'data.name: "digits" → "cifar10"'),
        ("epochs: 3", "epochs: 9", "train.epochs: 3 → 9"),
        ("max: 0.1", "max: 0.2", "constraints.silent_fraction.max: 0.1 → 0.2"),
    ],
)
def test_what_may_not_change_is_told_as_a_difference(
    study: Study, old: str, new: str, told: str
) -> None:
    changed = parse_study(studies.CONFIG.replace(old, new))
    with pytest.raises(StudyError) as caught:
        reopened(study).adopt(changed)
    assert told in str(caught.value)
    assert "--fresh" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checkpoints_without_a_report_are_removed_when_driving_again(study: Study) -> None:
    token = study.start_session()
    number = study.new_trial(VALUES)
    for epoch in (2, 4):
        folder = study.folder / trial_folder(number) / f"{epoch:05d}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
    aside = study.folder / trial_folder(number) / ".00006-35d4d9420ab24831a60475eb127a0ce4"
    aside.mkdir()  # its worker was killed as it wrote
    study.append_report(number, studies.report(VALUES, 2, f"{trial_folder(number)}/00002"), token)
    reopened(study).start_session()
    assert [p.name for p in (study.folder / trial_folder(number)).iterdir()] == ["00002"]


@pytest.mark.parametrize("keep_weights", [True, False])
def test_an_ended_trial_keeps_at_most_its_newest_weights(study: Study, keep_weights: bool) -> None:
    token = study.start_session()
    number = study.new_trial(VALUES)
    for epoch in (2, 3):
        checkpoint = f"{trial_folder(number)}/{epoch:05d}"
        (study.folder / checkpoint).mkdir(parents=True)
        for name in ("model.safetensors", "state.pt", "config.json"):
            (study.folder / checkpoint / name).touch()
        aside = study.folder / trial_folder(number) / f".{epoch:05d}-35d4d9420ab24831a60475eb127a0"
        aside.mkdir()
        (aside / "model.safetensors").touch()
        study.append_report(number, studies.report(VALUES, epoch, checkpoint), token)
    (record,) = study.trials()
    study.trim_checkpoints(record, keep_weights)
    files = sorted(str(p.relative_to(study.folder)) for p in study.folder.rglob("*.*"))
    left = [file for file in files if file.startswith("trials")]
    if keep_weights:
        assert left == ["trials/00000/00003/config.json", "trials/00000/00003/model.safetensors"]
        assert study.checkpoint(record).name == "00003"
    else:
        assert left == []
        with pytest.raises(StudyError, match="its weights are not there"):
            study.checkpoint(record)


def test_wall_time_is_the_sum_of_the_sessions_up_to_their_last_report(study: Study) -> None:
    for _ in range(2):
        again = reopened(study)
        token = again.start_session()
        again.append_report(again.new_trial(VALUES), studies.report(VALUES, 1), token)
    records = reopened(study).trials()
    assert 0 < study.seconds(records) < 60
    assert {entry["session"] for r in records for entry in r.log.values()} == {1, 2}
