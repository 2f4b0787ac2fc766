"""Studies in a runs folder in object storage: found, listed, put aside, removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from latsearch.errors import StudyError
from latsearch.runs import (
    find_study,
    home_of,
    list_studies,
    local_folder,
    put_aside,
    remove_study,
    study_folder,
)
from latsearch.search.storage import Study
from tests.s3 import S3Server
from tests.search import studies


@pytest.fixture
def runs(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return s3.uri(tmp_path.name)


def new_study(runs: str, name: str, database: Path) -> Study:
    config = studies.config().model_copy(update={"storage": f"sqlite:///{database}"})
    folder = study_folder(runs, name)
    return Study.create(folder, config, studies.REFERENCE, home_of(runs, name))


def weights(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("weights")


def test_another_machine_finds_what_is_there(
    runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(runs, "one", tmp_path / "studies.db")
    new_study(runs, "two", tmp_path / "studies.db")
    name = study.checkpoints.save(0, 3, weights)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert [folder.name for folder in list_studies(runs)] == ["one", "two"]
    found = Study.open(find_study("one", runs))
    assert found.name == study.name
    fetched = found.checkpoints.fetched(name)
    assert fetched is not None
    assert fetched.is_relative_to(tmp_path / "elsewhere")
    path, _, query = runs.partition("?")
    assert Study.open(find_study(f"{path}/two?{query}")).name != study.name
    with pytest.raises(StudyError, match=r"three: no such study; there are one, two"):
        find_study("three", runs)


def test_put_aside_and_removed(runs: str, tmp_path: Path) -> None:
    old = new_study(runs, "one", tmp_path / "studies.db")
    kept = old.checkpoints.save(0, 3, weights)
    aside = put_aside(study_folder(runs, "one"))
    assert aside is not None
    new = new_study(runs, "one", tmp_path / "studies.db")
    assert new.name != old.name
    assert list(new.checkpoints.names(0)) == []  # the objects of the old one are not the new one's
    again = Study.open(find_study(aside.name, runs))
    assert again.name == old.name
    assert again.checkpoints.fetched(kept) is not None
    remove_study(find_study("one", runs))
    assert [folder.name for folder in list_studies(runs)] == [aside.name]
    assert again.checkpoints.names(0) == [kept]


def test_a_study_that_was_removed_elsewhere_is_gone_here(
    runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_study(runs, "one", tmp_path / "studies.db")
    here = local_folder(runs)
    assert (here / "one" / "study.json").is_file()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    remove_study(find_study("one", runs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(StudyError, match="one: no such study"):
        find_study("one", runs)


def test_a_local_runs_folder_is_itself(tmp_path: Path) -> None:
    assert local_folder(tmp_path) == tmp_path
    assert local_folder("runs") == Path("runs")
    assert home_of(tmp_path, "one") is None
