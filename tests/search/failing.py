"""Trainings that fail in ways that a worker has to survive, or cannot."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch

from latsearch.data import Splits
from latsearch.objectives import EpochReport
from latsearch.search.driver import Assignment
from latsearch.search.worker import Work, WorkerSettings

SPACE = """
version: 1
study: failing
data: {name: digits, validation: 60, train_samples: 200}
network: {family: mlp, timesteps: {low: 1, high: 3}, width: 4, hidden: {low: 8, high: 16}}
train: {epochs: 3, batch_size: 32, lr: {low: 1e-3, high: 1e-2, log: true}}
search: {sampler: random, trials: 6}
run: {checkpoint_every: 1, retries: 2}
tracking: {enabled: false}
"""
KINDS = ("well", "exception", "nan", "memory", "gpu memory", "killed")


class Failing:
    """A real training that fails before its second epoch, in the way of its trial's number."""

    def __init__(self, assignment: Assignment, splits: Splits, settings: WorkerSettings):
        self._work = Work(assignment, splits, settings)
        self._kind = KINDS[assignment.number % len(KINDS)]
        self._assignment = assignment
        assert settings.failures is not None
        # left by the first attempt
        self._mark = settings.failures.parent / f"attempted-{assignment.number}"

    @property
    def done(self) -> bool:
        return self._work.done

    def step(self) -> EpochReport:
        if self._work._trainer.epoch == 1:
            self._fail()
        return self._work.step()

    def _fail(self) -> None:
        if self._kind == "exception":
            raise KeyError("no such layer")
        if self._kind == "nan":
            with torch.no_grad():
                next(iter(self._work._trainer.network.parameters())).fill_(float("nan"))
        if self._kind == "memory" and self._assignment.parts < 4:
            raise MemoryError
        if self._kind == "gpu memory" and self._assignment.parts < 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if self._kind == "killed" and not self._mark.exists():
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Hanging(Failing):
    """A training that hangs in its second epoch, at the first attempt."""

    def _fail(self) -> None:
        if not self._mark.exists():
            self._mark.touch()
            time.sleep(3600)


class Broken:
    """A training that cannot even begin."""

    def __init__(self, assignment: Assignment, splits: Splits, settings: WorkerSettings):
        raise OSError(f"disk {assignment.number} is on fire")


def leave(folder: Path) -> list[str]:
    """Names of the files that failed trials left."""
    return sorted(file.name for file in (folder / "failures").glob("*"))
