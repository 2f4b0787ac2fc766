"""What the sampler is shown of a study, and whose weights stay, as both go on for long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from latsearch.search import history as module
from latsearch.search.history import History
from latsearch.search.keeping import Keeper
from latsearch.search.observations import Observation, best
from latsearch.search.results import front, operating_points
from latsearch.search.trials import TrialRecord, TrialState
from tests.search import studies

OBJECTIVES = ("accuracy", "latency", "energy")
LIMITS = studies.config().constraints


def record(number: int, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    """An ended trial with a random curve, or one that runs."""
    generator = np.random.default_rng(number)
    curve = studies.curve(*generator.uniform([0.5, 1.0, 10.0], [0.9, 3.0, 99.0]))
    entry = {
        "epoch": 3,
        "curve": curve.to_json(),
        "metrics": {},
        "seconds": 1.0,
        "checkpoint": "trials/0/3",
    }
    log = {} if state is TrialState.RUNNING else {3: entry}
    return TrialRecord(number, state, {"x": number}, log)


def shown(order: Sequence[int], running: Sequence[int] = ()) -> list[int]:
    """Numbers of the trials that are shown after these ended in this order."""
    history = History(OBJECTIVES, LIMITS)
    for number in range(len(order) + len(running)):
        history.started(record(number, TrialState.RUNNING))
    for number in order:
        history.ended(record(number), budget=3)
    return [int(seen.values["x"] or 0) for seen in history.shown()]


@pytest.fixture
def chunk(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(module, "CHUNK", 10)
    return 10


def test_short_histories_are_shown_whole(chunk: int) -> None:
    assert shown(range(19)) == list(range(19))
    history = History(OBJECTIVES, LIMITS)
    history.started(record(0, TrialState.RUNNING))
    (running,) = history.shown()
    assert running.losses is None
    history.ended(record(0, TrialState.PRUNED), budget=3)
    (stopped,) = history.shown()
    assert not stopped.measured


def test_long_histories_show_the_best_of_the_closed_and_all_newer_ones(chunk: int) -> None:
    numbers = shown(range(57))
    assert numbers[-17:] == list(range(40, 57))
    assert len(numbers) == 27
    assert numbers == sorted(numbers)
    assert len(shown(range(1000))) == 20
    whole = [record(number) for number in range(40)]
    members = {p.trial for p in front(operating_points(whole, OBJECTIVES, LIMITS), OBJECTIVES)}
    assert len(members & set(numbers[:10])) == min(10, len(members))


def test_what_is_shown_does_not_depend_on_the_order_in_time(chunk: int) -> None:
    generator = np.random.default_rng(1)
    expected = shown(range(45))
    for _ in range(5):
        assert shown(list(generator.permutation(45))) == expected
    # a chunk with a running trial stays open, and everything after it
    assert shown([n for n in range(45) if n != 3], running=[3]) == list(range(45))


def test_trials_come_in_their_order() -> None:
    history = History(OBJECTIVES, LIMITS)
    with pytest.raises(ValueError, match="trial 1 is not the next one"):
        history.started(record(1))


def test_earlier_observations_come_first_and_are_bounded(chunk: int) -> None:
    before = [Observation({"x": -n}, np.array([[n, 40 - n, 0.0]])) for n in range(1, 31)]
    history = History(OBJECTIVES, LIMITS, before)
    history.started(record(0, TrialState.RUNNING))
    assert len(history.shown()) == 11
    assert history.shown()[-1].values == {"x": 0}
    assert history.shown()[:-1] == best(before, 10)


def test_the_best_of_nothing_measured_are_none() -> None:
    assert best([Observation({}, None)] * 5, 2) == []


@pytest.mark.parametrize("keep", [0, 4])
def test_a_keeper_that_is_told_in_pieces_keeps_what_all_at_once_would(keep: int) -> None:
    """Against the plain rule: members of the front, and the most accurate of the others."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
    records = [record(number, states[number % 3]) for number in range(90)]
    keeper = Keeper(OBJECTIVES, LIMITS, keep)
    weights: dict[int, bool] = {}
    order = np.random.default_rng(0).permutation(90)
    for piece in np.array_split(order, 13):
        weights |= keeper.take([records[number] for number in piece])
    members = {p.trial for p in front(operating_points(records, OBJECTIVES, LIMITS), OBJECTIVES)}
    others = [r for r in records if r.number not in members]
    others.sort(key=lambda r: -float(np.max(r.curve.accuracy)) if r.curve else 0.0)
    expected = members | {r.number for r in others[:keep]}
    assert {number for number, stays in weights.items() if stays} == expected
    assert set(weights) == set(range(90))


def test_a_keeper_keeps_nothing_of_trials_without_a_report_beyond_its_number() -> None:
    empty = [TrialRecord(number, TrialState.FAILED, {}) for number in range(3)]
    assert Keeper(OBJECTIVES, LIMITS, 1).take(empty) == {0: True, 1: False, 2: False}
    assert Keeper(OBJECTIVES, LIMITS, 1).take([]) == {}
