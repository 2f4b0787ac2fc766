"""Frames of events: counts, edges of bins and pixels, against tonic and a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tonic.transforms import ToFrame

from latsearch.data.events.binning import Events, Grid, Sensor
from tests.data.events.formats import events


def as_events(columns: NDArray[np.int64]) -> Events:
    return Events(*columns.T)


def slow_frames(columns: NDArray[np.int64], grid: Grid) -> NDArray[np.uint8]:
    frames = np.zeros(grid.shape, dtype=int)
    for t, x, y, p in columns.tolist():
        if t > grid.duration:
            continue
        step = next(
            k
            for k in range(grid.timesteps)
            if t * grid.timesteps < (k + 1) * grid.duration or k == grid.timesteps - 1
        )
        frames[step, p, y // grid.downsample, x // grid.downsample] += 1
    return np.minimum(frames, 255).astype(np.uint8)


@given(
    seed=st.integers(0, 1000),
    timesteps=st.integers(1, 9),
    downsample=st.integers(1, 6),
    duration=st.integers(1, 60),
)
def test_frames_are_those_of_a_loop_over_the_events(
    seed: int, timesteps: int, downsample: int, duration: int
) -> None:
    columns = events(seed, 50, width=7, height=5, end=60)
    grid = Grid(Sensor(7, 5), duration, timesteps, downsample)
    assert (grid.frames(as_events(columns)) == slow_frames(columns, grid)).all()


def test_no_event_within_the_duration_is_lost_and_its_end_is_in_the_last_bin() -> None:
    columns = np.array([[0, 0, 0, 0], [99, 0, 0, 0], [100, 0, 0, 0], [101, 0, 0, 0]])
    frames = Grid(Sensor(1, 1), 100, 4).frames(as_events(columns))
    assert frames[:, 0, 0, 0].tolist() == [1, 0, 0, 2]  # 101 is beyond


def test_frames_are_those_of_tonic_where_tonic_loses_nothing() -> None:
    columns = events(1, 500, end=4000)
    columns[0, 0], columns[-1, 0] = 0, 4001  # tonic starts at the first and drops the last
    structured = np.zeros(500, dtype=[("t", int), ("x", int), ("y", int), ("p", int)])
    for index, name in enumerate("txyp"):
        structured[name] = columns[:, index]
    theirs = ToFrame(sensor_size=(34, 34, 2), n_time_bins=4)(structured)
    ours = Grid(Sensor(34, 34), 4000, 4).frames(as_events(columns[:-1]))
    assert theirs.shape == ours.shape
    assert (theirs == ours).all()


def test_a_recording_without_events_is_black_in_the_right_shape() -> None:
    none = Events(*np.zeros((4, 0), dtype=np.int64))
    frames = Grid(Sensor(6, 4), 100, 3).frames(none)
    assert frames.shape == (3, 2, 4, 6)
    assert not frames.any()


def test_a_pixel_counts_up_to_255() -> None:
    same = np.zeros((300, 4), dtype=np.int64)
    assert Grid(Sensor(1, 1, 1), 10, 1).frames(as_events(same)).item() == 255


def test_bins_end_at_equal_times_in_milliseconds() -> None:
    assert Grid(Sensor(1, 1), 300_000, 4).bin_ends().tolist() == [75, 150, 225, 300]


@pytest.mark.parametrize(("size", "downsample", "pixels"), [(34, 2, 17), (34, 4, 9), (1, 8, 1)])
def test_pixels_at_the_edge_are_kept_when_downsampling(
    size: int, downsample: int, pixels: int
) -> None:
    assert Sensor(700, size).shape(downsample) == (2, pixels, -(-700 // downsample))
