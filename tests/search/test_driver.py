"""The search's decisions: order, failures, restarts; no Ray, real storage."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latsearch.search.driver import Event, Search, TrialEnded, TrialReported, TrialStarted
from latsearch.search.results import front, operating_points
from latsearch.search.storage import Study
from latsearch.search.trials import TrialState
from tests.search import studies


def reopened(folder: Path) -> Search:
    return studies.new_search(Study.open(folder, drive=True))


def test_a_search_ends_with_every_trial_complete(tmp_path: Path) -> None:
    search = studies.new_search(studies.new_study(tmp_path))
    events: list[Event] = []
    search.observe(events.append)
    while not search.done:
        studies.train(search, search.ask())
    assert [r.state for r in search.records.values()] == [TrialState.COMPLETE] * 12
    assert [type(event) for event in events] == [
        TrialStarted, TrialReported, TrialReported, TrialReported, TrialEnded
    ] * 12  # fmt: skip
    with pytest.raises(LookupError):
        search.ask()


def test_the_storage_has_what_the_search_says(tmp_path: Path) -> None:
    study = studies.new_study(tmp_path)
    search = studies.new_search(study)
    for _ in range(4):
        studies.train(search, search.ask())
    stored = Study.open(tmp_path).trials()
    assert [r.number for r in stored] == [0, 1, 2, 3]
    for record in stored:
        told = search.records[record.number]
        assert record.values == told.values
        assert record.state == told.state
        assert record.curve is not None
        assert told.curve is not None
        assert np.array_equal(record.curve.accuracy, told.curve.accuracy)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("stop_after", [1, 5, 11])
def test_a_restarted_search_equals_an_uninterrupted_one(
    tmp_path: Path, sampler: str, stop_after: int
) -> None:
    config = studies.config(sampler=sampler)
    whole = studies.new_search(studies.new_study(tmp_path / "whole", config))
    while not whole.done:
        studies.train(whole, whole.ask())
    search = studies.new_search(studies.new_study(tmp_path / "cut", config))
    for _ in range(stop_after):
        studies.train(search, search.ask())
    studies.train(search, search.ask(), epochs=2)  # the driver dies in the middle of this one
    search = reopened(tmp_path / "cut")
    while not search.done:
        studies.train(search, search.ask())
    assert [r.values for r in search.records.values()] == [r.values for r in whole.records.values()]


def test_interrupted_trials_come_first_with_their_checkpoints(tmp_path: Path) -> None:
    search = studies.new_search(studies.new_study(tmp_path))
    one, two = search.ask(), search.ask()
    values = dict(search.records[two.number].values)
    search.report(two.number, studies.report(values, 1))
    search.report(two.number, studies.report(values, 2, "trials/00001/00002"))
    again = reopened(tmp_path)
    first, second = again.ask(), again.ask()
    assert (first.number, first.checkpoint, first.trial) == (one.number, None, one.trial)
    assert (second.number, second.checkpoint) == (two.number, "trials/00001/00002")
    assert (first.seed, second.seed) == (one.seed, two.seed)
    assert again.ask().number == 2


def test_an_epoch_reported_before_a_crash_is_not_written_twice(tmp_path: Path) -> None:
    search = studies.new_search(studies.new_study(tmp_path))
    assignment = search.ask()
    values = dict(search.records[0].values)
    search.report(assignment.number, studies.report(values, 1))
    assert search.report(assignment.number, replace(studies.report(values, 1), seconds=99.0))
    assert search.records[0].seconds == 0.5
    assert Study.open(tmp_path).trials()[0].seconds == 0.5


def test_a_crashed_trial_is_tried_again_but_not_for_ever(tmp_path: Path) -> None:
    search = studies.new_search(studies.new_study(tmp_path, studies.config(trials=1)))
    for attempt in range(3):
        assert search.ask().number == 0
        assert not search.done
        search.crash(0, "its worker died")
        assert (search.records[0].state is TrialState.FAILED) == (attempt == 2)
    assert search.done
    assert search.records[0].reason == "its worker died, 3 times"


def test_lack_of_memory_splits_batches_until_the_attempts_are_over(tmp_path: Path) -> None:
    search = studies.new_search(studies.new_study(tmp_path, studies.config(trials=1)))
    for parts in (1, 2, 4):
        assert search.ask().parts == parts
        search.crash(0, "MemoryError", memory=True, trace="here")
        if parts == 2:
            search = reopened(tmp_path)
    assert search.records[0].state is TrialState.FAILED
    assert search.records[0].reason == "MemoryError, 3 times, at last with batches in 4 parts"
    assert search.records[0].trace == "here"
    assert Study.open(tmp_path).trials()[0].parts == 4


@pytest.mark.parametrize(("batch_size", "few"), [(32, False), (31, True)])
def test_parts_too_small_for_batch_normalisation_are_said(
    batch_size: int, few: bool, tmp_path: Path
) -> None:
    text = studies.CONFIG.replace("epochs: 3", f"epochs: 3\n  batch_size: {batch_size}")
    search = studies.new_search(studies.new_study(tmp_path, studies.config(text)))
    told: list[Event] = []
    search.observe(told.append)
    search.ask()
    search.crash(0, "MemoryError", memory=True)
    ended = told[-1]
    assert isinstance(ended, TrialEnded)
    assert ended.reason is not None
    assert ended.reason.startswith("MemoryError (next time with batches in 2 parts")
    assert ("of 15 samples, from which batch normalisation may learn worse" in ended.reason) == few


def test_a_batch_that_cannot_be_split_is_not_tried_again(tmp_path: Path) -> None:
    text = studies.CONFIG.replace("epochs: 3", "epochs: 3\n  batch_size: 3")
    search = studies.new_search(studies.new_study(tmp_path, studies.config(text, trials=1)))
    search.ask()
    search.crash(0, "MemoryError", memory=True)
    assert search.records[0].state is TrialState.FAILED
    assert search.records[0].reason == "MemoryError"


@pytest.mark.parametrize("name", ["train_loss", "grad_norm"])
def test_a_metric_of_the_training_that_is_not_finite_fails_its_trial(
    tmp_path: Path, name: str
) -> None:
    search = studies.new_search(studies.new_study(tmp_path, studies.config(trials=2)))
    search.ask()
    healthy = studies.report(dict(search.records[0].values), 1)
    assert not search.report(0, replace(healthy, metrics={name: math.nan}))
    assert search.records[0].reason == f"epoch 1: {name} is not finite"


def test_attempts_are_counted_across_restarts(tmp_path: Path) -> None:
    search = studies.new_search(studies.new_study(tmp_path, studies.config(trials=1)))
    for _ in range(3):
        search.ask()
        search.crash(0, "its worker died")
        search = reopened(tmp_path)
    assert search.records[0].state is TrialState.FAILED


def test_nothing_is_idle_while_a_running_trial_may_crash(tmp_path: Path) -> None:
    search = studies.new_search(studies.new_study(tmp_path, studies.config(trials=2)))
    search.ask()
    assert not search.idle
    search.ask()
    assert search.idle
    assert not search.done
    search.crash(0, "its worker died")
    assert not search.idle


@pytest.mark.parametrize("column", ["accuracy", "latency", "energy"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_report_that_is_not_finite_fails_its_trial_alone(
    tmp_path: Path, column: str, value: float
) -> None:
    search = studies.new_search(studies.new_study(tmp_path, studies.config(trials=2)))
    search.ask()
    bad = studies.curve()
    getattr(bad, column)[1] = value
    healthy = studies.report(dict(search.records[0].values), 1)
    assert not search.report(0, replace(healthy, curve=bad))
    assert search.records[0].state is TrialState.FAILED
    assert column in str(search.records[0].reason)
    studies.train(search, search.ask())
    assert search.done
    objectives = tuple(studies.config().objectives)
    points = operating_points(list(search.records.values()), objectives, {})
    assert {point.trial for point in points} == {1}


def test_weights_stay_for_the_front_and_the_kept(tmp_path: Path) -> None:
    study = studies.new_study(tmp_path)
    search = studies.new_search(study)
    while not search.done:
        assignment = search.ask()
        checkpoint = f"trials/{assignment.number:05d}/00003"
        folder = tmp_path / checkpoint
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
        (folder / "state.pt").touch()
        values = dict(search.records[assignment.number].values)
        for epoch in (1, 2, 3):
            search.report(
                assignment.number, studies.report(values, epoch, checkpoint if epoch == 3 else None)
            )
        search.complete(assignment.number)
    config = study.config
    objectives = tuple(config.objectives)
    points = operating_points(list(search.records.values()), objectives, config.constraints)
    members = {point.trial for point in front(points, objectives)}
    left = {int(p.parts[-3]) for p in tmp_path.glob("trials/*/*/model.safetensors")}
    assert members <= left
    assert len(left) == min(12, len(members) + config.run.keep)
    assert not list(tmp_path.glob("trials/*/*/state.pt"))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(["train", "crash", "fail", "restart", "start"]), max_size=25))
def test_whatever_happens_every_trial_ends_once(
    tmp_path_factory: pytest.TempPathFactory, happenings: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("study")
    search = studies.new_search(
        studies.new_study(folder, studies.config(trials=5, sampler="random"))
    )
    running = []
    for happening in happenings:
        if happening == "restart":
            search, running = reopened(folder), []
        elif happening == "start" and not search.idle:
            running.append(search.ask())
        elif running and happening == "train":
            studies.train(search, running.pop(0))
        elif running and happening == "crash":
            search.crash(running.pop(0).number, "its worker died")
        elif running and happening == "fail":
            search.fail(running.pop(0).number, "ValueError: no")
    search = reopened(folder)
    while not search.done:
        studies.train(search, search.ask())
    stored = Study.open(folder).trials()
    assert [record.number for record in stored] == list(range(5))
    assert all(record.state.finished for record in stored)
    assert all(
        sorted(record.log) == [1, 2, 3] for record in stored if record.state is TrialState.COMPLETE
    )
