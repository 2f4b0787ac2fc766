"""Pareto fronts over arrays: every function takes losses, one row a point, less is better.

Directions and scales are normalised once, by `Objective.losses`; here is pure minimisation.
"""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import NDArray

from latsearch.objectives import FloatArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]


def nondominated(losses: FloatArray) -> BoolArray:
    """Mark the nondominated rows; of equal rows the first alone.

    Args:
        losses: ``[N, M]``; rows with a value that is not finite are never marked.

    Returns:
        ``[N]`` booleans.

    Example:
        >>> nondominated(np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 3.0], [2.0, 2.0]]))
        array([ True,  True, False, False])
    """
    _check_matrix(losses)
    marked: BoolArray = np.asarray(np.isfinite(losses).all(axis=1))
    if marked.any():
        marked[marked] = moocore.is_nondominated(losses[marked], keep_weakly=False)
    return marked


def hypervolume(losses: FloatArray, reference: FloatArray) -> float:
    """Volume between the rows' front and the reference point.

    Rows that do not improve on the reference in every objective add nothing.

    Args:
        losses: ``[N, M]``; rows that are not finite are left out.
        reference: ``[M]``.

    Example:
        >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([3.0, 3.0]))
        3.0
    """
    _check_matrix(losses)
    inside = np.isfinite(losses).all(axis=1) & (losses < reference).all(axis=1)
    if not inside.any():
        return 0.0
    if losses.shape[1] == 1:  # moocore starts at two objectives
        return float(reference[0] - losses[inside, 0].min())
    return float(moocore.hypervolume(losses[inside], ref=reference))


def contributions(losses: FloatArray, reference: FloatArray) -> FloatArray:
    """Hypervolume that each row alone adds to the set, ``[N]``."""
    _check_matrix(losses)
    if losses.shape[1] == 1:
        whole = hypervolume(losses, reference)
        others = [np.delete(losses, row, axis=0) for row in range(len(losses))]
        return np.array([whole - hypervolume(rest, reference) for rest in others])
    added = np.zeros(len(losses))
    finite = np.isfinite(losses).all(axis=1)
    if finite.any():
        inside = np.minimum(losses[finite], reference)
        added[finite] = moocore.hv_contributions(inside, ref=reference, ignore_dominated=False)
    return added


def thin(losses: FloatArray, reference: FloatArray, most: int) -> IntArray:
    """Choose at most ``most`` rows that keep the hypervolume: drop the least contributor, again.

    Args:
        losses: ``[N, M]``, mutually nondominated.
        reference: ``[M]``.
        most: how many rows to keep, at least 1.

    Returns:
        Indices of the kept rows in their given order.
    """
    if most < 1:
        raise ValueError(f"most = {most}, but at least one row has to stay")
    kept = np.arange(len(losses))
    while len(kept) > most:
        kept = np.delete(kept, int(np.argmin(contributions(losses[kept], reference))))
    return kept


def knee(losses: FloatArray) -> int:
    """Index of the row nearest to the ideal point after each column is scaled to 0..1.

    Args:
        losses: ``[N, M]``, at least one row, all finite.

    Example:
        >>> knee(np.array([[0.0, 10.0], [1.0, 1.0], [10.0, 0.0]]))
        1
    """
    _check_matrix(losses)
    if len(losses) == 0:
        raise ValueError("the knee of no rows does not exist")
    low, high = losses.min(axis=0), losses.max(axis=0)
    scaled = (losses - low) / np.where(high > low, high - low, 1.0)
    return int(np.argmin((scaled**2).sum(axis=1)))


def _check_matrix(losses: FloatArray) -> None:
    if losses.ndim != 2:
        raise ValueError(f"losses must be [N, M], got shape {losses.shape}")
