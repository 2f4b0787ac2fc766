"""A short training on a part of the data, by which most trials end: decided, restored, trained."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latsearch.config import ScreeningConfig, StoppingConfig, StudyConfig, parse_study
from latsearch.config.energy import PROFILES
from latsearch.config.trial import NetworkConfig, TrainConfig, TrialConfig
from latsearch.data import part
from latsearch.errors import ConfigError, DataError, StudyError
from latsearch.evaluation import load_checkpoint
from latsearch.objectives import EpochReport
from latsearch.reporting import study_front
from latsearch.search.checkpoints import FolderCheckpoints
from latsearch.search.driver import Assignment, Search
from latsearch.search.rungs import Rungs, most_epochs
from latsearch.search.simulate import Cluster, Simulation, memory_study
from latsearch.search.storage import Study
from latsearch.search.trials import SCREENED, TrialRecord, TrialState
from latsearch.search.worker import Work, WorkerSettings
from latsearch.training import Trainer
from tests.samples import bar_splits
from tests.search import studies
from tests.search.test_rungs import standing

SCREENING = ScreeningConfig(data=0.5, epochs=2, reduction_factor=3)
HALVING = StoppingConfig(min_epochs=1, reduction_factor=3)
PROFILE = "horowitz-45nm-fp32"
TRIAL = TrialConfig(
    network=NetworkConfig(family="lenet", width=4, hidden=8, timesteps=2, downsampling="max"),
    train=TrainConfig(epochs=3, batch_size=16, lr=0.01, crop_padding=1),
)


def config(stopping: StoppingConfig | None = None, **search: object) -> StudyConfig:
    return studies.config(screening=SCREENING, stopping=stopping, **search)


def reports(assignment: Assignment) -> list[EpochReport]:
    """A made-up training, its screening first; wider networks take longer."""
    trial = assignment.trial
    values = {"train.lr": trial.train.lr, "network.timesteps": trial.network.timesteps}
    seconds = 1.0 + trial.network.timesteps + trial.network.hidden / 100
    return [
        EpochReport(epoch, studies.made_up_curve(values, epoch), {}, seconds)
        for epoch in range(trial.train.epochs + 1)
    ]


def facts(record: TrialRecord) -> object:
    entries = {
        epoch: {k: v for k, v in entry.items() if k not in ("sequence", "session", "time")}
        for epoch, entry in record.log.items()
    }
    return record.number, record.state, record.values, entries, record.attempts


def trainer(screening: ScreeningConfig | None, **changes: object) -> Trainer:
    trial = replace(TRIAL, train=replace(TRIAL.train, **changes))
    return Trainer(trial, bar_splits(), seed=3, profile=PROFILES[PROFILE], screening=screening)


# --- who goes on --------------------------------------------------------------------------------


def test_of_the_screened_trials_one_in_three_goes_on() -> None:
    fold = Rungs(None, SCREENING)
    assert fold.levels(9) == (SCREENED,)
    assert Rungs(HALVING, SCREENING).levels(9) == (SCREENED, 1, 3)
    went_on = [fold.report(SCREENED, standing(n, [-float(n)])) for n in range(12)]
    assert sum(went_on) == 4
    with pytest.raises(ValueError, match="no rung at epoch 0"):
        Rungs(HALVING).report(SCREENED, standing(0, [1.0]))


def test_the_most_epochs_count_a_screening_by_its_samples() -> None:
    assert most_epochs(None, 10, 9, SCREENING) == 9 * 1 + 3 * 10
    assert most_epochs(HALVING, 10, 9, SCREENING) == 9 + most_epochs(HALVING, 10, 3)


@pytest.mark.parametrize("stopping", [None, HALVING])
@pytest.mark.parametrize("sampler", ["random", "tpe", "curves"])
def test_a_search_trains_what_its_screenings_let_through(
    stopping: StoppingConfig | None, sampler: str
) -> None:
    study = memory_study(config(stopping, trials=18, sampler=sampler), studies.REFERENCE)
    simulation = Simulation(studies.new_search(study), reports, Cluster(workers=2))
    simulation.run()
    records = study.trials()
    assert all(SCREENED in record.log for record in records)
    trained = [record for record in records if record.epoch > SCREENED]
    assert 1 <= len(trained) <= math.ceil(18 / 3)
    for record in records:
        assert sorted(record.log) == list(range(record.epoch + 1))
        assert record.state is TrialState.PRUNED or record.epoch == 3
    # rows of what ended with its screening were measured like all others
    assert {point.epoch for point in study_front(study, records)} <= set(range(4))


def test_a_driver_killed_anywhere_changes_nothing() -> None:
    settings, cluster = config(HALVING, trials=12), Cluster(workers=3, failing=0.2, replacement=3.0)
    whole = memory_study(settings, studies.REFERENCE)
    steps, simulation = 0, Simulation(studies.new_search(whole), reports, cluster)
    while simulation.step():
        steps += 1
    for kill in range(0, steps, 5):
        study = memory_study(settings, studies.REFERENCE)
        again = Simulation(studies.new_search(study), reports, cluster)
        for _ in range(kill):
            again.step()
        again.restart(Search(study, again._search._proposals._sampler))
        again.run()
        assert [facts(r) for r in study.trials()] == [facts(r) for r in whole.trials()]


def test_a_trial_is_screened_once_and_then_starts_anew(tmp_path: Path) -> None:
    study = studies.new_study(tmp_path, config())
    search = studies.new_search(study)
    first = search.ask()
    assert first.screening == SCREENING
    search.crash(first.number, "its worker died")
    again = search.ask()
    assert again.number == first.number
    assert again.screening == SCREENING  # nothing of it was reported
    told = studies.report(dict(search.records[0].values), 1, "trials/00000/00000")
    assert search.report(0, replace(told, epoch=SCREENED))
    search.crash(0, "its worker died")
    last = search.ask()
    assert last.screening is None
    assert last.checkpoint is None
    reopened = studies.new_search(Study.open(tmp_path, drive=True)).ask()
    assert (reopened.number, reopened.screening, reopened.checkpoint) == (0, None, None)


def test_what_a_study_screens_by_may_not_change(tmp_path: Path) -> None:
    study = studies.new_study(tmp_path, config())
    study.adopt(config(trials=50))
    with pytest.raises(StudyError, match=r"search.screening.data: 0.5 → 0.25"):
        study.adopt(studies.config(screening=ScreeningConfig(data=0.25, epochs=2)))
    with pytest.raises(StudyError, match=r"search.screening"):
        study.adopt(studies.config())
    study.adopt(studies.config(screening=SCREENING.model_copy(update={"reduction_factor": 5})))


def test_a_screening_as_dear_as_a_training_is_a_mistake() -> None:
    text = studies.CONFIG.replace("seed: 3", "seed: 3, screening: {data: 0.5, epochs: 6}")
    with pytest.raises(ConfigError, match=r"search.screening: 6 epochs on 0.5 of the data cost as"):
        parse_study(text)


# --- the training -------------------------------------------------------------------------------


def test_a_part_has_its_share_of_every_class() -> None:
    splits = bar_splits()
    half = part(splits, 0.5)
    counts = np.bincount(splits.train.labels)
    assert np.abs(np.bincount(half.train.labels) - counts / 2).max() <= 1
    assert half.validation is splits.validation
    assert (half.train.images == part(splits, 0.5).train.images).all()
    with pytest.raises(DataError, match=r"search.screening.data = 0.001 is 0 of \d+ training"):
        part(splits, 0.001)


def test_a_screening_is_a_training_on_its_part_and_leaves_the_other_as_it_was(
    tmp_path: Path,
) -> None:
    """Both as if they had been carried out on their own, bit by bit."""
    screened = trainer(SCREENING)
    first = screened.step()
    screened.save(tmp_path / "screening")
    alone = Trainer(
        replace(TRIAL, train=replace(TRIAL.train, epochs=2)),
        part(bar_splits(), 0.5),
        seed=3,
        profile=PROFILES[PROFILE],
    )
    alone.step()
    short = alone.step()
    assert first.epoch == SCREENED
    assert first.metrics == short.metrics
    assert list(first.curve.rows()) == list(short.curve.rows())
    assert screened.weights_digest() == alone.weights_digest()
    whole = trainer(None)
    for _ in range(3):
        one, other = screened.step(), whole.step()
        assert one.metrics == other.metrics
        assert screened.weights_digest() == whole.weights_digest()
    network = load_checkpoint(tmp_path / "screening").network
    weights = alone.network.state_dict()
    assert all((weights[name] == value).all() for name, value in network.state_dict().items())


def test_a_worker_reports_the_screening_first_with_its_checkpoint(tmp_path: Path) -> None:
    settings = WorkerSettings(FolderCheckpoints(tmp_path), PROFILE, 5, "cpu")
    assignment = Assignment(0, TRIAL, 3, None, rungs=(SCREENED,), screening=SCREENING)
    work, told = Work(assignment, bar_splits(), settings), []
    while not work.done:
        told.append(work.step())
    assert [report.epoch for report in told] == [0, 1, 2, 3]
    assert [report.checkpoint for report in told] == [
        *("trials/00000/00000", None, None, "trials/00000/00003"),
    ]
    shutil.rmtree(tmp_path / "trials/00000/00000")
    again = Work(replace(assignment, screening=None), bar_splits(), settings)
    assert again.step().weights == told[1].weights
