"""A pipeline does what has changed and nothing else, and goes on where it was interrupted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latsearch.config.pipeline import PipelineConfig
from latsearch.errors import StudyError, UserError
from latsearch.pipelines import workspace
from latsearch.pipelines.context import PipelineOptions
from latsearch.pipelines.running import pipeline_standing, run_pipeline
from latsearch.search.storage import Study
from latsearch.training import Trainer
from tests.pipelines.samples import log, outputs, run, tiny

LATER = ["register", "report"]
STAGES = ["search", "refit", "test", "robustness", "select", *LATER]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with the finished pipeline; not to be changed."""
    runs = tmp_path_factory.mktemp("pipeline")
    result = run(runs)
    assert list(result.stages) == STAGES
    assert result.report is not None
    assert result.report.is_file()
    return runs


@pytest.fixture
def runs(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "runs"))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Network and epoch of every epoch that is trained from now on."""
    seen: list[tuple[str, int]] = []
    step = Trainer.step

    def noted(self: Trainer) -> Any:
        report = step(self)
        seen.append((f"{self.trial.network} {self._seed}", report.epoch))
        return report

    monkeypatch.setattr(Trainer, "step", noted)
    return seen


def manifest(runs: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (runs / "tiny" / "pipeline" / stage / "manifest.json").read_text()
    )
    return found


def test_each_stage_says_what_it_was_made_from(whole: Path) -> None:
    there = outputs(whole)
    for stage in STAGES:
        said = manifest(whole, stage)
        mine = {n for n in there if n.startswith(f"{stage}/")} - {f"{stage}/manifest.json"}
        assert {f"{stage}/{name}" for name in said["outputs"]} == mine
        assert all(there[f"{stage}/{name}"] == d for name, d in said["outputs"].items())
        assert all(there[name] == digest for name, digest in said["inputs"].items())
    assert "refit/points.json" in manifest(whole, "test")["inputs"]


def test_nothing_is_selected_on_the_test_split(whole: Path) -> None:
    for stage in ("search", "refit", "robustness", "select"):
        assert not [name for name in manifest(whole, stage)["inputs"] if name.startswith("test/")]


def test_a_finished_pipeline_has_nothing_to_do(runs: Path, trained: list[tuple[str, int]]) -> None:
    before, did = outputs(runs), log(runs)
    run(runs)
    assert outputs(runs) == before
    assert log(runs) == did
    assert trained == []
    _, standing = pipeline_standing(tiny(), PipelineOptions(runs=runs))
    assert [(stage.name, stage.reason) for stage in standing] == [(name, None) for name in STAGES]


@pytest.mark.parametrize(
    ("change", "again", "networks"),
    [
        (("max: 0.5", "max: 0.4"), ["select", *LATER], 0),
        (("samples: 60", "samples: 50"), ["robustness", "select", *LATER], 0),
        (("seeds: 2", "seeds: 1"), ["refit", "test", "robustness", "select", *LATER], 0),
        (("seeds: 2", "seeds: 3"), ["refit", "test", "robustness", "select", *LATER], 3),
        (("rate: {preset: rate}", "t: {train.loss: tet}"),
         ["refit", "test", "robustness", "select", *LATER], 2),
    ],
)  # fmt: skip
def test_changed_settings_run_a_stage_and_what_depends_on_it(
    runs: Path,
    trained: list[tuple[str, int]],
    change: tuple[str, str],
    again: list[str],
    networks: int,
) -> None:
    before = log(runs)
    _, standing = pipeline_standing(tiny(change), PipelineOptions(runs=runs))
    reason = next(stage.reason for stage in standing if stage.reason)
    assert "→" in reason  # the setting, as it was and is
    run(runs, change)
    ran = [entry.split()[0] for entry in log(runs)[len(before) :] if entry.endswith("start")]
    assert [stage for stage in again if stage in ran] == ran
    assert ran[0] == again[0]
    assert len(trained) == 4 * networks  # of four epochs each
    run(runs)  # and back
    assert outputs(runs).keys() == outputs(runs.parent / "runs").keys()


@pytest.mark.parametrize("stage", STAGES)
def test_changed_and_missing_outputs_are_made_again(
    runs: Path, stage: str, trained: list[tuple[str, int]]
) -> None:
    before, did = outputs(runs), len(log(runs))
    folder = runs / "tiny" / "pipeline" / stage
    files = [folder / name for name in manifest(runs, stage)["outputs"]]
    for file in files[::3]:
        file.write_bytes(file.read_bytes().replace(b"0", b"1"))
    for file in files[1::3]:
        file.unlink()
    run(runs)
    assert outputs(runs) == before
    assert log(runs)[did:] == [f"{stage} start", f"{stage} end"]  # what follows saw the same
    assert bool(trained) == (stage == "refit")


def interrupted_at(count: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have the process end at the count-th file that a stage writes; take that back with the call.

    The file is left half written beside its place, as a kill would.
    """
    left = [count]
    whole = workspace.write_text

    def write(file: Path, text: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.with_name(f".{file.name}.part").write_text(text[: len(text) // 2])
            raise KeyboardInterrupt
        whole(file, text)

    monkeypatch.setattr(workspace, "write_text", write)
    return lambda: monkeypatch.setattr(workspace, "write_text", whole)


def test_interrupted_at_every_file_it_gives_the_same(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[tuple[str, int]]
) -> None:
    runs, times = tmp_path / "runs", 0
    while True:
        restore = interrupted_at(1 + times % 3 + (times > 0), monkeypatch)
        try:
            run(runs)
        except KeyboardInterrupt:
            times += 1
        else:
            break
        finally:
            restore()
    assert times > 10
    assert outputs(runs) == outputs(whole)
    # 4 trials of 3 epochs, 6 networks of 4, each epoch once
    assert len(trained) == len(set(trained)) == 4 * 3 + 6 * 4


def test_interrupted_in_a_training_it_goes_on_from_the_checkpoint(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[tuple[str, int]]
) -> None:
    runs = Path(shutil.copytree(whole, tmp_path / "runs"))
    shutil.rmtree(runs / "tiny" / "pipeline" / "refit")
    save, left = Trainer.save, [3]

    def stopped(self: Trainer, folder: Path) -> None:
        save(self, folder)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(runs)
    assert [epoch for _, epoch in trained] == [1, 2, 3]
    run(runs)
    assert [epoch for _, epoch in trained[3:]] == [4, *([1, 2, 3, 4] * 5)]
    assert outputs(runs) == outputs(whole)


def test_until_stops_after_a_stage(tmp_path: Path) -> None:
    result = run(tmp_path, until="search")
    assert result.report is None
    assert log(tmp_path) == ["search start", "search end"]
    with pytest.raises(UserError, match="--until export: the stages are search, refit"):
        run(tmp_path, until="export")


def test_fresh_puts_study_and_pipeline_aside(runs: Path) -> None:
    config: PipelineConfig = tiny()
    options = PipelineOptions(runs=runs, workers=0, until="search", fresh=True)
    result = run_pipeline(config, options)
    assert result.put_aside is not None
    assert (result.put_aside / "pipeline" / "report" / "report.md").is_file()
    assert Study.exists(result.put_aside)
    assert not (runs / "tiny" / "pipeline" / "refit").exists()


def test_one_driver(runs: Path) -> None:
    from latsearch.search.lock import DriverLock

    with (
        DriverLock(runs / "tiny" / "pipeline"),
        pytest.raises(StudyError, match="another `latsearch pipeline` is at it"),
    ):
        run(runs)


def test_a_bound_that_no_point_keeps(runs: Path) -> None:
    with pytest.raises(UserError, match="no operating point keeps them; the nearest has latency"):
        run(runs, ("silent_fraction: {max: 0.5}", "latency: {max: 0.5}"))


def test_other_data_than_the_search_saw_are_refused(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import latsearch.pipelines.context as context

    digests = context.data_digests

    def other(splits: Any) -> dict[str, str]:
        return {**digests(splits), "validation": "another"}

    monkeypatch.setattr(context, "data_digests", other)
    with pytest.raises(StudyError, match="the validation split of digits is not what the search"):
        run(runs, ("seeds: 2", "seeds: 1"))


def test_registered_networks_answer_as_the_retrained_ones_do(whole: Path) -> None:
    import mlflow

    from latsearch.config import PROFILES
    from latsearch.data import load
    from latsearch.evaluation import load_checkpoint
    from latsearch.pipelines.points import threshold_of

    folder = whole / "tiny" / "pipeline"
    versions = json.loads((folder / "register" / "registered.json").read_text())["versions"]
    chosen = json.loads((folder / "select" / "selected.json").read_text())["points"]
    assert sorted(alias for one in versions for alias in one["aliases"]) == sorted(
        rule for one in chosen for rule in one["rules"]
    )
    config, _ = pipeline_standing(tiny(), PipelineOptions(runs=whole))
    images = load(config.study_config.data).validation.images[:50]
    mlflow.set_tracking_uri(f"sqlite:///{whole}/mlflow.db")
    try:
        for version, one in zip(versions, chosen, strict=True):
            answers = mlflow.pyfunc.load_model(version["uri"]).predict(images)
            network = load_checkpoint(folder / "refit" / "networks" / one["network"])
            profile = PROFILES[config.study_config.energy.profile]
            decision, energy = network.predict(
                images, threshold_of(one["decision_threshold"]), profile
            )
            assert (answers["prediction"] == decision.prediction).all()
            assert (answers["decision_time"] == decision.decision_time).all()
            assert answers["energy"].to_numpy() == pytest.approx(energy)
    finally:
        mlflow.set_tracking_uri(None)


@pytest.mark.slow
def test_the_delivered_networks_are_exported_with_their_cards(tmp_path: Path) -> None:
    from latsearch.located import locate

    changes = (
        ("family: mlp", "family: mlp\n      target: nir\n      synapse: delta"),
        ("rate: {preset: rate}", "tet: {train.loss: tet}"),
        ("register: {}", "export: {formats: [safetensors, nir], samples: 40}"),
    )
    run(tmp_path, *changes)
    folder = tmp_path / "tiny" / "pipeline"
    exports = json.loads((folder / "export" / "exports.json").read_text())["exports"]
    chosen = json.loads((folder / "select" / "selected.json").read_text())["points"]
    assert [one["folder"] for one in exports] == [one["rules"][0] for one in chosen]
    for one, point in zip(exports, chosen, strict=True):
        there = folder / "export" / one["folder"]
        assert (there / "network.nir").is_file()
        assert one["equal"]
        frameworks = {check["framework"].split()[0] for check in one["checks"]}
        assert {"spikingjelly", "snntorch"} <= frameworks
        for check in one["checks"]:
            assert (check["samples"], check["differing"]) == (40, 0)
        model = locate(there)
        assert model.deployment is not None
        assert model.deployment.decision_threshold == point["decision_threshold"]
        assert model.load().info.seed == point["seed"]
        card = json.loads((there / "model_card.json").read_text())
        tested = json.loads((folder / "test" / "table.json").read_text())["rows"]
        row = next(
            r for r in tested if (r["member"], r["point"]) == (point["member"], point["point"])
        )
        assert card["results"]["accuracy"]["mean"] == pytest.approx(row["test"]["mean"]["accuracy"])
        assert card["seeds"][0]["seed"] == point["seed"]
    report = (folder / "report" / "report.md").read_text()
    assert "| knee" in report
    assert "these trainings have 4 epochs, whatever the search gave them" in report
    before = outputs(tmp_path)
    shutil.rmtree(folder / "export" / exports[-1]["folder"])
    run(tmp_path, *changes)
    assert outputs(tmp_path) == before
