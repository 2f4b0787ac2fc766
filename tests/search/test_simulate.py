"""The simulator: its clock, workers and deaths; a driver killed anywhere changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from latsearch.config import StoppingConfig, StudyConfig
from latsearch.objectives import EpochReport
from latsearch.search.driver import Assignment, Search
from latsearch.search.simulate import Cluster, Simulation, memory_study
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState
from tests.search import studies

TRIALS = 18
STOPPING = StoppingConfig(rule="halving", reduction_factor=3, min_epochs=1)


def settings(trials: int = TRIALS, **search: object) -> StudyConfig:
    return studies.config(trials=trials, stopping=STOPPING, **search)


def seconds(assignment: Assignment) -> float:
    """Of an epoch: wider networks take longer, so that trials overtake each other."""
    return 1.0 + assignment.trial.network.timesteps + assignment.trial.network.hidden / 100


def outcome(assignment: Assignment) -> list[EpochReport]:
    trial = assignment.trial
    values = {"train.lr": trial.train.lr, "network.timesteps": trial.network.timesteps}
    return [
        EpochReport(epoch, studies.made_up_curve(values, epoch), {}, seconds(assignment))
        for epoch in range(1, trial.train.epochs + 1)
    ]


def facts(record: TrialRecord) -> object:
    """What has to be equal: everything but the order of the log and real times."""
    reports = {
        epoch: {k: v for k, v in entry.items() if k not in ("sequence", "session", "time")}
        for epoch, entry in record.log.items()
    }
    return record.number, record.state, record.values, reports, record.attempts


def uninterrupted(cluster: Cluster, config: StudyConfig) -> tuple[list[object], Simulation]:
    study = memory_study(config, studies.REFERENCE)
    simulation = Simulation(studies.new_search(study), outcome, cluster)
    simulation.run()
    return [facts(record) for record in study.trials()], simulation


def test_one_worker_trains_one_trial_after_the_other():
    study = memory_study(settings(trials=5), studies.REFERENCE)
    simulation = Simulation(studies.new_search(study), outcome)
    simulation.run()
    trained = sum(record.seconds for record in study.trials())
    assert simulation.now == pytest.approx(trained)
    assert simulation.compute == pytest.approx(trained)


def test_many_workers_share_the_work():
    config = studies.config(trials=TRIALS)  # without stopping: the work does not depend on order
    study = memory_study(config, studies.REFERENCE)
    simulation = Simulation(studies.new_search(study), outcome, Cluster(workers=TRIALS))
    simulation.run()
    records = study.trials()
    assert simulation.now == pytest.approx(max(record.seconds for record in records))
    assert simulation.compute == pytest.approx(sum(record.seconds for record in records))


def test_compute_counts_unfinished_epochs():
    study = memory_study(studies.config(trials=2), studies.REFERENCE)
    simulation = Simulation(studies.new_search(study), outcome, Cluster(workers=2))
    assert simulation.step()
    assert simulation.compute == pytest.approx(2 * simulation.now)


def test_a_recording_that_ends_early_is_a_failed_trial():
    study = memory_study(studies.config(trials=3), studies.REFERENCE)
    Simulation(studies.new_search(study), lambda assignment: outcome(assignment)[:2]).run()
    for record in study.trials():
        assert record.state is TrialState.FAILED
        assert record.reason == "the recorded training ends after epoch 2 of 3"


def test_dead_workers_lose_no_trial():
    study = memory_study(settings(trials=60), studies.REFERENCE)
    cluster = Cluster(workers=8, failing=0.3, replacement=7.0)
    simulation = Simulation(studies.new_search(study), outcome, cluster)
    simulation.run()
    records = study.trials()
    assert simulation.deaths > 5
    assert len(records) == 60
    assert all(record.state.finished for record in records)
    assert simulation.deaths == sum(
        record.attempts + (record.state is TrialState.FAILED) for record in records
    )
    for record in records:
        assert sorted(record.log) == list(range(1, record.epoch + 1))


def test_the_same_seed_gives_the_same_study():
    cluster = Cluster(workers=8, failing=0.2, replacement=3.0)
    first, one = uninterrupted(cluster, settings())
    second, other = uninterrupted(cluster, settings())
    assert first == second
    assert (one.now, one.compute, one.deaths) == (other.now, other.compute, other.deaths)


@pytest.mark.parametrize(("workers", "failing"), [(1, 0.0), (8, 0.2), (64, 0.2)])
def test_a_driver_that_is_replaced_between_events_changes_nothing(workers, failing):
    cluster = Cluster(workers=workers, failing=failing)
    expected, whole = uninterrupted(cluster, settings())
    study = memory_study(settings(), studies.REFERENCE)
    simulation = Simulation(studies.new_search(study), outcome, cluster)
    random = np.random.default_rng(workers)
    while simulation.step():
        if random.random() < 0.3:
            simulation.restart(studies.new_search(study))
    assert [facts(record) for record in study.trials()] == expected
    assert simulation.now == whole.now
    assert simulation.compute == pytest.approx(whole.compute)


class _Killed(Exception):
    """The driver's process ends."""


class _Mortal:
    """A study whose driver is killed before or after a write."""

    def __init__(self, study: Study, write: int, before: bool):
        self._study = study
        self._left = write
        self._before = before

    def __getattr__(self, name: str):
        thing = getattr(self._study, name)
        if name not in ("new_trial", "append_report", "end_trial", "fail_trial", "count_attempt"):
            return thing

        def write(*arguments):
            self._left -= 1
            if self._left == 0 and self._before:
                raise _Killed
            result = thing(*arguments)
            if self._left == 0:
                raise _Killed
            return result

        return write


def killed_all_the_time(config: StudyConfig, every: int, before: bool) -> tuple[Study, int]:
    """A search of one worker whose driver is killed at every ``every``-th write."""
    study, kills = memory_study(config, studies.REFERENCE), 0

    def driver() -> Search:
        return studies.new_search(_Mortal(study, every, before))

    simulation = Simulation(driver(), outcome)
    while True:
        try:
            simulation.run()
            return study, kills
        except _Killed:
            kills += 1
            simulation.restart(driver(), lost=True)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("every", [2, 3, 5, 7])
def test_a_driver_killed_at_any_write_leaves_the_study_of_an_uninterrupted_one(every, before):
    expected, _ = uninterrupted(Cluster(), settings())
    study, kills = killed_all_the_time(settings(), every, before)
    assert kills > 5
    assert [facts(record) for record in study.trials()] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"workers": 0}, "needs one at least"), ({"failing": 1.5}, "no probability")],
)
def test_impossible_clusters_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Cluster(**arguments)
