"""Recordings as a picture: a row of frames each, brighter red and darker blue on white."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latsearch.data.splits import Samples

_GAP = 2  # pixels between frames
_SMALLEST = 60  # pixels of a frame's longer side; smaller frames are enlarged
_BRIGHTEST = 99.5  # percentile of the counts that gets the full colour
_INK = np.array([[0.10, 0.25, 0.85], [0.85, 0.10, 0.10]])  # darker, brighter


def frame_strips(samples: Samples, recordings: int = 8) -> NDArray[np.uint8]:
    """The frames of one recording after the other, each class in its turn.

    Args:
        samples: recordings binned to frames.
        recordings: how many are shown.

    Returns:
        ``[H, W, 3]`` uint8.
    """
    frames = samples.take(_of_each_class(samples.labels, recordings)).images
    painted = _paint(frames)
    count, timesteps, height, width, _ = painted.shape
    enlarge = max(1, round(_SMALLEST / max(height, width)))
    tall = enlarge * (_GAP if height == 1 else 1)  # a single row would hardly be seen
    painted = painted.repeat(tall, axis=2).repeat(enlarge, axis=3)
    height, width = painted.shape[2:4]
    picture = np.full(
        (count * (height + _GAP) - _GAP, timesteps * (width + _GAP) - _GAP, 3), 128, np.uint8
    )
    for row in range(count):
        for step in range(timesteps):
            top, left = row * (height + _GAP), step * (width + _GAP)
            picture[top : top + height, left : left + width] = painted[row, step]
    return picture


def _of_each_class(labels: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """The first sample of each class, then the second of each, up to ``count``."""
    turn = np.zeros(len(labels), dtype=np.intp)
    for label in np.unique(labels):
        mine = labels == label
        turn[mine] = np.arange(mine.sum())
    return np.lexsort((labels, turn))[:count]


def _paint(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``[N, T, H, W, 3]``: white where nothing happened, each polarity in its colour."""
    counts = frames.astype(np.float64)
    busy = counts[counts > 0]
    full = max(1.0, float(np.percentile(busy, _BRIGHTEST))) if len(busy) else 1.0
    strength = np.sqrt(counts.clip(0, full) / full)  # so that single events are seen
    ink = _INK[-1:] if frames.shape[2] == 1 else _INK
    taken = np.einsum("ntphw,pc->nthwc", strength, 1.0 - ink)
    painted: NDArray[np.uint8] = np.rint(255 * (1.0 - taken).clip(0, 1)).astype(np.uint8)
    return painted
