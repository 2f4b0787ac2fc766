from __future__ import annotations

from pathlib import Path

import pytest

from latsearch.config import parse_study
from latsearch.config.method import CHOICES, STATED, method_table
from latsearch.config.presets import PRESET_NAMES, PRESETS
from latsearch.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs" / "method.md"


def study(preset: str, rest: str = "") -> str:
    return (
        f"version: 1\nstudy: s\ndata: {{name: digits}}\npreset: {preset}\n"
        f"search: {{trials: 1}}\n{rest}"
    )


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_a_preset_fills_what_is_not_given(preset: str) -> None:
    config = parse_study(study(preset))
    for name, value in PRESETS[preset].items():
        assert config.space.fixed[name] == value


def test_what_is_given_beside_a_preset_stays() -> None:
    config = parse_study(study("paper", "train: {temperature: 2.0, loss: tad}\n"))
    assert config.space.fixed["train.temperature"] == 2.0


@pytest.mark.parametrize(
    ("preset", "rest", "fault"),
    [
        ("paper", "train: {loss: tet}\n", "train.loss: preset paper has tad here"),
        (
            "relu",
            "network: {timesteps: {low: 1, high: 3}}\n",
            "network.timesteps: preset relu has 1 here",
        ),
        ("papre", "", 'preset: "papre" is not one of paper, direct'),
    ],
)
def test_a_contradiction_is_a_fault(preset: str, rest: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_study(study(preset, rest))
    assert fault in str(caught.value)


def test_going_on_with_a_resolved_preset_changes_nothing() -> None:
    config = parse_study(study("ttfs"))
    again = parse_study(config.model_dump_json())
    assert again == config


def test_the_preset_paper_is_what_the_table_calls_stated() -> None:
    assert set(PRESETS["paper"]) == {
        name for name, (source, _) in CHOICES.items() if source == STATED
    }


def test_the_documentation_has_the_table() -> None:
    assert method_table() in DOCS.read_text()


def test_a_network_for_nir_that_nir_can_say_is_accepted() -> None:
    config = parse_study(
        "version: 1\nstudy: s\ndata: {name: digits}\nsearch: {trials: 1}\n"
        "network: {target: nir, synapse: delta, neuron: lif, family: mlp, downsampling: max}\n"
    )
    assert config.space.fixed["network.target"] == "nir"
