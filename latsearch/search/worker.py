"""What a worker does with an assignment: train epoch by epoch, checkpoint, report."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from latsearch.config import PROFILES
from latsearch.config.code import allowing_code, code_allowed
from latsearch.config.study import RobustnessConfig
from latsearch.data import Splits
from latsearch.data.corruptions import corrupted_sample
from latsearch.objectives import EpochReport
from latsearch.search.checkpoints import (
    CheckpointLost,
    Checkpoints,
    FolderCheckpoints,
    StorageError,
)
from latsearch.search.driver import Assignment, Trainings
from latsearch.search.provenance import code_commit, provenance
from latsearch.search.storage import Study
from latsearch.snn.checkpoint import CheckpointError, NewerCheckpoint
from latsearch.training import Trainer

_NO_MEMORY = (
    *("can't allocate memory", "not enough memory", "CUDA out of memory"),
    *("CUDA error: out of memory", "ALLOC_FAILED", "bad_alloc"),
)


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
        deterministic: whether equal trainings have to give equal figures, whatever it costs.
        commit: of the code, to be recorded.
        failures: folder for the last words of a worker that hangs.
    """

    checkpoints: Checkpoints
    profile: str
    checkpoint_every: int
    device: str
    robustness: RobustnessConfig | None = None
    code: str | None = None
    deterministic: bool = False
    commit: str | None = None
    failures: Path | None = None


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
        """Build the network, and load its checkpoint where there is one.

        Raises:
            CheckpointLost: it is damaged, or gone.
        """
        self._assignment = assignment
        self._settings = settings
        if assignment.parts > 1:  # memory ran out before
            _free_memory()
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
                parts=assignment.parts,
                screening=assignment.screening,
            )
        self._told = False
        if assignment.checkpoint:
            self._load(assignment.checkpoint)

    @property
    def done(self) -> bool:
        """Whether the full budget of epochs is spent."""
        return self._trainer.epoch >= self._assignment.trial.train.epochs

    def _load(self, checkpoint: str) -> None:
        try:
            with self._settings.checkpoints.reading(checkpoint) as folder:
                self._trainer.load(folder)
        except NewerCheckpoint:
            raise
        except CheckpointError as error:
            raise CheckpointLost(str(error)) from error
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise CheckpointLost(str(error)) from error
            raise

    def step(self) -> EpochReport:
        """Train one epoch; its report, with the checkpoint where one was due."""
        report = self._trainer.step()
        if not self._told:
            where = {**ran(self._assignment, self._settings), "from_epoch": report.epoch}
            report = replace(report, ran=where)
            self._told = True
        regular = report.epoch % self._settings.checkpoint_every == 0
        if regular or self.done or report.epoch in self._assignment.rungs:
            checkpoint = self._settings.checkpoints.save(
                self._assignment.number, report.epoch, self._trainer.save
            )
            digest = self._trainer.weights_digest()
            return replace(report, checkpoint=checkpoint, weights=digest)
        # the log keeps decision times beside checkpoints only: they are a quarter of a report
        return replace(report, decision_times=None)


@dataclass(frozen=True)
class Failure:
    """An exception in a training, in words that cross process borders.

    Attributes:
        reason: the error in one line.
        trace: the end of its traceback.
        again: whether a second attempt may do better: what failed is not the training.
        memory: whether memory ran out: a second attempt takes a batch in more parts.
        ran: where the training ran; None where that is not known.
        lost: whether it was the reading of the checkpoint that the trial was to go on from.
    """

    reason: str
    trace: str
    again: bool = False
    memory: bool = False
    ran: Mapping[str, Any] | None = None
    lost: bool = False

    @classmethod
    def of(cls, error: BaseException, ran: Mapping[str, Any] | None = None) -> Failure:
        """The first line of the error, and the end of its traceback."""
        first = (str(error).splitlines() or [""])[0]
        trace = "".join(traceback.format_exception(error))
        return cls(
            f"{type(error).__name__}: {first}".removesuffix(": "),
            trace[-8000:],
            again=isinstance(error, StorageError),
            memory=out_of_memory(error),
            ran=ran,
            lost=isinstance(error, CheckpointLost),
        )


def take_failure(search: Trainings, number: int, failure: Failure) -> None:
    """Tell a search of a failure: whether it is tried again depends on what failed."""
    if failure.lost:
        search.lose_checkpoint(number, failure.reason)
    elif failure.again:
        search.lack_storage(number, failure.reason)
    elif failure.memory:
        search.crash(number, failure.reason, memory=failure.memory, trace=failure.trace)
    else:
        search.fail(number, failure.reason, failure.trace, failure.ran)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's or NumPy's, torch's on the CPU, or a GPU's."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)  # torch has no class of its own for these
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)


def _free_memory() -> None:
    """Give back what only a failed training's cycles hold, and what torch keeps for later."""
    import torch

    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def ran(assignment: Assignment, settings: WorkerSettings) -> Mapping[str, Any]:
    """Where an assignment is carried out: in this process."""
    return provenance(assignment.seed, settings.device, assignment.parts, commit=settings.commit)


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
        deterministic=config.run.deterministic,
        commit=code_commit(),
        failures=study.failures,
    )


def code_folder() -> str | None:
    """Folder from which the user's code is imported by workers; None where it may not run."""
    return os.getcwd() if code_allowed() else None


def device_for(gpus: float) -> str:
    """The device of a trial that was given this share of a GPU."""
    import torch

    return "cuda" if gpus > 0 and torch.cuda.is_available() else "cpu"


def limit_threads(cpus: float, *, deterministic: bool = False) -> None:
    """Keep torch within a trial's share of the cores.

    Sums depend on how many threads share them: for equal figures on all machines their number is
    the trial's, whatever cores there are.
    """
    import torch

    threads = max(1, int(cpus))
    torch.set_num_threads(threads if deterministic else min(threads, os.cpu_count() or 1))


@contextmanager
def repeatable(deterministic: bool) -> Iterator[None]:
    """Have torch use deterministic algorithms alone for the life of the context.

    An operation that has none raises an error, which names it, and fails its trial.
    """
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    if deterministic:
        # cuBLAS reads it when it is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
