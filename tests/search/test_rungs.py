"""The rungs' decisions: true ranks whatever the order, the budget rule, constraints, NaN."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latsearch.config import StoppingConfig
from latsearch.objectives import FloatArray
from latsearch.search.rungs import WINDOW, Rungs, Standing, among_best, levels, most_epochs, ranked

HALVING = StoppingConfig()
MEDIAN = StoppingConfig(rule="median")


def standing(trial: int, *rows: Sequence[float], violation: float = 0.0) -> Standing:
    losses = np.array(rows, dtype=float)
    return Standing.of(trial, losses, np.full(len(losses), violation))


@st.composite
def rungs(draw: st.DrawFn, objectives: int = 0, most: int = 7) -> list[Standing]:
    """Trials at a rung: small integers, so that ties, duplicates and dominance are common."""
    width = objectives or draw(st.integers(1, 4))
    number = st.integers(0, 4).map(float) | st.just(math.nan)
    row = st.tuples(*[number] * width)
    curves = draw(st.lists(st.lists(row, min_size=1, max_size=3), min_size=1, max_size=most))
    found = []
    for trial, rows in enumerate(curves):
        broken = draw(st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=3, max_size=3))
        violations = np.array(broken[: len(rows)], dtype=float)
        found.append(Standing.of(trial, np.array(rows), violations))
    return found


# --- a slow reference --------------------------------------------------------------------------


def dominates(a: FloatArray, b: FloatArray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def volume(rows: Sequence[FloatArray], reference: FloatArray) -> float:
    """Inclusion and exclusion over all subsets of the rows' boxes."""
    total = 0.0
    for size in range(1, len(rows) + 1):
        for subset in itertools.combinations(rows, size):
            sides = reference - np.max(subset, axis=0)
            total += (-1) ** (size + 1) * float(np.prod(np.maximum(sides, 0)))
    return total


def distinct(rows: Sequence[FloatArray]) -> list[FloatArray]:
    """The rows that none of the others dominates, each once."""
    once = [np.array(row) for row in sorted({tuple(row) for row in rows})]
    return [row for row in once if not any(dominates(other, row) for other in once)]


def peeled(rows: Sequence[FloatArray]) -> dict[tuple[float, ...], int]:
    """Front number of each row, one front after the other."""
    fronts: dict[tuple[float, ...], int] = {}
    for number in itertools.count():
        left = [row for row in rows if tuple(row) not in fronts]
        if not left:
            return fronts
        first = [row for row in left if not any(dominates(other, row) for other in left)]
        fronts |= {tuple(row): number for row in first}
    raise AssertionError


def slowly_ranked(standings: Sequence[Standing]) -> list[int]:
    """The order by its definition: fronts peeled one by one, volumes by brute force."""
    able = {s.trial: list(s.losses) for s in standings if len(s.losses)}
    rows = [row for curve in able.values() for row in curve]
    fronts = peeled(rows)
    low, high = (np.min(rows, axis=0), np.max(rows, axis=0)) if rows else (0, 0)
    scale = np.where(high > low, high - low, 1.0)

    def covered(trials: Sequence[int]) -> float:
        scaled = [(row - low) / scale for row in distinct([r for t in trials for r in able[t]])]
        return volume(scaled, np.full(len(rows[0]), 1.1))

    order: list[int] = []
    best = {trial: min(fronts[tuple(row)] for row in curve) for trial, curve in able.items()}
    for front in sorted(set(best.values())):
        taken: list[int] = []
        while left := sorted(t for t in able if best[t] == front and t not in taken):
            before = covered(taken)
            added = {t: round(covered([*taken, t]) - before, 9) for t in left}
            taken.append(max(left, key=lambda t: (added[t], -t)))
        order += taken
    others = [s for s in standings if not len(s.losses)]
    return order + [s.trial for s in sorted(others, key=lambda s: (s.violation, s.trial))]


@given(rungs(most=5))
def test_ranks_equal_the_slow_reference(standings: list[Standing]) -> None:
    assert list(ranked(standings)) == slowly_ranked(standings)


@given(rungs())
def test_being_among_the_best_is_being_ranked_there(standings: list[Standing]) -> None:
    order = list(ranked(standings))
    for count in range(len(order) + 1):
        best = {trial for trial in order if among_best(standings, trial, count)}
        assert best == set(order[:count])


def test_a_trial_that_never_came_has_no_rank() -> None:
    with pytest.raises(ValueError, match="trial 7 is not at the rung"):
        among_best([standing(0, [1.0, 2.0])], 7, 1)


# --- ranks -------------------------------------------------------------------------------------


@given(rungs(), st.randoms())
def test_ranks_do_not_depend_on_the_order_of_arrival(
    standings: list[Standing], random: Random
) -> None:
    shuffled = list(standings)
    random.shuffle(shuffled)
    assert list(ranked(shuffled)) == list(ranked(standings))


@given(rungs(), st.sampled_from([0.5, 2.0, 8.0]), st.sampled_from([-4.0, 0.0, 16.0]))
def test_ranks_do_not_depend_on_scale_and_origin(
    standings: list[Standing], scale: float, origin: float
) -> None:
    moved = [Standing(s.trial, scale * s.losses + origin, s.violation) for s in standings]
    assert list(ranked(moved)) == list(ranked(standings))


@given(rungs(objectives=1))
def test_one_objective_is_ranked_by_its_best_value(standings: list[Standing]) -> None:
    able = [s for s in standings if len(s.losses)]
    expected = [s.trial for s in sorted(able, key=lambda s: (s.losses.min(), s.trial))]
    assert list(ranked(standings))[: len(able)] == expected


@given(rungs())
def test_trials_that_keep_the_constraints_come_first(standings: list[Standing]) -> None:
    by_trial = {s.trial: s for s in standings}
    found = [by_trial[trial].violation for trial in ranked(standings)]
    assert found == sorted(found)


@given(rungs(objectives=2))
def test_a_curve_that_is_better_everywhere_ranks_before(standings: list[Standing]) -> None:
    able = [s for s in standings if len(s.losses)]
    if able:
        better = Standing(len(standings), able[0].losses - 0.5, 0.0)
        order = list(ranked([*standings, better]))
        assert order.index(better.trial) < order.index(able[0].trial)


def test_true_ranks_of_shuffled_points() -> None:
    """Points of known fronts; an argsort taken for ranks would correlate with them at about 0."""
    generator = np.random.default_rng(0)
    depth = generator.permutation(np.repeat(np.arange(10), 10))
    place = generator.uniform(0, 1, 100)
    points = [
        standing(i, (d + p, d + 1 - p)) for i, (d, p) in enumerate(zip(depth, place, strict=True))
    ]
    found = depth[list(ranked(points))]
    assert np.array_equal(found, np.sort(depth))


def test_within_a_front_the_set_that_covers_most_comes_first() -> None:
    """Two near twins in the middle and the two ends: one twin, the ends, then the other twin."""
    curves = [(0.0, 10.0), (4.9, 5.0), (5.0, 4.9), (10.0, 0.0)]
    order = list(ranked([standing(i, row) for i, row in enumerate(curves)]))
    assert order[0] in (1, 2)
    assert order[-1] == 3 - order[0]


def test_rows_of_a_trial_do_not_push_others_down() -> None:
    """Rows that their own trial dominates do not count: 1 is on the second front, as 2 is."""
    deep = standing(0, (0.0, 0.0), (1.0, 1.0), (2.0, 2.0))
    assert len(deep.losses) == 1
    assert list(ranked([deep, standing(1, (3.0, 2.0)), standing(2, (2.0, 4.0))])) == [0, 1, 2]


# --- levels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stopping", "epochs", "expected"),
    [
        (None, 100, ()),
        (StoppingConfig(rule="none"), 100, ()),
        (HALVING, 100, (4, 12, 36)),
        (HALVING, 36, (4, 12)),
        (HALVING, 37, (4, 12, 36)),
        (HALVING, 4, ()),
        (StoppingConfig(min_epochs=1, reduction_factor=2), 9, (1, 2, 4, 8)),
        (MEDIAN, 13, (4, 8, 12)),
        (MEDIAN, 12, (4, 8)),
    ],
)
def test_levels(stopping: StoppingConfig | None, epochs: int, expected: tuple[int, ...]) -> None:
    assert levels(stopping, epochs) == expected
    assert Rungs(stopping).levels(epochs) == expected


@pytest.mark.parametrize("stopping", [None, StoppingConfig(rule="none"), HALVING])
def test_there_is_no_decision_where_there_is_no_rung(stopping: StoppingConfig | None) -> None:
    with pytest.raises(ValueError, match="no rung at epoch 5"):
        Rungs(stopping).report(5, standing(0, (1.0, 1.0)))


# --- decisions ---------------------------------------------------------------------------------


def decide(stopping: StoppingConfig, arrivals: Sequence[Standing]) -> list[bool]:
    fold = Rungs(stopping)
    return [fold.report(4, each) for each in arrivals]


@given(rungs(most=20), st.integers(2, 5))
def test_the_budget_rule(standings: list[Standing], factor: int) -> None:
    went_on = decide(StoppingConfig(reduction_factor=factor), standings)
    for n in range(1, len(went_on) + 1):
        assert sum(went_on[:n]) <= math.ceil(n / factor)


@pytest.mark.parametrize("objectives", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", ["nondominated", "improving", "equal"])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_budget_is_kept_and_used_on_hard_sequences(
    objectives: int, kind: str, factor: int
) -> None:
    generator = np.random.default_rng(objectives)
    count = 60
    points = generator.dirichlet(np.ones(objectives), count)  # their sum is 1: none dominates
    if kind == "improving":
        points = points - np.arange(count)[:, None]
    elif kind == "equal":
        points = np.ones_like(points)
    went_on = decide(
        StoppingConfig(reduction_factor=factor), [standing(i, p) for i, p in enumerate(points)]
    )
    for n in range(1, count + 1):
        assert sum(went_on[:n]) <= math.ceil(n / factor)
    if kind == "improving":  # whenever there is room the newcomer, the best of all, takes it
        assert sum(went_on) == math.ceil(count / factor)


@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 5), st.integers(2, 4))
def test_trials_that_each_beat_all_before_train_the_most_epochs(
    trials: int, epochs: int, first: int, factor: int
) -> None:
    stopping = StoppingConfig(min_epochs=first, reduction_factor=factor)
    fold, trained = Rungs(stopping), 0
    for number in range(trials):
        stops = (
            level
            for level in fold.levels(epochs)
            if not fold.report(level, standing(number, np.array([-float(number)])))
        )
        trained += next(stops, epochs)
    assert trained == most_epochs(stopping, epochs, trials)


@pytest.mark.parametrize("stopping", [None, StoppingConfig(rule="none"), MEDIAN])
def test_rules_without_a_budget_may_train_every_epoch(stopping: StoppingConfig | None) -> None:
    assert most_epochs(stopping, 20, 7) == 140


@given(rungs(most=12), st.sampled_from([HALVING, MEDIAN]), st.data())
def test_a_decision_depends_on_the_log_before_it_alone(
    standings: list[Standing], stopping: StoppingConfig, data: st.DataObject
) -> None:
    whole = decide(stopping, standings)
    cut = data.draw(st.integers(0, len(standings)))
    assert decide(stopping, standings[:cut]) == whole[:cut]


@given(rungs(most=12))
def test_who_goes_on_is_among_the_best_so_far(standings: list[Standing]) -> None:
    for stopping, factor in ((HALVING, 3), (MEDIAN, 2)):
        for n, goes_on in enumerate(decide(stopping, standings), start=1):
            best = list(ranked(standings[:n]))[: math.ceil(n / factor)]
            if goes_on:
                assert standings[n - 1].trial in best
            elif stopping is MEDIAN and standings[n - 1].violation < math.inf:
                assert standings[n - 1].trial not in best


def test_rungs_are_independent() -> None:
    fold = Rungs(HALVING)
    assert fold.report(4, standing(0, (0.0, 0.0)))
    assert not fold.report(4, standing(1, (1.0, 1.0)))
    assert fold.report(12, standing(0, (0.0, 0.0)))


@pytest.mark.parametrize("stopping", [HALVING, MEDIAN])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_never_goes_on(stopping: StoppingConfig, value: float) -> None:
    fold = Rungs(stopping)
    assert not fold.report(4, standing(0, (value, 0.0), (0.0, value)))  # though it is the first
    assert fold.report(4, standing(1, (value, 0.0), (5.0, 5.0)))  # one row is enough
    assert not fold.report(4, standing(2, (9.0, 9.0), violation=math.nan))


def test_networks_that_break_a_constraint_are_stopped_first() -> None:
    """Silent but accurate ones lose to all that decide, and rank by how silent they are."""
    decides = [standing(i, (0.5 + i / 10, 2.0)) for i in range(2)]
    silent = [standing(2, (0.0, 0.0), violation=0.4), standing(3, (0.1, 0.1), violation=0.1)]
    assert list(ranked([*silent, *decides])) == [0, 1, 3, 2]
    assert decide(HALVING, [silent[0], *decides])[0]  # nothing to compare it with yet
    assert not decide(HALVING, [decides[0], *silent])[1]


def test_ties_go_to_the_lower_number() -> None:
    twins = [standing(i, (1.0, 2.0), (2.0, 1.0)) for i in (5, 3, 4)]
    assert list(ranked(twins)) == [3, 4, 5]


def test_arguments_are_not_changed_and_checked() -> None:
    losses, violations = np.array([[2.0, 1.0], [1.0, 2.0]]), np.zeros(2)
    losses.flags.writeable = violations.flags.writeable = False
    made = Standing.of(0, losses, violations)
    list(ranked([made, made]))
    assert made.losses.tolist() == [[1.0, 2.0], [2.0, 1.0]]
    with pytest.raises(ValueError, match=r"\[R, M\]"):
        Standing.of(0, np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match=r"\[R, M\]"):
        Standing.of(0, np.zeros((3, 2)), np.zeros(2))


def test_the_budget_holds_beyond_the_window() -> None:
    generator = np.random.default_rng(7)
    points = generator.uniform(0, 1, (2 * WINDOW, 2)) - np.arange(2 * WINDOW)[:, None] / 100
    went_on = decide(HALVING, [standing(i, p) for i, p in enumerate(points)])
    assert all(sum(went_on[:n]) <= math.ceil(n / 3) for n in range(1, len(went_on) + 1))
    assert sum(went_on[WINDOW:]) > WINDOW / 4


def test_the_example_of_the_documentation() -> None:
    """Its table, read from the page: who goes on, and the order in the end."""
    page = (Path(__file__).parents[2] / "docs" / "early_stopping.md").read_text()
    table = re.findall(r"^\| (\d) \| ([^|]+) \| ([^|]+) \| (yes|no):", page, re.MULTILINE)
    assert len(table) == 5
    arrivals, told = [], []
    for number, accuracy, latency, decision in table:
        rows = list(zip(re.findall(r"0\.\d+", accuracy), latency.split(", "), strict=True))
        losses = [(-float(a), float(b)) for a, b in rows]
        violation = 0.30 - 0.05 if "silent" in accuracy else 0.0
        arrivals.append(standing(int(number), *losses, violation=violation))
        told.append(decision == "yes")
    assert decide(HALVING, arrivals) == told
    order = re.search(r"The final order is ([\d, ]+)\.", page)
    assert order is not None
    assert list(ranked(arrivals)) == [int(trial) for trial in order[1].split(", ")]
