"""Event frames as pictures: brighter red, darker blue, on white."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BRIGHTEST = 99.5  # percentile of the counts that gets the full colour
_INK = np.array([[0.10, 0.25, 0.85], [0.85, 0.10, 0.10]])  # darker, brighter
_FLAT = 8  # a frame more than this many times as wide as high is drawn higher


def paint(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frames of a recording as pictures ``[T, H, W, 3]``, all on one scale.

    The rows of a cochlea's frames, a single one, are repeated so that they can be seen.

    Args:
        frames: ``[T, P, H, W]`` counts.
    """
    counts = frames.astype(np.float64)
    busy = counts[counts > 0]
    full = max(1.0, float(np.percentile(busy, _BRIGHTEST))) if len(busy) else 1.0
    strength = np.sqrt(counts.clip(0, full) / full)  # so that single events are seen
    ink = _INK[-1:] if frames.shape[1] == 1 else _INK
    taken = np.einsum("tphw,pc->thwc", strength, 1.0 - ink)
    painted: NDArray[np.uint8] = np.rint(255 * (1.0 - taken).clip(0, 1)).astype(np.uint8)
    height, width = painted.shape[1:3]
    return painted.repeat(max(1, width // (_FLAT * height)), axis=1)
