"""Early stopping and refusals in the running search: what is stored, what a restart decides."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from latsearch.config import StoppingConfig, StudyConfig, Value, parse_study
from latsearch.objectives import EpochReport
from latsearch.search import rungs, worker
from latsearch.search.checkpoints import FolderCheckpoints
from latsearch.search.driver import Assignment, Event, Search, TrialEnded
from latsearch.search.observations import Observation
from latsearch.search.results import operating_points
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState
from tests.search import studies

RULES = [
    StoppingConfig(min_epochs=1, reduction_factor=2),
    StoppingConfig(min_epochs=2, reduction_factor=3),
    StoppingConfig(rule="median", min_epochs=1),
]
NARROW = """
version: 1
study: narrow
data: {name: digits}
network:
  family: {choices: [mlp, lenet]}
  hidden: {choices: [8, 16], when: {network.family: mlp}}
  firing_threshold: {low: 0.5, high: 1.5, step: 0.5}
train: {epochs: 3}
search: {trials: 40, seed: 3}
"""


def config(stopping: StoppingConfig | None, **search: object) -> StudyConfig:
    text = studies.CONFIG.replace("epochs: 3", "epochs: 9")
    return studies.config(text, stopping=stopping, **search)


def step(search: Search, assignment: Assignment, checkpoints: bool = True) -> bool:
    """Report the next epoch, with a checkpoint where one is due; whether the trial goes on."""
    record = search.records[assignment.number]
    epoch, last = record.epoch + 1, assignment.trial.train.epochs
    due = checkpoints and (epoch in assignment.rungs or epoch == last)
    checkpoint = f"trials/{assignment.number:05d}/{epoch:05d}" if due else None
    goes_on = search.report(
        assignment.number, studies.report(dict(record.values), epoch, checkpoint)
    )
    if goes_on and epoch == last:
        search.complete(assignment.number)
        return False
    return goes_on


def run(search: Search, workers: int = 1, reports: float = math.inf) -> Search:
    """Train with some workers that take turns, until done or so many reports were made."""
    running: list[Assignment] = []
    while not search.done and reports > 0:
        while len(running) < workers and not search.idle:
            running.append(search.ask())
        assignment = running.pop(0)
        reports -= 1
        if step(search, assignment):
            running.append(assignment)
    return search


def outcome(records: Sequence[TrialRecord]) -> list[tuple[object, ...]]:
    return [(r.number, r.values, r.state, r.epoch, r.checkpoint) for r in records]


def reopened(folder: Path) -> Search:
    return studies.new_search(Study.open(folder, drive=True))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_stopped_trials_are_pruned_at_a_rung_with_a_checkpoint(
    tmp_path: Path, rule: StoppingConfig
) -> None:
    study = studies.new_study(tmp_path, config(rule))
    search = studies.new_search(study)
    events: list[Event] = []
    search.observe(events.append)
    run(search, workers=3)
    stored = Study.open(tmp_path).trials()
    assert outcome(stored) == outcome(list(search.records.values()))
    states = {record.number: record.state for record in stored}
    assert set(states.values()) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert states == {e.number: e.state for e in events if isinstance(e, TrialEnded)}
    for record in stored:
        levels = search._rungs.levels(9)
        assert record.epoch == 9 if record.state is TrialState.COMPLETE else record.epoch in levels
        assert record.checkpoint == f"trials/{record.number:05d}/{record.epoch:05d}"
    points = operating_points(stored, tuple(study.config.objectives), {})
    assert {point.trial for point in points} == set(states)  # measured is measured


def test_the_budget_rule_in_a_search(tmp_path: Path) -> None:
    rule = StoppingConfig(min_epochs=1, reduction_factor=3)
    search = run(studies.new_search(studies.new_study(tmp_path, config(rule, trials=30))), 4)
    epochs = [record.epoch for record in search.records.values()]
    assert sum(epoch > 1 for epoch in epochs) <= math.ceil(30 / 3)
    assert sum(epoch > 3 for epoch in epochs) <= math.ceil(10 / 3)
    assert 9 in epochs


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_restarted_search_stops_the_same_trials(
    tmp_path: Path, rule: StoppingConfig, sampler: str
) -> None:
    settings = config(rule, sampler=sampler)
    whole = run(studies.new_search(studies.new_study(tmp_path / "whole", settings)))
    expected = outcome(list(whole.records.values()))
    for killed_after in (1, 7, 23, 40):
        folder = tmp_path / f"killed-{killed_after}"
        run(studies.new_search(studies.new_study(folder, settings)), reports=killed_after)
        search = run(reopened(folder))
        assert outcome(list(search.records.values())) == expected


def test_what_was_decided_is_in_the_log_and_not_decided_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = StoppingConfig(min_epochs=1, reduction_factor=2)
    whole = run(studies.new_search(studies.new_study(tmp_path, config(rule))), 3)
    taken = []
    monkeypatch.setattr(rungs, "among_best", lambda *arguments: taken.append(arguments))
    again = reopened(tmp_path)
    assert taken == []
    assert again.done
    for level in whole._rungs.levels(9):
        assert again._rungs.counts(level) == whole._rungs.counts(level)


def test_another_rule_decides_anew_on_the_reports_of_before(tmp_path: Path) -> None:
    one = StoppingConfig(min_epochs=1, reduction_factor=2)
    other = StoppingConfig(min_epochs=1, reduction_factor=8)
    run(studies.new_search(studies.new_study(tmp_path, config(one, trials=8))), 2)
    study = Study.open(tmp_path, drive=True)
    study.adopt(config(other, trials=8))
    assert studies.new_search(study)._rungs.counts(1) == (8, 1)
    assert reopened(tmp_path)._rungs.counts(1) == (8, 1)


def test_a_restart_with_many_workers_decides_the_same_reports(tmp_path: Path) -> None:
    """The rest of the same log, report by report, into the search that lived and one that died."""
    rule = StoppingConfig(min_epochs=1, reduction_factor=2)
    living = studies.new_search(studies.new_study(tmp_path / "a", config(rule, sampler="random")))
    running = [living.ask() for _ in range(6)]
    running = [assignment for assignment in running if step(living, assignment)]
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    again = reopened(tmp_path / "b")
    resumed = {again.ask().number for _ in running}
    assert resumed == {assignment.number for assignment in running}
    assert [step(again, a) for a in running] == [step(living, a) for a in running]


def test_a_trial_that_was_stopped_as_its_driver_died_stays_stopped(tmp_path: Path) -> None:
    study = studies.new_study(tmp_path, config(StoppingConfig(min_epochs=1)))
    search = studies.new_search(study)
    first, second = search.ask(), search.ask()
    step(search, first)
    values = dict(search.records[1].values)
    # the report is in the log, the end of the trial is not
    study.append_report(1, studies.report(values, 1, "trials/00001/00001"), 1)
    assert Study.open(tmp_path).trials()[1].state is TrialState.RUNNING
    again = reopened(tmp_path)
    assert again.records[second.number].state is TrialState.PRUNED
    assert again.ask().number == first.number
    assert again.ask().number == 2


def test_a_trial_that_was_complete_as_its_driver_died_is_complete(tmp_path: Path) -> None:
    search = studies.new_search(studies.new_study(tmp_path))
    studies.train(search, search.ask(), epochs=3)
    again = reopened(tmp_path)
    assert again.records[0].state is TrialState.COMPLETE
    assert again.ask().number == 1


def test_stopping_may_be_switched_on_while_a_study_goes_on(tmp_path: Path) -> None:
    """No trial is stopped at an epoch that has no checkpoint: nobody knew it was a rung."""
    settings = config(None, trials=6)
    run(studies.new_search(studies.new_study(tmp_path, settings)), workers=6, reports=12)
    study = Study.open(tmp_path, drive=True)
    study.adopt(config(StoppingConfig(min_epochs=2, reduction_factor=2), trials=6))
    search = studies.new_search(study)
    assert not any(record.state.finished for record in search.records.values())
    run(search, workers=6)
    assert any(record.state is TrialState.PRUNED for record in search.records.values())


def test_without_a_rule_nothing_is_stopped(tmp_path: Path) -> None:
    search = studies.new_search(studies.new_study(tmp_path, config(StoppingConfig(rule="none"))))
    assert search.ask().rungs == ()
    run(reopened(tmp_path))


class Spy:
    """A random sampler that keeps what it was shown."""

    def __init__(self, search: Search) -> None:
        self.sampler = search._proposals._sampler
        self.seen: Sequence[Observation] = []

    def propose(
        self, history: Sequence[Observation], number: int, attempt: int = 0
    ) -> dict[str, Value]:
        self.seen = history
        return self.sampler.propose(history, number, attempt)


def test_samplers_do_not_see_what_short_trainings_measured(tmp_path: Path) -> None:
    rule = StoppingConfig(min_epochs=1)
    search = studies.new_search(studies.new_study(tmp_path, config(rule, sampler="random")))
    search._proposals._sampler = spy = Spy(search)
    run(search)
    for record in list(search.records.values())[:-1]:
        assert spy.seen[record.number].measured == (record.state is TrialState.COMPLETE)
        assert spy.seen[record.number].losses is not None


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "nsgaii", "nsgaiii"])
def test_no_training_twice_and_an_end_when_all_are_done(tmp_path: Path, sampler: str) -> None:
    study = studies.new_study(tmp_path, studies.config(NARROW, sampler=sampler))
    search = studies.new_search(study)
    while not search.done:
        assert not search.exhausted or search.idle
        number = search.ask().number
        flat = EpochReport(3, studies.curve(accuracy=0.5 + number / 100), {}, 0.1)
        search.report(number, flat)
        search.complete(number)
    points = {tuple(sorted(r.values.items())) for r in search.records.values()}
    assert len(points) == len(search.records) == 9  # (2 hidden + lenet) x 3 thresholds
    assert search.exhausted
    assert search.idle
    again = studies.new_search(Study.open(tmp_path, drive=True))
    assert again.exhausted
    assert again.done


def test_an_exhausted_search_waits_for_what_runs(tmp_path: Path) -> None:
    search = studies.new_search(studies.new_study(tmp_path, studies.config(NARROW)))
    numbers = [search.ask().number for _ in range(9)]
    assert search.idle
    assert not search.done
    search.crash(numbers[0], "its worker died")
    assert not search.idle
    assert search.ask().number == numbers[0]


def test_a_continuous_space_is_never_exhausted(tmp_path: Path) -> None:
    search = run(studies.new_search(studies.new_study(tmp_path, config(None, trials=3))))
    assert search.done
    assert not search.exhausted


class Stubborn:
    """A sampler that always proposes the same."""

    def __init__(self, values: dict[str, Value]) -> None:
        self.values = values
        self.attempts: list[int] = []

    def propose(
        self, history: Sequence[Observation], number: int, attempt: int = 0
    ) -> dict[str, Value]:
        self.attempts.append(attempt)
        return dict(self.values)


def test_a_stubborn_sampler_is_asked_a_bounded_number_of_times(tmp_path: Path) -> None:
    stubborn = Stubborn({"network.family": "lenet", "network.firing_threshold": 0.5})
    search = Search(studies.new_study(tmp_path, parse_study(NARROW)), stubborn)
    search.ask()
    assert stubborn.attempts == [0]
    second = search.ask()
    assert stubborn.attempts == [0, *range(8)]
    assert search.records[second.number].values != stubborn.values


# --- the worker ---------------------------------------------------------------------------------


class FakeTrainer:
    """A trainer that trains nothing, and notes what was saved."""

    saved: list[str]

    def __init__(self, *args: object, **settings: object) -> None:
        self.epoch = 0
        self.saved = []

    def step(self) -> EpochReport:
        self.epoch += 1
        return EpochReport(self.epoch, studies.curve(), {}, 0.1, decision_times=((1,),) * 3)

    def save(self, folder: Path) -> None:
        self.saved.append(folder.name)

    def weights_digest(self) -> str:
        return f"weights of epoch {self.epoch}"


def test_the_worker_saves_at_rungs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "Trainer", FakeTrainer)
    search = studies.new_search(
        studies.new_study(tmp_path, config(StoppingConfig(min_epochs=2, reduction_factor=3)))
    )
    assignment = search.ask()
    assert assignment.rungs == (2, 6)
    settings = worker.WorkerSettings(FolderCheckpoints(tmp_path), "horowitz-45nm-fp32", 5, "cpu")
    work = worker.Work(assignment, None, settings)  # type: ignore[arg-type]
    reports = []
    while not work.done:
        reports.append(work.step())
    at = [report.epoch for report in reports if report.checkpoint]
    assert at == [2, 5, 6, 9]
    assert [report.epoch for report in reports if report.decision_times] == at
    assert [report.weights for report in reports if report.weights] == [
        f"weights of epoch {epoch}" for epoch in at
    ]
    assert [report.epoch for report in reports if report.ran] == [1]  # where it started
    assert np.all([r.checkpoint == f"trials/00000/{r.epoch:05d}" for r in reports if r.checkpoint])
