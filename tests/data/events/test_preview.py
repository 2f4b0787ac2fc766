"""Pictures of frames: what is where, and in which colour."""

from __future__ import annotations

import numpy as np

from latsearch.data.events.preview import paint


def test_brighter_is_red_and_darker_blue() -> None:
    frames = np.zeros((3, 2, 30, 60), dtype=np.uint8)
    frames[2, 1, 5, 7] = 1
    frames[0, 0, 8, 9] = 1
    pictures = paint(frames)
    assert pictures.shape == (3, 30, 60, 3)
    red, green, blue = pictures[2, 5, 7].astype(int)
    assert red > max(green, blue)
    red, green, blue = pictures[0, 8, 9].astype(int)
    assert blue > max(red, green)
    assert (~(pictures == 255).all(axis=3)).sum() == 2


def test_more_events_are_darker() -> None:
    frames = np.zeros((1, 1, 1, 4), dtype=np.uint8)
    frames[0, 0, 0] = [0, 1, 4, 9]
    darkness = 255 - paint(frames)[0, 0, :, 1].astype(int)
    assert darkness[0] == 0
    assert (np.diff(darkness) > 0).all()


def test_a_cochlea_has_rows_that_can_be_seen() -> None:
    frames = np.zeros((2, 1, 1, 700), dtype=np.uint8)
    frames[1, 0, 0, 3] = 9
    pictures = paint(frames)
    assert pictures.shape == (2, 87, 700, 3)
    assert (pictures[1, :, 3, 1] < 128).all()
    assert (pictures[0] == 255).all()
