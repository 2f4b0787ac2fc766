"""A pipeline whose runs folder is in object storage goes on, on another machine too."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from latsearch.errors import StudyFailed
from latsearch.pipelines.context import PipelineOptions
from latsearch.pipelines.mirror import Mirror
from latsearch.pipelines.running import run_pipeline
from latsearch.pipelines.workspace import Manifest, Workspace, write_text
from latsearch.runs import local_folder
from latsearch.training import Trainer
from tests.pipelines.samples import outputs, tiny
from tests.postgres import Postgres
from tests.s3 import S3Server

SMALL = (
    ("members: 2", "members: 1"),
    ("register: {}", ""),
    (", variants: {rate: {preset: rate}}", ""),
)


@pytest.mark.slow
def test_another_machine_goes_on(
    s3: S3Server, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    alone = tmp_path / "alone"
    run_pipeline(tiny(*SMALL), PipelineOptions(runs=alone, workers=0))

    monkeypatch.setenv("LATSEARCH_STORAGE", postgres.database())
    runs = s3.uri(tmp_path.name)
    options = PipelineOptions(runs=runs, workers=0)
    save, step, saved, trained = Trainer.save, Trainer.step, [0], list[tuple[int, int]]()

    def stopped(self: Trainer, folder: Path) -> None:
        save(self, folder)
        saved[0] += 1
        if saved[0] == 4 * 3 + 4 + 2:  # the second network's second checkpoint, of one an epoch
            raise KeyboardInterrupt

    def noted(self: Trainer) -> Any:
        report = step(self)
        trained.append((self._seed, report.epoch))
        return report

    monkeypatch.setattr(Trainer, "save", stopped)
    monkeypatch.setattr(Trainer, "step", noted)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(tiny(*SMALL), options)
    before = len(trained)
    # another machine: it has the database's and the bucket's addresses, and no file of the first
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    run_pipeline(tiny(*SMALL), options)
    # the checkpoint that was being uploaded is lost, nothing else
    assert [epoch for _, epoch in trained[before:]] == [2, 3, 4]
    assert outputs(local_folder(runs)) == outputs(alone)
    # a third has nothing to do, and fetches it all
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "third"))
    run_pipeline(tiny(*SMALL), options)
    assert len(trained) == before + 3
    assert outputs(local_folder(runs)) == outputs(alone)


def stage(folder: Path, *names: str) -> None:
    workspace = Workspace(folder)
    for name in names:
        write_text(folder / name, name)
    workspace.finish(Manifest("x", "code", {}, {}, {}), names)


def test_stages_come_back_from_a_folder_as_from_a_bucket(tmp_path: Path) -> None:
    here, home = tmp_path / "here", f"file://{tmp_path}/home"
    (tmp_path / "home" / "pipeline" / "x" / "below").mkdir(parents=True)  # buckets have no folders
    stage(here / "x", "a.json", "below/b.json")
    mirror = Mirror(home, here)
    mirror.store("x")
    before = {f: f.read_bytes() for f in (here / "x").rglob("*") if f.is_file()}
    shutil.rmtree(here)
    mirror.fetch(["x", "y"])
    assert {f: f.read_bytes() for f in (here / "x").rglob("*") if f.is_file()} == before
    assert not (here / "y").exists()


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    stored = tmp_path / "home" / "pipeline" / "x"
    stored.mkdir(parents=True)
    (stored / "manifest.json").write_text('{"outputs": {"../../stolen": "0"}}')
    mirror = Mirror(f"file://{tmp_path}/home", tmp_path / "here")
    with pytest.raises(StudyFailed, match="leads out of"):
        mirror.fetch(["x"])
    assert not (tmp_path / "stolen").exists()
