"""Fronts and hypervolumes against formulas and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latsearch.objectives import FloatArray
from latsearch.pareto import contributions, hypervolume, knee, nondominated, thin

# Small integers make ties and duplicates frequent.
VALUES = st.integers(0, 6).map(float) | st.sampled_from([math.inf, -math.inf, math.nan])
FINITE = st.integers(0, 6).map(float)


def matrices(values: st.SearchStrategy[float], rows: int = 8) -> st.SearchStrategy[FloatArray]:
    shapes = st.tuples(st.integers(0, rows), st.integers(1, 4))
    return shapes.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=values))


def frozen(values: object) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def brute_nondominated(losses: FloatArray) -> list[bool]:
    def beats(i: int, j: int) -> bool:
        if not np.isfinite(losses[i]).all():
            return False
        better = (losses[i] <= losses[j]).all() and (losses[i] < losses[j]).any()
        return bool(better or (i < j and (losses[i] == losses[j]).all()))

    rows = range(len(losses))
    return [bool(np.isfinite(losses[j]).all() and not any(beats(i, j) for i in rows)) for j in rows]


def brute_hypervolume(losses: FloatArray, reference: FloatArray) -> float:
    """Count the unit cells of an integer grid that some row dominates."""
    good = [row for row in losses if np.isfinite(row).all()]
    cells = itertools.product(*(range(int(end)) for end in reference))
    return float(sum(any((row <= cell).all() for row in good) for cell in map(np.array, cells)))


def leave_one_out(losses: FloatArray, reference: FloatArray) -> list[float]:
    whole = hypervolume(losses, reference)
    rows = range(len(losses))
    return [whole - hypervolume(np.delete(losses, row, axis=0), reference) for row in rows]


# --- nondominated rows --------------------------------------------------------------------------


@given(matrices(VALUES))
def test_nondominated_is_brute_force(losses: FloatArray) -> None:
    losses.setflags(write=False)
    assert nondominated(losses).tolist() == brute_nondominated(losses)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_no_rows(objectives: int) -> None:
    empty = frozen(np.empty((0, objectives)))
    reference = frozen(np.ones(objectives))
    assert nondominated(empty).shape == (0,)
    assert nondominated(empty).dtype == bool
    assert hypervolume(empty, reference) == 0.0
    assert contributions(empty, reference).shape == (0,)
    assert thin(empty, reference, 3).shape == (0,)
    with pytest.raises(ValueError, match="no rows"):
        knee(empty)


def test_one_objective() -> None:
    losses = frozen([[3.0], [1.0], [math.nan], [1.0], [2.0]])
    assert nondominated(losses).tolist() == [False, True, False, False, False]
    assert hypervolume(losses, frozen([5.0])) == 4.0
    assert contributions(frozen([[3.0], [1.0], [2.0]]), frozen([5.0])).tolist() == [0, 1, 0]


def test_only_rows_that_are_not_finite() -> None:
    losses = frozen([[math.nan, 1.0], [math.inf, 0.0], [-math.inf, 0.0]])
    assert not nondominated(losses).any()
    assert hypervolume(losses, frozen([9.0, 9.0])) == 0.0


@pytest.mark.parametrize("function", [nondominated, knee])
def test_a_vector_is_no_matrix(function: object) -> None:
    with pytest.raises(ValueError, match=r"must be \[N, M\], got shape \(3,\)"):
        function(np.zeros(3))  # type: ignore[operator]


# --- hypervolume --------------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolume_of_one_row_is_a_box(objectives: int) -> None:
    low = np.linspace(0.1, 0.4, objectives)
    reference = frozen(np.linspace(1.0, 2.0, objectives))
    volume = hypervolume(frozen(low[None]), reference)
    assert volume == pytest.approx(np.prod(reference - low))


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_hypervolume_of_a_simplex(objectives: int) -> None:
    """Rows 1 - e_i under the reference 1: boxes that share no volume but at their faces.

    Row i is 0 in objective i and 1/2 elsewhere. Inclusion and exclusion: each box has the volume
    2**-(M-1), and every intersection of two or more the volume 2**-M.
    """
    losses = frozen(np.full((objectives, objectives), 0.5) - 0.5 * np.eye(objectives))
    whole = objectives * 2.0 ** -(objectives - 1) - (objectives - 1) * 2.0**-objectives
    assert hypervolume(losses, frozen(np.ones(objectives))) == pytest.approx(whole)


@pytest.mark.parametrize("count", [1, 5, 40])
def test_hypervolume_of_a_staircase(count: int) -> None:
    steps = np.arange(count)
    losses = frozen(np.stack([steps, count - 1 - steps], axis=1))
    reference = frozen([count, count])
    assert hypervolume(losses, reference) == count * (count + 1) / 2


@given(matrices(VALUES))
def test_hypervolume_is_brute_force(losses: FloatArray) -> None:
    losses.setflags(write=False)
    losses = frozen(np.where(losses == -math.inf, math.inf, losses))
    reference = frozen(np.full(losses.shape[1], 4.0))
    assert hypervolume(losses, reference) == pytest.approx(brute_hypervolume(losses, reference))


def test_rows_on_or_beyond_the_reference_add_nothing() -> None:
    reference = frozen([2.0, 2.0])
    assert hypervolume(frozen([[2.0, 0.0], [0.0, 3.0], [5.0, 5.0]]), reference) == 0.0
    assert hypervolume(frozen([[1.0, 1.0], [2.0, 0.0], [0.0, 3.0]]), reference) == 1.0


@given(matrices(FINITE))
def test_dominated_rows_add_nothing(losses: FloatArray) -> None:
    reference = frozen(np.full(losses.shape[1], 5.0))
    front = losses[nondominated(losses)]
    assert hypervolume(front, reference) == pytest.approx(hypervolume(losses, reference))


# --- contributions ------------------------------------------------------------------------------


@given(matrices(FINITE))
def test_contributions_within_a_front_are_leave_one_out(losses: FloatArray) -> None:
    front = losses[nondominated(losses)]
    reference = frozen(np.full(losses.shape[1], 7.0))
    np.testing.assert_allclose(contributions(front, reference), leave_one_out(front, reference))


@given(matrices(FINITE))
def test_contributions_are_leave_one_out(losses: FloatArray) -> None:
    losses.setflags(write=False)
    reference = frozen(np.full(losses.shape[1], 5.0))
    np.testing.assert_allclose(contributions(losses, reference), leave_one_out(losses, reference))


def test_contributions_of_duplicates_are_zero() -> None:
    losses = frozen([[1.0, 1.0], [1.0, 1.0], [0.0, 2.0]])
    assert contributions(losses, frozen([3.0, 3.0])).tolist() == [0.0, 0.0, 1.0]


def test_contributions_of_rows_that_are_not_finite_are_zero() -> None:
    for values in ([math.nan, 0.0], [math.inf, 0.0], [-math.inf, 0.0]):
        losses = frozen([[1.0, 1.0], values])
        assert contributions(losses, frozen([3.0, 3.0])).tolist() == [4.0, 0.0]


# --- thinning -----------------------------------------------------------------------------------


@given(matrices(FINITE), st.integers(1, 8))
def test_thin_is_greedy(losses: FloatArray, most: int) -> None:
    front = losses[nondominated(losses)]
    front.setflags(write=False)
    reference = frozen(np.full(losses.shape[1], 7.0))
    kept = thin(front, reference, most)
    assert len(kept) == min(most, len(front))
    assert (np.diff(kept) > 0).all()
    left = list(range(len(front)))
    while len(left) > most:  # the reference: try to leave out each, keep the best rest
        volumes = [
            hypervolume(front[[row for row in left if row != out]], reference) for out in left
        ]
        left.pop(int(np.argmax(volumes)))
    assert hypervolume(front[kept], reference) == pytest.approx(hypervolume(front[left], reference))


def test_thin_keeps_the_larger_boxes() -> None:
    losses = frozen([[0.0, 9.0], [1.0, 8.9], [5.0, 5.0], [9.0, 0.0]])
    # Alone, row 1 adds 4 x 0.1 and row 0 adds 1 x 1.
    assert thin(losses, frozen([10.0, 10.0]), 3).tolist() == [0, 2, 3]
    assert thin(losses, frozen([10.0, 10.0]), 1).tolist() == [2]


def test_thin_keeps_at_least_one() -> None:
    with pytest.raises(ValueError, match="most = 0"):
        thin(frozen([[1.0, 1.0]]), frozen([2.0, 2.0]), 0)


# --- knee ---------------------------------------------------------------------------------------


def test_knee_is_nearest_to_the_ideal_point() -> None:
    assert knee(frozen([[0.0, 10.0], [1.0, 1.0], [10.0, 0.0]])) == 1
    assert knee(frozen([[0.0, 1e6], [0.5, 0.4e6], [1.0, 0.0]])) == 1  # whatever the scales


@given(matrices(FINITE).filter(len))
def test_knee_is_on_the_front(losses: FloatArray) -> None:
    losses.setflags(write=False)
    assert nondominated(losses)[knee(losses)]


def test_knee_of_rows_that_do_not_differ() -> None:
    assert knee(frozen([[2.0, 3.0], [2.0, 3.0]])) == 0
