"""A network under corruptions: its figures, the summary, the picture, the command."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latsearch import api
from latsearch.config import PROFILES, DataConfig
from latsearch.data import Samples, load
from latsearch.data.corruptions import CORRUPTIONS, CorruptedSet
from latsearch.errors import UserError
from latsearch.heatmap import table, write_heat_map
from latsearch.quantised import quantised_rival
from latsearch.robustness import Robustness, RobustnessRow, measure_robustness
from tests.test_cli import latsearch

SPACE = """
version: 1
study: tiny
data: {name: digits, validation: 0.25}
network: {family: mlp, timesteps: 3, width: 4, hidden: 16}
train: {epochs: 8, batch_size: 32, lr: {low: 1e-3, high: 1e-2, log: true}}
search: {trials: 1}
tracking: {enabled: false}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    (folder / "tiny.yaml").write_text(SPACE)
    done = latsearch("run", "tiny.yaml", "--workers", 0, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_figures_are_those_of_the_decisions(folder: Path) -> None:
    network = api.load(folder / "runs" / "tiny", 0)
    test = load(DataConfig(name="digits")).test
    assert test is not None
    profile = PROFILES["horowitz-45nm-fp32"]
    # "corrupted" samples whose figures are known: the same images, and those of half the labels
    wrong = Samples(test.images, np.where(np.arange(len(test)) % 2, test.labels, -1))
    found = measure_robustness(
        network,
        test,
        [CorruptedSet("fog", 1, test), CorruptedSet("fog", 2, wrong)],
        decision_threshold=1.0,
        profile=profile,
        model="it",
        corruptions="none",
    )
    decision, energy = network.predict(test.images, 1.0, profile)
    right = decision.prediction == test.labels
    assert found.clean.accuracy == right.mean()
    assert found.clean.latency == decision.decision_time.mean()
    assert found.clean.energy == pytest.approx(energy.mean())
    assert found.corrupted[0].accuracy == found.clean.accuracy
    assert found.corrupted[0].group == "weather"
    odd = np.arange(len(test)) % 2 == 1
    assert found.corrupted[1].accuracy == (right & odd).mean()
    readout = measure_robustness(
        network,
        test,
        [],
        decision_threshold=math.inf,
        profile=profile,
        model="it",
        corruptions="none",
    )
    assert readout.clean.latency == 3

    # what the decisions took of synaptic operations, beside one pass of an ordinary network
    measured = network.measure(test.images, profile)
    spent = measured.energy.synaptic_operations().numpy()
    spent = spent[decision.decision_time - 1, np.arange(len(test))]
    synapses = 4 * 8 * 8 * 16 + 16 * 10
    assert found.rival == quantised_rival(3, float(spent.mean()), synapses)
    assert readout.rival is not None
    assert readout.rival.spikes_per_synapse > found.rival.spikes_per_synapse


def robustness(errors: dict[str, list[float]], clean: float = 0.1) -> Robustness:
    rows = [RobustnessRow("clean", "clean", 0, 1 - clean, 1.5, 20.0, 0.0)]
    for name, by_severity in errors.items():
        rows.extend(
            RobustnessRow(name, "noise", severity, 1 - error, 2.0, 30.0, 0.0)
            for severity, error in enumerate(by_severity, start=1)
        )
    return Robustness("it", "made up", 1.0, 100, tuple(rows))


def test_the_summary_by_hand() -> None:
    one = robustness({"fog": [0.2, 0.4], "snow": [0.3, 0.3]})
    other = robustness({"fog": [0.3, 0.5], "snow": [0.2, 0.2]}, clean=0.05)
    figures = one.summary(other)
    assert figures["mean_corruption_error"] == pytest.approx(0.3)
    assert figures["relative_corruption_error"] == pytest.approx(0.2)
    assert figures["mce"] == pytest.approx((0.6 / 0.8 + 0.6 / 0.4) / 2)
    assert figures["relative_mce"] == pytest.approx((0.4 / 0.7 + 0.4 / 0.3) / 2)
    assert figures["standard_error"] == pytest.approx(0.03)
    assert figures["corrupted_latency"] == 2.0
    assert "mce" not in one.summary()


def test_without_corruptions_the_summary_is_of_the_clean_samples() -> None:
    figures = robustness({}).to_json()["summary"]
    assert figures["clean_accuracy"] == 0.9
    assert all(math.isfinite(value) for value in figures.values())


def test_the_heat_map(tmp_path: Path) -> None:
    one = robustness({"fog": [0.2, 0.4], "snow": [0.3, 0.3]})
    values = table(one, "accuracy")
    assert values.shape == (3, 3)
    assert values[1].tolist()[1:] == pytest.approx([0.8, 0.6])
    assert np.isnan(values[0, 1:]).all()
    write_heat_map([one], tmp_path / "one.png")
    write_heat_map([one, one, one], tmp_path / "three.png", "three networks")
    sizes = [Image.open(tmp_path / name).size for name in ("one.png", "three.png")]
    assert sizes[0][1] == sizes[1][1]
    assert sizes[0][0] < sizes[1][0]


def test_evaluate_from_the_command_line(folder: Path) -> None:
    done = latsearch(
        *("evaluate", "runs/tiny:0", "--corruptions", "--samples", 60),
        *("--only", "contrast", "--only", "gaussian_noise"),
        *("--csv", "r.csv", "--json", "r.json", "--png", "r.png"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert "ImageNet-C's severities" in done.stdout
    assert "mean corruption error" in done.stdout
    rows = list(csv.DictReader((folder / "r.csv").open()))
    assert [row["severity"] for row in rows] == ["0", *"12345", *"12345"]
    said = json.loads((folder / "r.json").read_text())
    assert said["samples"] == 60
    assert said["summary"]["clean_accuracy"] == pytest.approx(float(rows[0]["accuracy"]))
    assert float(rows[5]["accuracy"]) < float(rows[0]["accuracy"])
    assert (folder / "r.png").stat().st_size > 1000


def test_a_checkpoint_is_a_model_too(folder: Path) -> None:
    checkpoint = next((folder / "runs" / "tiny" / "trials").glob("*/*/config.json")).parent
    whole = api.EvaluationOptions(samples=None)
    by_folder = api.evaluate(str(checkpoint), whole)
    by_name = api.evaluate("tiny:0", whole, folder / "runs")
    assert by_folder.rows == by_name.rows
    assert by_folder.samples == 359
    assert not by_folder.corrupted


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("tiny:5", {}, "there is no trial 5"),
        ("nothing", {}, "nothing is neither a trial, such as runs/digits:22, nor the folder"),
        ("nothing:1", {}, "nothing: no such study"),
        ("tiny:0", {"corruptions": True, "names": ["rain"]}, "rain is no corruption of digits"),
    ],
)
def test_what_cannot_be_evaluated(
    folder: Path, model: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        api.evaluate(model, api.EvaluationOptions(**options), folder / "runs")
    assert message in str(caught.value)


def test_all_corruptions_are_known_to_a_group() -> None:
    assert len(CORRUPTIONS) == len(set(CORRUPTIONS)) == 15
