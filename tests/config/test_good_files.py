"""What good files resolve to."""

from __future__ import annotations

import math
from typing import Any

import pytest

from latsearch.config import StudyConfig, load_study, parse_study
from latsearch.config.forms import Choices, Range
from tests.config.spaces import BUNDLED, FOLDER, HEAD, study

SEARCHED = "network: {timesteps: {low: 1, high: 4}}\n"


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_files_load(name: str) -> None:
    loaded = load_study(FOLDER / name)
    assert loaded.space.parameters
    assert loaded.study.startswith(name.removesuffix(".yaml").split("_")[0])


def test_digits() -> None:
    loaded = load_study(FOLDER / "digits.yaml")
    assert (loaded.study, loaded.data.name, loaded.data.validation) == ("digits", "digits", 0.25)
    assert (loaded.search.trials, loaded.search.sampler) == (30, "auto")
    assert loaded.constraints["silent_fraction"].max == 0.05
    assert loaded.space.fixed["train.epochs"] == 30
    assert [parameter.name for parameter in loaded.space.parameters] == [
        "network.family",
        "network.timesteps",
        "network.stem_stride",
        "network.width",
        "network.hidden",
        "network.downsampling",
        "network.firing_threshold",
        "network.synapse",
        "train.lr",
        "train.temperature",
    ]


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "+1e-04", "0.0001", ".0001", "1.e-4", "0.1e-3"])
def test_bare_numbers(text: str) -> None:
    loaded = study(f"train: {{lr: {text}}}\nsearch: {{trials: 1}}\n")
    assert loaded.space.fixed["train.lr"] == 1e-4


@pytest.mark.parametrize(
    "name",
    [
        "on",
        "off",
        "yes",
        "2024-01-01",
        "1e5abc",
        "truest",
        "null-1",
        "1.2.3",
        "0x1f",
        "007",
    ],
)
def test_text_that_yaml_takes_for_something_else(name: str) -> None:
    text = HEAD.replace("good", name) + SEARCHED
    assert parse_study(text).study == name


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5 h", 5400), ("1d", 86400), ("60", 60)],
)
def test_durations(text: str, seconds: float) -> None:
    assert study(SEARCHED + f"run: {{timeout: {text}}}\n").run.timeout == seconds
    assert study(SEARCHED + "run: {timeout: null}\n").run.timeout is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: "---\n" + text + "...\n",
        lambda text: text.replace("low: 1", '"low": 1'),
        lambda text: text.replace("good", '"good"'),
    ],
)
def test_the_same_study_in_other_bytes(change: Any) -> None:
    assert parse_study(change(HEAD + SEARCHED)) == study(SEARCHED)


def test_anchors() -> None:
    loaded = study(
        "network:\n"
        "  family: stages\n"
        "  stages:\n"
        "    - &stage {channels: {low: 8, high: 16}}\n"
        "    - *stage\n"
    )
    assert [parameter.name for parameter in loaded.space.parameters] == [
        "network.stages.0.channels",
        "network.stages.1.channels",
    ]


def test_forms_of_a_field() -> None:
    loaded = study(
        "network:\n"
        "  output_tau_mem: {choices: [null, 2, 4.5]}\n"
        "  stem_channels: {low: 8, high: 16, step: 4}\n"
        "  firing_threshold: {low: 0.5, high: 2, step: 0.5}\n"
        "  timesteps: {low: 1, high: 64, log: true}\n"
        "train: {horizontal_flip: {choices: [true, false]}, lr: {low: 1e-3, high: 1}}\n"
    )
    found = {parameter.name: parameter for parameter in loaded.space.parameters}
    assert found["network.output_tau_mem"].choices == (None, 2.0, 4.5)
    assert found["network.stem_channels"].size == 3
    assert found["network.firing_threshold"].size == 4
    assert found["network.timesteps"].log
    assert found["train.horizontal_flip"].choices == (True, False)
    assert found["train.lr"].size == math.inf
    assert found["train.lr"].high == 1.0


def test_a_step_may_be_smaller_than_the_least_value() -> None:
    loaded = study("network: {neuron: lif, tau_mem: {low: 1, high: 2, step: 0.25}}\n")
    assert loaded.space.parameters[0].size == 5


def test_python_may_build_a_study_too() -> None:
    built = StudyConfig.model_validate(
        {
            "version": 1,
            "study": "good",
            "data": {"name": "digits"},
            "network": {"family": {"choices": ["mlp", "lenet"]}, "width": {"low": 1, "high": 2}},
        }
    )
    assert isinstance(built.network.family, Choices)  # type: ignore[attr-defined]
    assert isinstance(built.network.width, Range)  # type: ignore[attr-defined]
    assert built == study("network: {family: {choices: [mlp, lenet]}, width: {low: 1, high: 2}}\n")


def test_a_study_survives_json() -> None:
    for name in BUNDLED:
        loaded = load_study(FOLDER / name)
        assert StudyConfig.model_validate_json(loaded.model_dump_json()) == loaded


def test_identity() -> None:
    first = study(SEARCHED)
    assert first.identity() == study(SEARCHED + "run: {keep: 3}\nsearch: {trials: 7}\n").identity()
    moved = parse_study(HEAD.replace("digits", "digits, root: /elsewhere") + SEARCHED)
    assert moved.identity() == first.identity()  # a machine's folder is not the data
    for change in (
        "train: {epochs: 3}\n",
        "objectives: {accuracy: maximize}\n",
        "constraints: {latency: {max: 3}}\n",
        "energy: {profile: horowitz-45nm-int8}\n",
    ):
        assert study(SEARCHED + change).identity() != first.identity()
