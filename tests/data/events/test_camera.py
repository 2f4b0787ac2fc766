"""The simulated event camera of `benchmarks/event_camera.py`: its path, its pixels, its files."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latsearch.data.events.sources import nmnist
from latsearch.data.splits import Samples

PROGRAM = Path(__file__).parents[3] / "benchmarks" / "event_camera.py"


@pytest.fixture(scope="module")
def camera() -> dict[str, Any]:
    return runpy.run_path(str(PROGRAM))


def test_the_picture_makes_three_saccades_and_comes_back(camera: dict[str, Any]) -> None:
    places = [camera["offset"](ms) for ms in (0, 105, 210, 315)]
    moves = np.diff(np.array(places), axis=0)
    assert moves == pytest.approx(np.array([[3.5, 7.0], [3.5, -7.0], [-7.0, 0.0]]))
    assert places[0] == places[3]
    extent = np.array([camera["offset"](ms) for ms in range(316)])
    assert (extent.min(0) + extent.max(0)) / 2 == pytest.approx([3.0, 3.0])  # of 34 - 28 pixels


def test_a_picture_without_contrast_sends_nothing(camera: dict[str, Any]) -> None:
    (events,) = camera["record"](np.zeros((1, 28, 28), np.float32), np.random.default_rng(0))
    assert len(events) == 0


def test_events_are_the_thresholds_that_each_pixels_intensity_crosses(
    camera: dict[str, Any],
) -> None:
    pictures = np.random.default_rng(1).random((2, 28, 28), np.float32)
    recordings = camera["record"](pictures, np.random.default_rng(0))
    spread = np.random.default_rng(0).normal(0.3, 0.03, (34, 34)).clip(0.1)
    for picture, events in zip(pictures, recordings, strict=True):
        t, x, y, p = events.T
        assert (np.diff(t) >= 0).all()
        assert t.min() >= 0
        assert t.max() <= 315_000
        reached = np.zeros((34, 34))
        np.add.at(reached, (y, x), np.where(p == 1, 1.0, -1.0) * spread[y, x])
        first, last = (camera["seen"](picture[None], ms)[0] for ms in (0.0, 315.0))
        # what was sent adds up to the change of log intensity, to within one threshold
        assert (np.abs(reached - (last - first)) < spread + 1e-4).all()


def test_an_edge_that_passes_is_brighter_then_darker(camera: dict[str, Any]) -> None:
    picture = np.zeros((1, 28, 28), np.float32)
    picture[:, :, 10:14] = 1.0  # a bar, which goes to the right in the first saccade
    (events,) = camera["record"](picture, np.random.default_rng(0))
    inner = (events[:, 2] > 9) & (events[:, 2] < 24)  # the bar's ends do not come here
    _, x, _, p = events[inner & (events[:, 0] < 210_000)].T
    assert set(p[x == 18].tolist()) == {1}  # where the bar stands in the end
    assert set(p[x == 9].tolist()) == {0}  # where it was


def test_recordings_are_read_by_the_ordinary_loader(camera: dict[str, Any], tmp_path: Path) -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (10, 1, 28, 28), dtype=np.uint8)
    samples = Samples(pictures, np.arange(10))
    folder = tmp_path / "Train"
    written = list(camera["write"](samples, folder, np.random.default_rng(0)))
    there = nmnist(tmp_path, "train")
    assert there.labels.tolist() == list(range(10))
    for index, events in enumerate(written):
        read = there.decode(index)
        assert np.array_equal(np.stack([read.t, read.x, read.y, read.p], axis=1), events)
