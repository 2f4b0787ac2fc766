"""Studies for tests of the search's decisions: real storage, made-up trainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latsearch.config import StudyConfig, Value, parse_study
from latsearch.objectives import DecisionCurve, EpochReport
from latsearch.search.driver import Assignment, Search
from latsearch.search.sampler import sampler_for
from latsearch.search.storage import Study

CONFIG = """
version: 1
study: made-up
data: {name: digits}
network:
  family: {choices: [mlp, lenet]}
  timesteps: {low: 1, high: 4}
  hidden: {low: 8, high: 64, log: true, when: {network.family: mlp}}
train:
  epochs: 3
  lr: {low: 1e-4, high: 1e-1, log: true}
constraints: {silent_fraction: {max: 0.1}}
search: {sampler: tpe, trials: 12, seed: 3}
run: {checkpoint_every: 2, retries: 2, keep: 2}
"""
REFERENCE = {"accuracy": 0.1, "latency": 4.0, "energy": 1000.0}


def config(text: str = CONFIG, **search: object) -> StudyConfig:
    study = parse_study(text)
    data = study.search.model_copy(update=search)
    return study.model_copy(update={"search": data})


def new_study(folder: Path, study_config: StudyConfig | None = None) -> Study:
    return Study.create(folder, study_config or config(), REFERENCE)


def new_search(study: Study) -> Search:
    return Search(study, sampler_for(study.config, study.reference))


def curve(accuracy: float = 0.9, latency: float = 2.0, energy: float = 50.0) -> DecisionCurve:
    """Three rows that trade accuracy for latency and energy; the last one is silent too often."""
    steps = np.array([0.8, 1.0, 1.1])
    return DecisionCurve(
        decision_threshold=np.array([0.0, 1.0, np.inf]),
        kind=("first_spike", "first_spike", "readout"),
        accuracy=np.clip(accuracy * steps, 0, 1),
        accuracy_silent_wrong=np.clip(accuracy * steps, 0, 1) * 0.9,
        latency=latency * steps,
        latency_p95=latency * steps,
        energy=energy * steps,
        silent_fraction=np.array([0.0, 0.05, 0.5]),
        tie_fraction=np.zeros(3),
    )


def made_up_curve(values: dict[str, Value], epoch: int) -> DecisionCurve:
    """What a training with these values would have found: a smooth function of them."""
    lr, timesteps = float(values["train.lr"]), float(values["network.timesteps"])
    skill = 1 - 0.1 * abs(np.log10(lr) + 2) - 0.3 / (epoch + timesteps)
    return curve(accuracy=0.85 * skill, latency=timesteps, energy=20 * timesteps)


def report(values: dict[str, Value], epoch: int, checkpoint: str | None = None) -> EpochReport:
    metrics = {"train_loss": 1 / epoch}
    return EpochReport(epoch, made_up_curve(values, epoch), metrics, 0.5, checkpoint)


def train(search: Search, assignment: Assignment, epochs: int | None = None) -> None:
    """Carry out an assignment as a worker would, up to an epoch."""
    values = dict(search.records[assignment.number].values)
    first = search.records[assignment.number].epoch + 1
    for epoch in range(first, (epochs or assignment.trial.train.epochs) + 1):
        assert search.report(assignment.number, report(values, epoch))
    if epochs is None:
        search.complete(assignment.number)
