"""What a search would cost, and whether one batch of it works: `run --plan` and `run --smoke`."""

from __future__ import annotations

import math
import operator
import os
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from latsearch.config import PROFILES, Parameter, Space, StudyConfig, TrialConfig, Value
from latsearch.data import Splits
from latsearch.data.corruptions import corrupted_sample
from latsearch.search.results import knee_row
from latsearch.search.rungs import most_epochs
from latsearch.search.worker import device_for, limit_threads
from latsearch.snn.custom import CustomNetwork
from latsearch.training import Trainer

_DRAWS = 5  # trials tried for an estimate
_VALIDATION_SHARE = 0.25  # of a batch that is trained and then validated: no backward, no optimiser
_BYTES_A_WEIGHT = 4
_REPORT_BYTES = 8_000


@dataclass(frozen=True)
class Plan:
    """Cost of a search.

    Attributes:
        trials: trainings.
        epochs: epochs of all of them together; where they are stopped early, the most.
        trial_seconds: estimated seconds of a full training: least, median and most of those tried.
        workers: trainings at a time.
        seconds: estimated wall time; where trainings are stopped early, the most.
        megabytes: estimated storage: weights that are kept, and reports.
        stops: whether trainings are stopped early.
    """

    trials: int
    epochs: int
    trial_seconds: tuple[float, float, float]
    workers: int
    seconds: float
    megabytes: float
    stops: bool


def plan(config: StudyConfig, splits: Splits, workers: int | None) -> Plan:
    """Estimate a search from a few batches of a few random trials, each on one trial's share."""
    limit_threads(config.resources.cpus_per_trial)
    at_once = workers or max(1, int((os.cpu_count() or 1) / config.resources.cpus_per_trial))
    tried = _draws(config, _DRAWS)
    trained = [_measure(trial, config, splits) for trial in tried]
    seconds = [each for each, _ in trained]
    weights = statistics.mean(count for _, count in trained)
    epochs = round(statistics.mean(_epochs(trial, config) for trial in _draws(config, 100)))
    trials = config.search.trials
    shares = [_epochs(trial, config) / (trial.train.epochs * trials) for trial in tried]
    stored = epochs * _REPORT_BYTES + config.run.keep * weights * _BYTES_A_WEIGHT
    return Plan(
        trials=trials,
        epochs=epochs,
        trial_seconds=(min(seconds), statistics.median(seconds), max(seconds)),
        workers=at_once,
        seconds=statistics.mean(map(operator.mul, seconds, shares)) * math.ceil(trials / at_once),
        megabytes=stored / 1e6,
        stops=config.search.stops_early,
    )


def _epochs(trial: TrialConfig, config: StudyConfig) -> float:
    """Most epochs of all the study's trials, were they all of this one's budget."""
    search = config.search
    return most_epochs(search.stopping, trial.train.epochs, search.trials, search.screening)


def smoke(config: StudyConfig, splits: Splits) -> Iterator[str]:
    """Train and validate one batch of one random trial; what was seen, as lines."""
    (trial,) = _draws(config, 1)
    trainer = _trainer(trial, config, splits)
    report = trainer.batch_step()
    curve = report.curve
    row = knee_row(curve, tuple(config.objectives), config.constraints)
    what = "recordings" if config.events else "images"
    sizes = f"{len(splits.train)} training and {len(splits.validation)} validation {what}"
    yield f"{splits.name}: {sizes}"
    yield (
        f"network: {trial.network.family}, T = {trial.network.timesteps}, "
        f"{trainer.network.parameter_count():,} parameters"
    )
    if isinstance(trainer.network, CustomNetwork) and trainer.network.uncounted:
        parts = ", ".join(trainer.network.uncounted)
        yield f"energy: not counted, since {parts} cannot be"
    yield f"one batch: loss {report.metrics['train_loss']:.3f} in {report.seconds:.2f} s"
    yield (
        f"one validation batch: accuracy {curve.accuracy[row]:.1%} (not trained yet) at "
        f"{curve.latency[row]:.2f} {config.unit('latency')} and {curve.energy[row]:,.1f} nJ"
    )
    yield "it works"


def _measure(trial: TrialConfig, config: StudyConfig, splits: Splits) -> tuple[float, int]:
    """Estimated seconds of a training, and its number of weights."""
    trainer = _trainer(trial, config, splits)
    trainer.batch_step()  # the first one pays for allocations
    start = time.perf_counter()
    trainer.batch_step()
    batch = time.perf_counter() - start
    validation = len(splits.validation) / trial.train.batch_size
    epoch = trainer.steps_an_epoch * (1 - _VALIDATION_SHARE) + validation * _VALIDATION_SHARE
    return batch * epoch * trial.train.epochs, trainer.network.parameter_count()


def _trainer(trial: TrialConfig, config: StudyConfig, splits: Splits) -> Trainer:
    robust = None
    if config.robust is not None:
        robust = corrupted_sample(splits.validation, config.robust)
    return Trainer(
        trial,
        splits,
        seed=config.search.seed,
        profile=PROFILES[config.energy.profile],
        device=device_for(config.resources.gpus_per_trial),
        robust=robust,
    )


def _draws(config: StudyConfig, count: int) -> list[TrialConfig]:
    """Random trials of the space."""
    generator = random.Random(config.search.seed)
    return [_draw(config.space, generator) for _ in range(count)]


def _draw(space: Space, generator: random.Random) -> TrialConfig:
    def suggest(parameter: Parameter) -> Value:
        if parameter.kind == "categorical":
            return generator.choice(parameter.choices)
        assert parameter.low is not None
        assert parameter.high is not None
        low, high = parameter.low, parameter.high
        if parameter.log:
            value = math.exp(generator.uniform(math.log(low), math.log(high)))
        else:
            value = generator.uniform(low, high)
        if parameter.step is not None:
            value = low + parameter.step * round((value - low) / parameter.step)
        return round(value) if parameter.kind == "int" else min(max(value, low), high)

    return space.trial(space.ask(suggest))
