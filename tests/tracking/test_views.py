"""Views and notes as text; test_browser.py looks at them in MLflow."""

from __future__ import annotations

import json

import pytest

from latsearch.config import StudyConfig, parse_study
from latsearch.objectives import OperatingPoint
from latsearch.tracking.note import NoteData, note
from latsearch.tracking.views import (
    ALL,
    FRONT,
    PREFIX,
    published_views,
    read_view,
    view_fragment,
    view_key,
    view_tags,
)
from tests.tracking.synthetic import YAML

STUDY = "synthetic@20261107-120000-abc123"


def config(objectives: str = "{accuracy: maximize, latency: minimize, energy: minimize}"):  # type: ignore[no-untyped-def]
    head, _, rest = YAML.partition("objectives:")
    return parse_study(f"{head}objectives: {objectives}\n{rest.split(chr(10), 1)[1]}")


def test_the_front_is_filtered_and_everything_is_ranked() -> None:
    tags = view_tags(config(), STUDY, 1000)
    front = read_view(tags[PREFIX + view_key(STUDY, FRONT)])
    assert front["searchFilter"] == (
        f"tags.`latsearch.study_id` = '{STUDY}' and tags.`pareto` = 'true'"
    )
    assert front["orderByKey"] == "metrics.`accuracy`"
    assert not front["orderByAsc"]
    everything = read_view(tags[PREFIX + view_key(STUDY, ALL)])
    assert everything["searchFilter"] == f"tags.`latsearch.study_id` = '{STUDY}'"
    assert everything["orderByKey"] == "metrics.`pareto_rank`"
    assert everything["orderByAsc"]


def test_views_are_the_same_whenever_they_are_made() -> None:
    assert view_tags(config(), STUDY, 1000) == view_tags(config(), STUDY, 1000)


def test_views_of_two_studies_do_not_meet() -> None:
    other = view_tags(config(), "synthetic@20261107-120001-abc123", 2000)
    both = {**view_tags(config(), STUDY, 1000), **other}
    assert len(both) == 4
    assert published_views({**both, "mlflow.note.content": "x"}) == {
        STUDY: 1000,
        "synthetic@20261107-120001-abc123": 2000,
    }


def test_views_of_others_are_left_alone() -> None:
    theirs = json.dumps({"name": "mine", "createdAt": 1, "updatedAt": 1, "state": "{}"})
    assert published_views({f"{PREFIX}x": theirs, f"{PREFIX}y": "no JSON"}) == {}


def test_a_large_space_fits_into_a_tag() -> None:
    stages = ", ".join(
        f"{{channels: {{low: 8, high: {64 + i}}}, blocks: {{low: 1, high: 3}}}}" for i in range(16)
    )
    text = YAML.replace(
        "  family: {choices: [mlp, lenet]}\n", f"  family: stages\n  stages: [{stages}]\n"
    )
    for tag in view_tags(parse_study(text), STUDY, 1000).values():
        assert len(tag) < 20_000


@pytest.mark.parametrize(
    ("objectives", "kinds"),
    [
        ("{accuracy: maximize}", ["PARALLEL"]),
        ("{accuracy: maximize, energy: minimize}", ["SCATTER", "PARALLEL"]),
        (
            "{latency: minimize, accuracy: maximize, energy: minimize}",
            ["SCATTER", "SCATTER", "SCATTER", "PARALLEL", "CONTOUR"],
        ),
    ],
)
def test_charts_of_any_set_of_objectives(objectives: str, kinds: list[str]) -> None:
    study: StudyConfig = config(objectives)
    state = read_view(view_tags(study, STUDY, 0)[PREFIX + view_key(STUDY, FRONT)])
    assert [chart["type"] for chart in state["compareRunCharts"]] == kinds
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == len(kinds)
    first = next(iter(study.objectives))
    assert state["orderByKey"] == f"metrics.`{first}`"
    assert state["orderByAsc"] == (first == "latency")


def test_parallel_coordinates_have_what_every_trial_has() -> None:
    text = YAML.replace(
        "  synapse: {choices: [delta, step]}\n",
        "  hidden: {low: 8, high: 64, when: {network.family: mlp}}\n",
    )
    state = read_view(view_tags(parse_study(text), STUDY, 0)[PREFIX + view_key(STUDY, FRONT)])
    [chart] = [c for c in state["compareRunCharts"] if c["type"] == "PARALLEL"]
    assert "network.hidden" not in chart["selectedParams"]
    assert "train.temperature" in chart["selectedParams"]  # train.loss is fixed to what it needs
    assert "params.`network.hidden`" in state["selectedColumns"]


def note_data(**changes: object) -> NoteData:
    point = OperatingPoint(
        trial=3,
        row=5,
        epoch=2,
        state="complete",
        decision_threshold=0.5,
        kind="first_spike",
        metrics={"accuracy": 0.9, "latency": 1.25, "energy": 1234.5, "silent_fraction": 0.01},
        params={"network.family": "mlp", "train.lr": 0.012345},
    )
    values: dict[str, object] = {
        "experiment_id": "7",
        "study_id": STUDY,
        "parent": "abc",
        "summary": "3 of 3 trials have ended",
        "points": [point],
        "run_ids": {(3, 5): "def"},
        "earlier": ["synthetic@old"],
        "picture": True,
    }
    return NoteData(**{**values, **changes})  # type: ignore[arg-type]


def test_the_note_opens_with_the_link() -> None:
    first, *lines = note(note_data(), "").splitlines()
    assert first.startswith(f"[**Open the Pareto front**]({view_fragment('7', STUDY)})")
    row = next(line for line in lines if line.startswith("| [trial 3 @ 0.5]"))
    assert "| 90.00% | 1.250 | 1,234.5 | 1.0% | family=mlp lr=0.0123 |" in row
    assert "#/experiments/7/runs/def" in row
    assert any("get-artifact?path=pareto%2Ffront.png&run_uuid=abc" in line for line in lines)
    assert any(line.startswith("Earlier studies: [synthetic@old](#/") for line in lines)


def test_what_a_user_writes_below_the_note_stays() -> None:
    first = note(note_data(), "My own words.")
    assert first.endswith("My own words.")
    later = note(note_data(summary="changed"), first + "\nAnd more.")
    assert later.endswith("My own words.\nAnd more.")
    assert later.count("My own words.") == 1
    assert "changed" in later


def test_a_note_before_anything_is_found() -> None:
    text = note(note_data(points=[], picture=False, earlier=[]), "")
    assert "get-artifact" not in text
    assert "| ---" not in text
