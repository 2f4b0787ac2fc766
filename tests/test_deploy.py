"""predict, quantise and recalibrate: from files to figures, against the network itself."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from latsearch import api
from latsearch.cli import cli
from latsearch.config import PROFILES, DataConfig
from latsearch.data import load
from latsearch.errors import LatsearchError, UserError
from latsearch.inputs import InputShape, as_batch, checked
from latsearch.located import Deployment, locate
from latsearch.recalibrating import place_threshold
from tests.trained import trained_study

SPLITS = load(DataConfig(name="digits", validation=0.25))
assert SPLITS.test is not None
IMAGES = SPLITS.test.images


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"{trained_study(tmp_path_factory.mktemp('user'))}:0"


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def refusal(*words: object) -> str:
    """The one line of a command that the user got wrong."""
    error = command(*words).exception
    assert isinstance(error, LatsearchError), error
    assert error.exit_code == 2
    assert "\n" not in str(error)
    return str(error)


# --- predict ------------------------------------------------------------------------------------


def test_predictions_are_those_of_the_network(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "deeper").mkdir(parents=True)
    Image.fromarray(IMAGES[0, 0]).save(folder / "a.png")
    Image.fromarray(IMAGES[1, 0]).save(folder / "deeper" / "b.bmp")
    (folder / "notes.txt").write_text("no image")
    np.save(tmp_path / "one.npy", IMAGES[2])
    np.savez(tmp_path / "several.npz", images=IMAGES[3:6] / 255, y=np.arange(3))
    words = [folder, tmp_path / "one.npy", tmp_path / "several.npz"]
    done = command("predict", model, *words, "--threshold", 1.0, "--json")
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.output.splitlines()]
    names = [row["image"] for row in found]
    assert names[0] == str(folder / "a.png")
    assert names[1] == str(folder / "deeper" / "b.bmp")
    assert names[3:] == [f"{tmp_path / 'several.npz'}[{index}]" for index in range(3)]

    decision, energy = api.load(model).predict(IMAGES[:6], 1.0)
    assert [row["prediction"] for row in found] == decision.prediction.tolist()
    assert [row["decision_time"] for row in found] == decision.decision_time.tolist()
    assert [row["energy"] for row in found] == pytest.approx(energy.tolist())
    assert [row["silent"] for row in found] == decision.silent.tolist()

    table = command("predict", model, *words, "--threshold", 1.0).output.splitlines()
    assert len(table) == 7
    assert table[1].split()[1:3] == [str(decision.prediction[0]), str(decision.decision_time[0])]


def test_the_threshold_and_profile_of_a_prediction(model: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES[:200])
    found = list(api.predict(model, [tmp_path / "x.npy"]))
    expected = api.load(model).decide(IMAGES[:200], locate(model).threshold())
    assert [one.decision_time for one in found] == expected.decision_time.tolist()
    options = api.PredictOptions(decision_threshold=math.inf, profile="loihi")
    readout = list(api.predict(model, [tmp_path / "x.npy"], options))
    assert {one.decision_time for one in readout} == {3}
    _, energy = api.load(model).predict(IMAGES[:200], math.inf, PROFILES["loihi"])
    assert [one.energy for one in readout] == pytest.approx(energy.tolist())


def test_class_names_are_said(model: str, tmp_path: Path) -> None:
    copy = shutil.copytree(locate(model).checkpoint, tmp_path / "copy")
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    Deployment(decision_threshold=1.0, class_names=names).write(copy)
    np.save(tmp_path / "x.npy", IMAGES[:5])
    for one in api.predict(copy, [tmp_path / "x.npy"]):
        assert one.class_name == names[one.prediction]


def test_large_and_coloured_images_need_resize(model: str, tmp_path: Path) -> None:
    large = np.kron(IMAGES[0, 0], np.ones((4, 4), np.uint8))
    Image.fromarray(np.repeat(large[..., None], 3, 2)).save(tmp_path / "rgb.png")
    assert refusal("predict", model, tmp_path / "rgb.png") == (
        f"{tmp_path / 'rgb.png'}: [3, 32, 32], but the network takes [C, H, W] = [1, 8, 8]; "
        "--resize scales images to it"
    )
    options = api.PredictOptions(decision_threshold=1.0, resize=True)
    (one,) = api.predict(model, [tmp_path / "rgb.png"], options)
    assert one.prediction == api.load(model).decide(IMAGES[:1], 1.0).prediction[0]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((1, 9, 8), np.uint8), "[1, 9, 8], but the network takes"),
        (np.zeros((2, 3, 8, 8), np.uint8), "[3, 8, 8], but the network takes"),
        (np.zeros((8,)), "[8], but the network takes"),
        (np.full((1, 8, 8), np.nan), "NaN or infinite"),
        (np.full((1, 8, 8), 2.0), "floats are 0 to 1; give 0 to 255 as integers"),
        (np.full((1, 8, 8), 256), "integers are 0 to 255"),
        (np.full((1, 8, 8), -1), "integers are 0 to 255"),
        (np.full((1, 8, 8), "a"), "no numbers"),
        (np.full((1, 8, 8), None), "cannot be read"),
    ],
)
def test_arrays_that_do_not_fit(model: str, tmp_path: Path, array, words: str) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    said = refusal("predict", model, tmp_path / "x.npy")
    assert said.startswith(str(tmp_path / "x.npy"))
    assert words in said


def test_files_that_are_no_images(model: str, tmp_path: Path) -> None:
    assert "no such file" in refusal("predict", model, tmp_path / "none.png")
    assert "holds no images" in refusal("predict", model, tmp_path)
    (tmp_path / "x.png").write_bytes(b"no image")
    assert "is no image" in refusal("predict", model, tmp_path / "x.png")
    (tmp_path / "x.npy").write_bytes(b"no array")
    assert "cannot be read" in refusal("predict", model, tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", a=IMAGES, b=IMAGES)
    assert "which are the images" in refusal("predict", model, tmp_path / "x.npz")
    np.save(tmp_path / "ok.npy", IMAGES[:2])
    assert "known are horowitz" in refusal(
        "predict", model, tmp_path / "ok.npy", "--profile", "mine"
    )


@given(st.lists(st.integers(0, 5), max_size=6).map(tuple), st.booleans())
def test_any_shape_is_taken_or_refused_in_one_line(shape: tuple[int, ...], resize: bool) -> None:
    wanted = InputShape((3, 4, 5))
    array = np.zeros(shape, np.uint8)
    fits = shape[-3:] in ((3, 4, 5), (4, 5, 3)) and len(shape) in (3, 4) and 0 not in shape
    try:
        several, rows = as_batch(array, wanted, "it", resize=resize)
        taken = checked(rows, wanted, "it", resize=resize)
    except ValueError as error:
        said = str(error)
    else:
        assert taken.shape[1:] == wanted.shape
        assert len(taken) == (shape[0] if several else 1)
        assert fits or resize
        return
    assert said.startswith("it: ")
    assert "\n" not in said
    assert not fits


# --- quantise -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def int8(model: str, tmp_path_factory: pytest.TempPathFactory) -> api.Quantised:
    options = api.QuantiseOptions(decision_threshold=1.0)
    return api.quantise(model, tmp_path_factory.mktemp("int8") / "net", options)


def test_the_figures_of_eight_bits(model: str, int8: api.Quantised) -> None:
    samples = SPLITS.validation
    for found, network in ((int8.before, api.load(model)), (int8.after, api.load(int8.folder))):
        decision, energy = network.predict(samples.images, 1.0)
        _, cheap = network.predict(samples.images, 1.0, PROFILES["horowitz-45nm-int8"])
        assert found.accuracy == (decision.prediction == samples.labels).mean()
        assert found.latency == pytest.approx(decision.decision_time.mean())
        assert found.silent_fraction == decision.silent.mean()
        assert found.energy == pytest.approx(energy.mean())
        assert found.energy_int8 == pytest.approx(cheap.mean())
    assert int8.exact
    assert int8.samples == len(samples)
    assert int8.after.size < int8.before.size / 2
    assert abs(int8.after.accuracy - int8.before.accuracy) <= int8.changed < 0.05


def test_a_quantised_network_is_a_model(int8: api.Quantised, tmp_path: Path) -> None:
    """It predicts, is evaluated, has a card, exits early and is recalibrated as any other."""
    np.save(tmp_path / "x.npy", IMAGES[:100])
    network = api.load(int8.folder)
    decision, energy = network.predict(IMAGES[:100], 1.0, PROFILES["horowitz-45nm-int8"])
    found = list(api.predict(int8.folder, [tmp_path / "x.npy"]))
    assert [one.prediction for one in found] == decision.prediction.tolist()
    assert [one.energy for one in found] == pytest.approx(energy.tolist())
    assert np.array_equal(network.decide(IMAGES[:100], 1.0).decision_time, decision.decision_time)
    clean = api.evaluate(str(int8.folder), api.EvaluationOptions(samples=None)).clean
    card = api.model_card(str(int8.folder))
    assert card.weights == "int8"
    assert card.seeds[0].accuracy == clean.accuracy
    assert card.seeds[0].decision_threshold == 1.0
    options = api.RecalibrateOptions(latency=1.5, to=tmp_path / "slower")
    api.recalibrate(int8.folder, [tmp_path / "x.npy"], options)
    assert api.load(tmp_path / "slower").info.weights == "int8"


def test_the_command_says_what_it_costs(model: str, tmp_path: Path) -> None:
    done = command("quantise", model, "--to", tmp_path / "q", "--threshold", 1.0)
    assert done.exit_code == 0, done.output
    assert f"{len(SPLITS.validation)} validation samples" in done.output
    assert [line.split()[0] for line in done.output.splitlines()[2:4]] == ["float32", "int8"]
    assert (tmp_path / "q" / "deployment.json").is_file()
    assert not (tmp_path / "q" / "state.pt").exists()
    assert "is there already" in refusal("quantise", model, "--to", tmp_path / "q")
    assert "already" in refusal("quantise", tmp_path / "q", "--to", tmp_path / "again")
    assert not (tmp_path / "again").exists()


# --- recalibrate --------------------------------------------------------------------------------


@given(
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(0, 2**31),
    st.floats(0, 1),
)
def test_the_nearest_threshold_of_all(t: int, b: int, seed: int, share: float) -> None:
    """Against every threshold there is, tried one by one."""
    random = np.random.default_rng(seed)
    peaks = np.maximum.accumulate(random.integers(-3, 9, (t, b)) / 2, axis=0)
    cost = np.cumsum(random.random((t, b)), axis=0)

    def mean(threshold: float) -> float:
        index = (peaks[:-1] <= threshold).sum(0)
        return float(cost[index, np.arange(b)].mean())

    every = [0.0, *(value for value in np.unique(peaks) if value > 0)]
    low, high = mean(0.0), float(cost[-1].mean())
    target = low + share * (high - low)
    threshold, reachable = place_threshold(peaks, cost, target)
    assert reachable == pytest.approx((low, high))
    assert threshold is not None
    assert threshold >= 0
    assert abs(mean(threshold) - target) <= min(abs(mean(x) - target) for x in every) + 1e-12
    for outside in (low - 0.1, high + 0.1):
        assert place_threshold(peaks, cost, outside)[0] is None


@pytest.mark.parametrize(("wanted", "share"), [("latency", 0.3), ("energy", 0.6)])
def test_a_threshold_from_unlabelled_images(
    model: str, tmp_path: Path, wanted: str, share: float
) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    network = api.load(model)
    low = network.predict(IMAGES, 0.0)
    high = network.predict(IMAGES, math.inf)
    ends = [d.decision_time.mean() if wanted == "latency" else e.mean() for d, e in (low, high)]
    target = float(ends[0] + share * (ends[1] - ends[0]))
    options = api.RecalibrateOptions(**{wanted: target}, to=tmp_path / "copy")
    found = api.recalibrate(model, [tmp_path / "x.npy"], options)

    decision, energy = network.predict(IMAGES, found.decision_threshold)
    assert found.latency == pytest.approx(decision.decision_time.mean())
    assert found.energy == pytest.approx(energy.mean())
    assert found.silent_fraction == pytest.approx(decision.silent.mean())
    assert found.decision_times == tuple(np.bincount(decision.decision_time, minlength=4)[1:])
    assert found.reachable == pytest.approx(ends)
    assert abs(found.reached - target) < 0.01 * (ends[1] - ends[0])  # 359 samples: fine steps
    # no row of the network's exact curve comes nearer
    curve = network.curve(SPLITS.test)
    finite = np.isfinite(curve.decision_threshold)
    nearest = np.abs(getattr(curve, wanted)[finite] - target).min()
    assert abs(found.reached - target) <= nearest + 1e-9
    assert locate(tmp_path / "copy").threshold() == found.decision_threshold


def test_where_a_threshold_is_written(model: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES[:120])
    data = ("--data", tmp_path / "x.npy")
    done = command("recalibrate", model, *data, "--latency", 1.3)
    assert done.exit_code == 0, done.output
    assert "nothing written" in done.output
    assert "belongs to a study" in refusal(
        "recalibrate", model, *data, "--latency", 1.3, "--in-place"
    )
    done = command("recalibrate", model, *data, "--latency", 1.3, "--to", tmp_path / "copy")
    assert done.exit_code == 0, done.output
    first = locate(tmp_path / "copy").threshold()
    done = command("recalibrate", tmp_path / "copy", *data, "--latency", 2, "--in-place")
    assert done.exit_code == 0, done.output
    after = locate(tmp_path / "copy")
    assert after.threshold() > first
    assert after.deployment is not None
    assert "120 unlabelled samples" in after.deployment.note
    assert after.deployment.data is not None  # still knows what it was trained on
    assert "are few" not in done.output
    np.save(tmp_path / "x.npy", IMAGES[:20])
    assert "20 samples are few" in command("recalibrate", model, *data, "--latency", 1.3).output


def test_targets_that_cannot_be_reached(model: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES[:50])
    data = ("--data", tmp_path / "x.npy")
    low = api.load(model).predict(IMAGES[:50], 0.0)[0].decision_time.mean()
    said = refusal("recalibrate", model, *data, "--latency", 9)
    assert f"reachable is {low:.6g} to 3 timesteps" in said
    assert "50 samples" in said
    assert "reachable is" in refusal("recalibrate", model, *data, "--energy", 0.1)
    for words in ((), ("--latency", 1.2, "--energy", 3)):
        assert "one of --latency and --energy" in refusal("recalibrate", model, *data, *words)
    both = ("--latency", 1.3, "--to", tmp_path / "a", "--in-place")
    assert "one of --to and --in-place" in refusal("recalibrate", model, *data, *both)
    with pytest.raises(UserError, match="is no profile"):
        api.recalibrate(model, [tmp_path], api.RecalibrateOptions(latency=1.3, profile="x"))
