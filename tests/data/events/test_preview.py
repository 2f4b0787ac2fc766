"""Strips of frames: where each frame is, and in which colour."""

from __future__ import annotations

import numpy as np

from latsearch.data.events.preview import frame_strips
from latsearch.data.splits import Samples


def samples() -> Samples:
    frames = np.zeros((4, 3, 2, 30, 60), dtype=np.uint8)
    frames[1, 2, 1, 5, 7] = 1  # the second recording, the last frame, brighter
    frames[2, 0, 0, 8, 9] = 1  # the third, the first frame, darker
    return Samples(frames, np.array([0, 0, 1, 2]))


def test_every_recording_has_a_row_of_its_frames() -> None:
    picture = frame_strips(samples(), recordings=4)
    assert picture.shape == (4 * 32 - 2, 3 * 62 - 2, 3)
    # classes in turn: recordings 0, 2, 3, then 1
    red, green, blue = picture[3 * 32 + 5, 2 * 62 + 7].astype(int)
    assert red > max(green, blue)
    red, green, blue = picture[32 + 8, 9].astype(int)
    assert blue > max(red, green)
    inked = (picture.reshape(-1, 3) != 255).any(axis=1) & (picture.reshape(-1, 3) != 128).any(
        axis=1
    )
    assert inked.sum() == 2


def test_a_cochlea_has_rows_that_can_be_seen() -> None:
    frames = np.zeros((1, 2, 1, 1, 20), dtype=np.uint8)
    frames[0, 1, 0, 0, 3] = 9
    picture = frame_strips(Samples(frames, np.array([0])))
    assert picture.shape == (6, 2 * 60 + 2, 3)
    assert (picture[:, 62 + 9 : 62 + 12, 1] < 128).all()
