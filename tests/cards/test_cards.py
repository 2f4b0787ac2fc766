"""Model cards: their figures are those of `evaluate`, equal cards give equal files."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from latsearch import api
from latsearch.cards import ModelCard, SeedFigures, measure_seed, wilson, write_card
from latsearch.cli import cli
from latsearch.config import PROFILES
from latsearch.errors import UserError
from latsearch.located import open_model
from latsearch.search.storage import Study
from tests.trained import trained_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_study(tmp_path_factory.mktemp("user"))


@pytest.fixture(scope="module")
def midway(study: Path) -> float:
    """A threshold at which some samples wait: which one depends on the processor's rounding."""
    curve = Study.open(study).trials()[0].curve
    assert curve is not None
    first_spike = curve.latency[:-1]  # the last row is the readout
    return float(curve.decision_threshold[np.abs(first_spike - 1.5).argmin()])


@pytest.fixture(scope="module")
def card(study: Path, midway: float) -> ModelCard:
    return api.model_card(f"{study}:0", api.CardOptions(decision_threshold=midway))


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    expected = binomtest(*counts).proportion_ci(method="wilson")
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)


def test_figures_are_those_of_evaluate(study: Path, midway: float, card: ModelCard) -> None:
    options = api.EvaluationOptions(samples=None, decision_threshold=midway)
    clean = api.evaluate(f"{study}:0", options).clean
    (seed,) = card.seeds
    assert seed.accuracy == clean.accuracy
    assert seed.latency == pytest.approx(clean.latency, abs=1e-12)
    assert seed.energy["horowitz-45nm-fp32"] == pytest.approx(clean.energy, rel=1e-12)
    assert seed.silent / seed.samples == clean.silent_fraction
    assert 1 < seed.latency < 3  # else the threshold would show nothing


@pytest.mark.parametrize("threshold", [1.0, math.inf])
def test_energy_under_every_profile_is_that_of_a_measurement_with_it(
    study: Path, threshold: float
) -> None:
    opened = open_model(f"{study}:0")
    assert opened.splits.test is not None
    samples = opened.splits.test.take(np.arange(50))
    seed = measure_seed(opened.network, samples, threshold)
    for name, profile in PROFILES.items():
        decision, energy = opened.network.predict(samples.images, threshold, profile)
        assert seed.energy[name] == pytest.approx(energy.mean(), rel=1e-12), name
    counted = np.bincount(decision.decision_time, minlength=4)[1:]
    assert seed.decision_times == tuple(counted)
    # the profiles that count otherwise differ here, since this network pools
    pooled = seed.energy["horowitz-45nm-fp32-pooled-macs"]
    assert pooled != pytest.approx(seed.energy["horowitz-45nm-fp32"])


def test_equal_cards_give_equal_files(study: Path, card: ModelCard, tmp_path: Path) -> None:
    options = api.CardOptions(decision_threshold=card.seeds[0].decision_threshold)
    again = api.model_card(f"{study}:0", options)
    first = [file.read_bytes() for file in write_card(card, tmp_path / "a")]
    second = [file.read_bytes() for file in write_card(again, tmp_path / "b" / "deeper")]
    assert first == second
    assert not list((tmp_path / "a").glob(".*"))


def test_the_files_say_what_was_measured(card: ModelCard, tmp_path: Path) -> None:
    text_file, json_file = write_card(replace(card, created="25 November"), tmp_path)
    text, found = text_file.read_text(), json.loads(json_file.read_text())
    (seed,) = card.seeds
    assert f"| accuracy | {seed.accuracy:.2%} (95 % interval" in text
    assert f"{seed.correct} of {seed.samples}" in text
    assert "25 November" in text
    for name in PROFILES:
        assert f"| `{name}` | {seed.energy[name]:,.3f} |" in text
    assert found["results"]["accuracy"] == {"mean": seed.accuracy, "deviation": None}
    assert found["results"]["accuracy_interval_95"] == list(wilson(seed.correct, seed.samples))
    assert found["network"]["family"] == "lenet"
    assert found["data"]["train"] + found["data"]["validation"] + found["data"]["test"] == 1797
    assert SeedFigures.from_json(found["seeds"][0]) == seed
    assert "NaN" not in json_file.read_text()


def test_several_seeds_are_a_mean_and_a_deviation(card: ModelCard, tmp_path: Path) -> None:
    (seed,) = card.seeds
    seeds = tuple(replace(seed, seed=n, correct=seed.correct - n) for n in range(3))
    several = replace(card, seeds=seeds)
    values = [s.accuracy for s in seeds]
    assert several.accuracy.mean == pytest.approx(statistics.fmean(values))
    assert several.accuracy.deviation == pytest.approx(np.std(values, ddof=1))
    text_file, json_file = write_card(several, tmp_path)
    line = f"{statistics.fmean(values):.2%} ± {np.std(values, ddof=1):.2%}"
    assert line in text_file.read_text()
    found = json.loads(json_file.read_text())
    assert found["results"]["accuracy_interval_95"] is None
    assert sum(found["results"]["decision_times"]) == 3 * seed.samples


def test_a_readout_threshold_survives_the_file(card: ModelCard) -> None:
    seed = replace(card.seeds[0], decision_threshold=math.inf)
    written = json.loads(json.dumps(seed.to_json(), allow_nan=False))
    assert SeedFigures.from_json(written) == seed


def test_figures_that_contradict_each_other_are_refused(card: ModelCard) -> None:
    (seed,) = card.seeds
    with pytest.raises(ValueError, match="cannot be correct"):
        replace(seed, correct=seed.samples + 1)
    with pytest.raises(ValueError, match="decision times"):
        replace(seed, decision_times=(1,))
    with pytest.raises(ValueError, match="one training at least"):
        replace(card, seeds=())


def test_the_command_with_a_robustness_file(study: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    model, rows = f"{study}:0", str(tmp_path / "r.json")
    done = runner.invoke(
        cli,
        [*f"evaluate {model} --corruptions --only contrast --samples 40 --json".split(), rows],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    done = runner.invoke(
        cli,
        ["card", model, "--to", str(tmp_path / "card"), "--robustness", rows, "--samples", "100"],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    assert "on 100 test samples" in done.output
    text = (tmp_path / "card" / "model_card.md").read_text()
    measured = json.loads(Path(rows).read_text())["rows"][1:]
    mean = sum(row["accuracy"] for row in measured) / len(measured)
    assert f"| contrast | {mean:.1%} |" in text
    assert "under noise, blur" not in text


@pytest.mark.parametrize("content", ["[]", "{}", "not json", '{"rows": [{}]}'])
def test_another_file_is_no_robustness(study: Path, tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(UserError, match=r"other\.json"):
        api.model_card(f"{study}:0", api.CardOptions(robustness=file))
