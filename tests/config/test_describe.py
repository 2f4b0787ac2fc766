"""A study in words."""

from __future__ import annotations

import pytest

from latsearch.config import describe, load_study
from tests.config.spaces import BUNDLED, FOLDER, study


def test_describe() -> None:
    lines = describe(
        study(
            "network:\n"
            "  family: {choices: [mlp, lenet, vgg11]}\n"
            "  timesteps: {low: 2, high: 6, step: 2}\n"
            "  hidden: {low: 32, high: 64, log: true}\n"
            "  width: {choices: [8, 16], when: {network.timesteps: [4, 6]}}\n"
            "  tau_mem: 3\n"
            "train: {epochs: 5, temperature: {choices: [0.5, 1]}}\n"
            "constraints: {silent_fraction: {max: 0.05}, accuracy: {min: 0.5}}\n"
        )
    )
    assert lines == [
        "study        good",
        "data         digits; 0.2 of the training samples for validation, split seed 0",
        "objectives   maximize accuracy, minimize latency, minimize energy",
        "constraints  silent_fraction at most 0.05, accuracy at least 0.5",
        "search       30 trials by curves (chosen for so many)",
        "stopping     none, every trial trains to its end",
        "space        670 combinations",
        "",
        "searched",
        "  network.family     mlp or lenet or vgg11",
        "  network.timesteps  2 to 6, in steps of 2",
        "  network.width      8 or 16; where network.timesteps is 4 or 6",
        "  network.hidden     32 to 64, logarithmic; where network.family is mlp or lenet",
        "  train.temperature  0.5 or 1",
        "",
        "fixed",
        "  train.epochs      5",
        "  train.batch_size  128 (default)",
        "",
        "given, but used by no trial",
        "  network.tau_mem  needs network.neuron to be lif",
    ]


@pytest.mark.parametrize(
    ("stopping", "words"),
    [
        ("null", "none, every trial trains to its end"),
        ("{rule: none}", "none, every trial trains to its end"),
        ("{rule: median, min_epochs: 1}", "the worse half, every 1 epoch"),
        ("{min_epochs: 2}", "all but 1 in 3 after 2 epochs, and so on at 3 times the epochs"),
    ],
)
def test_early_stopping_in_words(stopping: str, words: str) -> None:
    lines = describe(study(f"search: {{trials: 1, stopping: {stopping}}}"))
    assert f"stopping    {words}" in lines


def test_a_study_without_a_search() -> None:
    lines = describe(study("search: {trials: 1}"))
    assert "space       1 combination" in lines
    assert "searched" not in lines
    assert "  network.family     lenet (default)" in lines


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_files(name: str) -> None:
    lines = describe(load_study(FOLDER / name))
    assert all(line.isprintable() and line == line.rstrip() for line in lines)
    assert not any("used by no trial" in line for line in lines)


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("{trials: 500}", "500 trials by curves (chosen for so many)"),
        ("{trials: 501}", "501 trials by tpe (chosen for so many)"),
        ("{trials: 501, sampler: gp}", "501 trials by gp"),
        (
            "{trials: 9, warm_start: [a, b], enqueue: [{network.hidden: 8}], sampler: qmc}",
            "9 trials by qmc, 1 of them given, learning from a, b",
        ),
    ],
)
def test_who_proposes(search: str, told: str) -> None:
    lines = describe(study(f"network: {{hidden: {{low: 8, high: 9}}}}\nsearch: {search}\n"))
    assert next(line for line in lines if line.startswith("search")) == f"search      {told}"
