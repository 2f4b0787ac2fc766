"""Pipeline files: those that ship are valid, every fault is told at once, with its line."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from latsearch.config import load_study
from latsearch.config.pipeline import is_pipeline, load_pipeline, parse_pipeline, pipeline_schema
from latsearch.config.strict_yaml import read_yaml
from latsearch.errors import ConfigError, DataError, UserError
from latsearch.pipelines.context import PipelineOptions
from latsearch.pipelines.running import pipeline_standing, run_pipeline, study_of
from latsearch.spaces import bundled_pipelines, bundled_spaces, find_pipeline
from tests.pipelines.samples import TINY

SHIPPED = bundled_pipelines()


@pytest.mark.parametrize("name", SHIPPED)
def test_those_that_ship_load_and_can_be_planned(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_pipeline(find_pipeline(name))
    assert config.pipeline
    base = SHIPPED[name].parent
    for space in config.search.space:  # each of them, whether its data are here or not
        only = config.model_copy(
            update={"search": config.search.model_copy(update={"space": (space,)})}
        )
        study = study_of(only, base, PipelineOptions())
        assert study.search.trials > 1
        context, standing = pipeline_standing(only, PipelineOptions(runs=tmp_path))
        assert standing[0].reason == "was not run yet"
        assert context.folder == tmp_path / study.study / "pipeline"
    data, _, _ = read_yaml(SHIPPED[name].read_text(), name)
    jsonschema.validate(data, pipeline_schema())


def test_pipelines_are_told_from_studies() -> None:
    assert all(map(is_pipeline, SHIPPED.values()))
    assert not any(map(is_pipeline, bundled_spaces().values()))


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_pipeline(text, "p.yaml")
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_every_fault_at_once_with_its_line() -> None:
    text = TINY.replace("family: mlp", "family: mpl").replace("seeds: 2", "seeds: 0")
    text = text.replace("{preset: rate}", "{network.encodr: rate}")
    text = text.replace("max: 0.5", "max: much")
    found = faults(text)
    assert [line.split(": ")[1] for line in found] == [
        "refit.seeds",
        "select.constraints.silent_fraction.max",
        "search.space.network.family",
    ]
    assert found[0] == "p.yaml: refit.seeds: 0 must be at least 1 (line 18)"
    assert "did you mean `mlp`?" in found[2] or "is not one of mlp" in found[2]
    assert found[2].endswith("(line 10)")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("{preset: rate}", "{network.encodr: rate}",
         "refit.variants.rate.network.encodr: is not a field of the study; did you mean "
         "`network.encoder`? (line 18)"),
        ("{preset: rate}", "{network.timesteps: 1.5}",
         "refit.variants.rate.network.timesteps: 1.5 is no value that network.timesteps can have "
         "(line 18)"),
        ("{preset: rate}", "{preset: rat}",
         'refit.variants.rate.preset: "rat" is not one of paper, direct, rate, ttfs, relu, one-bit '
         "(line 18)"),
        ("{preset: rate}", "{}",
         "refit.variants.rate: is empty: give at least one field, e.g. {network.encoder: rate} "
         "(line 18)"),
        ("split: validation}\nselect: {constraints: {silent_fraction: {max: 0.5}}}",
         "split: test}\nselect: {constraints: {robust_accuracy: {min: 0.5}}}",
         "select.constraints.robust_accuracy: needs the section robustness with split: validation; "
         "nothing is selected on test samples (line 20)"),
        ("silent_fraction", "silence", "select.constraints.silence: is no column of an operating "
         "point; known are accuracy, accuracy_silent_wrong, latency, latency_p95, energy, "
         "silent_fraction, tie_fraction, robust_accuracy (line 20)"),
        ("select:", "selct:", "selct: unknown key; did you mean `select`? (line 20)"),
        ("register: {}", "register: {nam: x}",
         "register.nam: unknown key; did you mean `name`? (line 21)"),
        ("register: {}", "register: {name: a/b}",
         'register.name: "a/b" is no name of a registered model: up to 250 letters, '
         "no / : or \\ (line 21)"),
        ("version: 1\npipeline", "pipeline", "version: is missing"),
    ],
)  # fmt: skip
def test_a_fault(old: str, new: str, fault: str) -> None:
    assert old in TINY
    assert faults(TINY.replace(old, new)) == [f"p.yaml: {fault}"]


def test_of_several_spaces_the_first_whose_data_are_there(tmp_path: Path) -> None:
    def space(name: str, root: Path | None) -> str:
        where = f", root: {root}" if root else ""
        return (
            f"{{version: 1, study: {name}, data: {{name: {name}{where}}}, search: {{trials: 1}}}}"
        )

    absent, here = space("cifar10", tmp_path), space("digits", None)
    text = f"version: 1\npipeline: p\nsearch: {{space: [{absent}, {here}]}}\n"
    config = parse_pipeline(text)
    assert study_of(config, tmp_path, PipelineOptions()).study == "digits"
    assert study_of(config, tmp_path, PipelineOptions(download=True)).study == "cifar10"
    nothing = parse_pipeline(f"version: 1\npipeline: p\nsearch: {{space: [{absent}, {absent}]}}\n")
    with pytest.raises(DataError, match="none of the data sets cifar10, cifar10 is present"):
        study_of(nothing, tmp_path, PipelineOptions())


def test_a_space_beside_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "version: 1\nstudy: mine\ndata: {name: digits}\nsearch: {trials: 1}\n"
    )
    (tmp_path / "p.yaml").write_text("version: 1\npipeline: p\nsearch: {space: mine.yaml}\n")
    context, _ = pipeline_standing(tmp_path / "p.yaml", PipelineOptions(runs=tmp_path, trials=1))
    assert context.study_config.study == "mine"


def test_what_cannot_be_exported_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse_pipeline(TINY.replace("register: {}", "export: {formats: [nir]}"))
    with pytest.raises(UserError, match="tiny may have networks that NIR cannot say: write netw"):
        run_pipeline(config, PipelineOptions(runs=tmp_path, workers=0))
    monkeypatch.setattr("latsearch.pipelines.robust.find_spec", lambda name: None)
    with pytest.raises(UserError, match="robustness needs imagecorruptions-imaug: pip install"):
        run_pipeline(parse_pipeline(TINY), PipelineOptions(runs=tmp_path, workers=0))
    assert list(tmp_path.iterdir()) == []


def test_studies_and_pipelines_are_not_taken_for_each_other() -> None:
    pipeline, space = SHIPPED["digits"], bundled_spaces()["digits"]
    with pytest.raises(ConfigError) as caught:
        load_study(pipeline)
    assert str(caught.value) == (
        f"{pipeline}: is a pipeline, not a search space: `latsearch pipeline` runs it"
    )
    with pytest.raises(ConfigError) as caught:
        load_pipeline(space)
    assert str(caught.value) == (
        f"{space}: is a search space, not a pipeline: `latsearch run` searches it; a pipeline has "
        "it under search.space"
    )
