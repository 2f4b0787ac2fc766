"""Studies of every format that was ever released open, are shown, and go on (tests/fixtures)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import optuna
import pytest

import latsearch
from latsearch import api
from latsearch.errors import StudyError
from latsearch.search.formats import FORMAT
from latsearch.search.storage import Study
from latsearch.search.trials import TrialState
from latsearch.snn.checkpoint import CheckpointError, read_info
from tests.test_cli import latsearch as command

FIXTURES = Path(__file__).parent / "fixtures"
STUDIES = sorted(file.parent for file in FIXTURES.glob("format*/*/study.json"))


@pytest.fixture(params=STUDIES, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a study; the working folder is its own, where sqlite's file is looked for."""
    copied = tmp_path / "runs" / request.param.name
    shutil.copytree(request.param, copied)
    monkeypatch.chdir(copied)
    return copied


def test_there_are_fixtures_of_every_format() -> None:
    names = {(folder.parent.name, folder.name) for folder in STUDIES}
    for version in range(1, FORMAT + 1):
        assert {(f"format{version}", "journal"), (f"format{version}", "sqlite")} <= names


def test_a_study_is_shown(folder: Path) -> None:
    status = api.status(folder)
    counts = (status.complete, status.pruned, status.failed, status.interrupted, status.refused)
    assert counts == (1, 2, 1, 1, 0)
    assert status.hypervolume > 1
    front = api.front(folder)
    assert len(front) == status.front > 0
    chosen = api.select(folder, "most-accurate")
    assert chosen["accuracy"] == front[0].metrics["accuracy"]
    assert (Path(chosen["weights"]) / "model.safetensors").is_file()
    assert api.report(folder).stat().st_size > 10_000


@pytest.mark.slow
def test_its_networks_give_what_was_measured(folder: Path) -> None:
    best = api.front(folder)[0]
    found = api.evaluate(f"{folder}:{best.trial}", api.EvaluationOptions(samples=100))
    assert found is not None
    network = api.load(folder, best.trial)
    splits = latsearch.data.load(Study.open(folder).config.data)
    curve = network.curve(splits.validation)
    row = int(np.argmin(abs(curve.decision_threshold - best.decision_threshold)))
    assert curve.accuracy[row] == pytest.approx(best.metrics["accuracy"], abs=0.02)


def test_it_goes_on(folder: Path) -> None:
    before = {r.number: r.log for r in Study.open(folder).trials() if r.state.finished}
    interrupted = Study.open(folder).trials()[-1]
    assert interrupted.checkpoint == f"trials/{interrupted.number:05d}/00003"
    config = Study.open(folder).config
    options = api.RunOptions(runs=folder.parent, workers=0, trials=7)
    result = api.run(config, options)
    assert result.finished
    after = Study.open(folder).trials()
    assert [r.number for r in after] == list(range(7))
    assert all(r.state.finished for r in after)
    assert {number: after[number].log for number in before} == before  # nothing was done twice
    gone_on = after[interrupted.number]
    assert gone_on.state in (TrialState.COMPLETE, TrialState.PRUNED)
    assert {k: gone_on.log[k] for k in (1, 2, 3)} == interrupted.log


def test_a_newer_format_is_one_line(folder: Path) -> None:
    header = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**header, "version": FORMAT + 1}))
    for show in (api.status, api.front, api.report):
        with pytest.raises(StudyError, match=f"written in format {FORMAT + 1}, this latsearch"):
            show(folder)
    done = command("status", folder)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"written in format {FORMAT + 1}, this latsearch reads {FORMAT};" in line
    assert line.endswith("install the version that wrote it")


def with_config(folder: Path, **changes: object) -> None:
    """Store another configuration with a study, as another version would have."""
    study = Study.open(folder)._study
    study.set_user_attr("config", {**study.user_attrs["config"], **changes})
    study.set_user_attr("latsearch", "0.9.0")


def test_fields_of_a_newer_version_are_left_out_but_not_by_who_drives(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = {**Study.open(folder).config.run.model_dump(mode="json"), "teleport": None}
    with_config(folder, run=run, colour="green")
    study = Study.open(folder)
    assert "written by latsearch 0.9.0; run.teleport, colour is not known here" in caplog.text
    assert len(study.trials()) == 5
    with pytest.raises(StudyError, match=r"does not know run.teleport, colour; install that"):
        Study.open(folder, drive=True)


def test_values_of_a_newer_version_are_one_line(folder: Path) -> None:
    search = Study.open(folder).config.search.model_dump(mode="json")
    with_config(folder, search={**search, "sampler": "oracle"})
    with pytest.raises(StudyError) as caught:
        Study.open(folder)
    (line,) = str(caught.value).splitlines()
    assert "written by latsearch 0.9.0" in line
    assert "does not take search.sampler" in line


def test_keys_that_a_newer_version_added_do_not_matter(folder: Path) -> None:
    header = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**header, "mood": "good"}))
    optuna_study = Study.open(folder)._study
    optuna_study.set_user_attr("mood", "good")
    trial = optuna_study.get_trials(deepcopy=False)[-1]
    entry = {**trial.user_attrs["report:000003"], "mood": "good"}
    entry["curve"] = {**entry["curve"], "mood": [0.5] * len(entry["curve"]["kind"])}
    storage = optuna_study._storage
    storage.set_trial_user_attr(trial._trial_id, "report:000003", entry)
    storage.set_trial_user_attr(trial._trial_id, "mood", "good")
    study = Study.open(folder)
    assert study.trials()[-1].curve is not None
    assert isinstance(study._study, optuna.Study)


def test_a_newer_checkpoint_is_one_line(folder: Path) -> None:
    file = folder / "trials" / "00000" / "00004" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 2}))
    with pytest.raises(CheckpointError) as caught:
        read_info(file.parent)
    assert caught.value.exit_code == 2
    assert "written in format 2, this latsearch reads 1; install" in str(caught.value)
