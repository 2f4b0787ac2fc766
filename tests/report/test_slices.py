"""Slices through a study's trials, and the command that prints what mattered."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from latsearch import api
from latsearch.cli import cli
from latsearch.config import Parameter
from latsearch.errors import UserError
from latsearch.report.content import Knee
from latsearch.report.slices import slices
from tests.search import studies

OBJECTIVES = ("accuracy", "energy")


def knee(number: int, **params: float | str) -> Knee:
    return Knee(number, {"accuracy": number / 10, "energy": 100.0 - number}, params)


def test_a_slice_has_the_medians_and_bests_of_its_trials() -> None:
    steps = Parameter("t", "int", low=1, high=4, step=1)
    found = slices([knee(1, t=1), knee(2, t=1), knee(9, t=1), knee(4, t=3)], steps, OBJECTIVES)
    assert [(part.values, part.trials) for part in found] == [("1", 3), ("3", 1)]
    assert found[0].medians == {"accuracy": 0.2, "energy": 98.0}
    assert found[0].bests == {"accuracy": 0.9, "energy": 91.0}


def test_trials_that_do_not_use_the_parameter_are_left_out() -> None:
    family = Parameter("f", "categorical", choices=("mlp", None, True))
    found = slices([knee(1, f="mlp"), knee(2), knee(3, f=True)], family, OBJECTIVES)
    assert [(part.values, part.trials) for part in found] == [('"mlp"', 1), ("true", 1)]


def test_ranges_are_equal_on_the_parameters_own_scale() -> None:
    rate = Parameter("lr", "float", low=1e-4, high=1.0, log=True)
    values = (1e-4, 5e-3, 5e-2, 5e-1, 1.0)
    found = slices([knee(i, lr=value) for i, value in enumerate(values)], rate, OBJECTIVES)
    assert [part.values for part in found] == [
        "0.0001 to 0.001", "0.001 to 0.01", "0.01 to 0.1", "0.1 to 1"
    ]  # fmt: skip
    assert sum(part.trials for part in found) == 5
    width = Parameter("w", "int", low=1, high=100, step=1)
    found = slices([knee(1, w=1), knee(2, w=100)], width, OBJECTIVES)
    assert [part.values for part in found] == ["1 to 25.8", "75.2 to 100"]


@given(
    st.floats(1e-3, 10.0),
    st.floats(1.001, 1e3),
    st.booleans(),
    st.lists(st.floats(0, 1), max_size=9),
)
def test_every_trial_is_in_one_slice(
    low: float, factor: float, log: bool, places: list[float]
) -> None:
    high = low * factor
    parameter = Parameter("x", "float", low=low, high=high, log=log)
    values = [
        low * math.exp(place * math.log(factor)) if log else low + place * (high - low)
        for place in places
    ]
    found = slices([knee(i, x=value) for i, value in enumerate(values)], parameter, OBJECTIVES)
    assert sum(part.trials for part in found) == len(values)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    study = studies.new_study(folder / "made-up", studies.config(sampler="random", trials=20))
    search = studies.new_search(study)
    while not search.done:
        studies.train(search, search.ask())
    studies.new_study(folder / "empty")
    return folder


def test_what_mattered(runs: Path) -> None:
    """Latency and energy of the made-up trainings depend on the timesteps alone."""
    found = api.importance("made-up", runs)
    assert max(found.shares["latency"], key=found.shares["latency"].__getitem__) == (
        "network.timesteps"
    )
    for shares in found.shares.values():
        assert sum(shares.values()) == pytest.approx(1)
    parts = api.slices("made-up", "network.timesteps", runs)
    assert sum(part.trials for part in parts) == 20
    assert [part.medians["latency"] for part in parts] == sorted(
        part.medians["latency"] for part in parts
    )


def test_the_command(runs: Path) -> None:
    def lines(*words: str) -> list[str]:
        done = CliRunner().invoke(cli, ["importance", *words, "--runs", str(runs)])
        assert done.exit_code == 0, done.output
        return done.output.splitlines()

    table = lines("made-up")
    assert table[0].split() == ["parameter", "accuracy", "latency", "energy"]
    assert "next:  latsearch importance made-up --slice " in "\n".join(table)
    assert set(json.loads("\n".join(lines("made-up", "--json")))) == {"shares", "missing"}
    assert lines("made-up", "--slice", "network.timesteps")[0].startswith("network.timesteps")
    parts = json.loads("\n".join(lines("made-up", "--slice", "train.lr", "--json")))
    assert sum(part["trials"] for part in parts) == 20
    assert lines("empty") == ["Importance needs at least 10 complete trials; there are 0."]
    lines("empty", "--slice", "train.lr")


def test_a_slice_of_what_is_not_searched_is_refused(runs: Path) -> None:
    with pytest.raises(UserError, match="'lr': is not searched by this study; it searches network"):
        api.slices("made-up", "lr", runs)
