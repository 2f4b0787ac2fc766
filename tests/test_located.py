"""Networks by name, and the file that says how they are run."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from latsearch.config import DataConfig
from latsearch.errors import UserError
from latsearch.located import DEPLOYMENT_FILE, Deployment, locate, open_model
from tests.trained import trained_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_study(tmp_path_factory.mktemp("user"))


@pytest.mark.parametrize("threshold", [0.0, 2.5, math.inf])
def test_a_deployment_survives_its_file(tmp_path: Path, threshold: float) -> None:
    deployment = Deployment(
        decision_threshold=threshold,
        energy_profile="loihi",
        class_names=("T-shirt", "größer"),
        data=DataConfig(name="digits", validation=0.3),
        note="by hand",
    )
    assert Deployment.read(tmp_path) is None
    deployment.write(tmp_path)
    assert Deployment.read(tmp_path) == deployment
    assert "Infinity" not in (tmp_path / DEPLOYMENT_FILE).read_text()


def test_the_folder_of_the_data_stays_here(tmp_path: Path) -> None:
    data = DataConfig(name="digits", root="/home/somebody")
    Deployment(decision_threshold=1.0, data=data).write(tmp_path)
    assert "somebody" not in (tmp_path / DEPLOYMENT_FILE).read_text()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "format version 1"),
        ('{"version": 2, "decision_threshold": 1}', "format version 1"),
        ('{"version": 1}', "decision_threshold"),
        ('{"version": 1, "decision_threshold": "low"}', "decision_threshold"),
        ('{"version": 1, "decision_threshold": NaN}', "not a number"),
        ('{"version": 1, "decision_threshold": 1, "energy_profile": "x"}', "known are horowitz"),
        ('{"version": 1, "decision_threshold": 1, "data": {"name": "x"}}', "data.name"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / DEPLOYMENT_FILE).write_text(content)
    with pytest.raises(UserError) as caught:
        Deployment.read(tmp_path)
    assert str(tmp_path / DEPLOYMENT_FILE) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trial_and_its_folder_are_one_network(study: Path, tmp_path: Path) -> None:
    trial = locate(f"{study}:0")
    folder = locate(trial.checkpoint)
    assert folder.record == trial.record
    assert folder.threshold() == trial.threshold()
    assert trial.profile.name == "horowitz-45nm-fp32"
    # measured anew, the knee of the curve is the stored one's, which has six digits
    assert open_model(f"{study}:0").threshold() == pytest.approx(trial.threshold(), rel=1e-5)

    copy = shutil.copytree(trial.checkpoint, tmp_path / "copy")
    with pytest.raises(UserError, match="no decision threshold"):
        locate(copy).threshold()
    Deployment(decision_threshold=1.25).write(copy)
    assert locate(copy).threshold() == 1.25
    assert open_model(copy).threshold() == 1.25
    assert open_model(copy).threshold(3.0) == 3.0


def test_what_is_no_network_is_said(study: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no trial 9"):
        locate(f"{study}:9")
    with pytest.raises(UserError, match="neither a trial"):
        locate(tmp_path)


def test_a_network_of_data_without_a_name_says_so(study: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(locate(f"{study}:0").checkpoint, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    del config["sha256"]  # of files written before there were digests
    (copy / "config.json").write_text(json.dumps({**config, "dataset": "mine"}))
    with pytest.raises(UserError, match="name the network as RUN:TRIAL"):
        open_model(copy)
    data = DataConfig(name="digits", validation=0.25)
    Deployment(decision_threshold=1.0, data=data).write(copy)
    assert open_model(copy).config == data
