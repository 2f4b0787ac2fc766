"""What a worker does with an assignment: train epoch by epoch, checkpoint, report."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from latsearch.config import PROFILES
from latsearch.config.code import allowing_code, code_allowed
from latsearch.config.study import RobustnessConfig
from latsearch.data import Splits
from latsearch.data.corruptions import corrupted_sample
from latsearch.objectives import EpochReport
from latsearch.search.checkpoints import Checkpoints, FolderCheckpoints, StorageError
from latsearch.search.driver import Assignment
from latsearch.search.storage import Study
from latsearch.training import Trainer


@dataclass(frozen=True)
class WorkerSettings:
    """What all trials of a run have in common.

    Attributes:
        checkpoints: where checkpoints are, seen from every node.
        profile: name of the energy profile.
        checkpoint_every: epochs between two checkpoints.
        device: where to train, as torch names it.
        robustness: what robust accuracy is measured on; None: it is not measured.
        code: folder from which the code of the user's networks is imported; None: none may run.
    """

    checkpoints: Checkpoints
    profile: str
    checkpoint_every: int
    device: str
    robustness: RobustnessConfig | None = None
    code: str | None = None


class Workable(Protocol):
    """An assignment that is carried out step by step."""

    @property
    def done(self) -> bool:
        """Whether the full budget of epochs is spent."""
        ...

    def step(self) -> EpochReport:
        """The next epoch's report."""
        ...


MakeWork = Callable[[Assignment, Splits, WorkerSettings], Workable]


class Work:
    """One assignment being carried out."""

    def __init__(self, assignment: Assignment, splits: Splits, settings: WorkerSettings):
        """Build the network, and load its checkpoint where there is one."""
        self._assignment = assignment
        self._settings = settings
        robust = None
        if settings.robustness is not None:
            robust = corrupted_sample(splits.validation, settings.robustness)
        if settings.code is not None and settings.code not in sys.path:
            sys.path.append(settings.code)
        with allowing_code(settings.code is not None):
            self._trainer = Trainer(
                assignment.trial,
                splits,
                seed=assignment.seed,
                profile=PROFILES[settings.profile],
                device=settings.device,
                robust=robust,
            )
        if assignment.checkpoint:
            with settings.checkpoints.reading(assignment.checkpoint) as folder:
                self._trainer.load(folder)

    @property
    def done(self) -> bool:
        """Whether the full budget of epochs is spent."""
        return self._trainer.epoch >= self._assignment.trial.train.epochs

    def step(self) -> EpochReport:
        """Train one epoch; its report, with the checkpoint where one was due."""
        report = self._trainer.step()
        regular = report.epoch % self._settings.checkpoint_every == 0
        if regular or self.done or report.epoch in self._assignment.rungs:
            checkpoint = self._settings.checkpoints.save(
                self._assignment.number, report.epoch, self._trainer.save
            )
            return replace(report, checkpoint=checkpoint)
        # the log keeps decision times beside checkpoints only: they are a quarter of a report
        return replace(report, decision_times=None)


@dataclass(frozen=True)
class Failure:
    """An exception in a training, in words that cross process borders.

    Attributes:
        reason: the error in one line.
        trace: the end of its traceback.
        again: whether a second attempt may do better: what failed is not the training.
    """

    reason: str
    trace: str
    again: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The first line of the error, and the end of its traceback."""
        first = (str(error).splitlines() or [""])[0]
        trace = "".join(traceback.format_exception(error))
        return cls(
            f"{type(error).__name__}: {first}".removesuffix(": "),
            trace[-8000:],
            again=isinstance(error, StorageError),
        )


def settings_for(study: Study, *, shared: bool = False) -> WorkerSettings:
    """What all trials of a study have in common.

    Args:
        study: the study.
        shared: whether other machines may write to its folder as well.
    """
    checkpoints = study.checkpoints
    if isinstance(checkpoints, FolderCheckpoints):
        checkpoints = FolderCheckpoints(study.folder, shared)
    config = study.config
    return WorkerSettings(
        checkpoints=checkpoints,
        profile=config.energy.profile,
        checkpoint_every=config.run.checkpoint_every,
        device=device_for(config.resources.gpus_per_trial),
        robustness=config.robust,
        code=code_folder(),
    )


def code_folder() -> str | None:
    """Folder from which the user's code is imported by workers; None where it may not run."""
    return os.getcwd() if code_allowed() else None


def device_for(gpus: float) -> str:
    """The device of a trial that was given this share of a GPU."""
    import torch

    return "cuda" if gpus > 0 and torch.cuda.is_available() else "cpu"


def limit_threads(cpus: float) -> None:
    """Keep torch within a trial's share of the cores."""
    import torch

    threads = max(1, min(int(cpus), os.cpu_count() or 1))
    torch.set_num_threads(threads)
