"""The stage `refit`: members of the front trained anew, and their operating points fixed.

Everything is chosen on the validation split: the decision threshold of each operating point, and
which of a member's networks is the one to deliver.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latsearch.config.energy import EnergyProfile
from latsearch.data.splits import Splits
from latsearch.errors import StudyFailed
from latsearch.objectives import EpochReport
from latsearch.pipelines.context import Context
from latsearch.pipelines.members import Job, jobs
from latsearch.pipelines.networks import NetworkFiles, network_files
from latsearch.pipelines.points import member_points
from latsearch.pipelines.workspace import Workspace, digest_of, file_digest
from latsearch.search.checkpoints import Checkpoints
from latsearch.search.driver import Assignment
from latsearch.search.worker import WorkerSettings, code_folder, device_for

NETWORKS = "networks"
_FILES = ("model.safetensors", "config.json")


def settings(context: Context) -> Any:
    """What the networks and their operating points depend on, beside the front and the data."""
    study = context.study_config
    return {
        **context.config.refit.model_dump(mode="json"),
        "network": study.identity()["network"],
        "train": study.identity()["train"],
        "profile": study.energy.profile,
        "constraints": study.model_dump(mode="json")["constraints"],
        "seed": study.search.seed,
    }


def run(context: Context, workspace: Workspace) -> list[str]:
    """Train what is missing, measure its validation curve, fix the operating points."""
    wanted = jobs(context)
    checkpoints = context.checkpoints()
    missing = [job for job in wanted if not _is_kept(workspace, job)]
    _train(context, _Refit(missing, workspace, checkpoints, context), checkpoints)
    curves = _curves(context, workspace, wanted)
    workspace.write("points.json", member_points(wanted, curves, context))
    for job in wanted:
        for name in checkpoints.names(job.number):
            checkpoints.remove(name)
    outputs = ["points.json"]
    for job in wanted:
        outputs += [f"{NETWORKS}/{job.name}/{file}" for file in (*_FILES, "validation.json")]
    return outputs


def network_folder(context: Context, name: str) -> Path:
    """Where the weights of a trained network are."""
    return context.workspace("refit").folder / NETWORKS / name


def _is_kept(workspace: Workspace, job: Job) -> bool:
    """Whether a network was trained already, for this key."""
    known = workspace.kept(f"{NETWORKS}/{job.name}/trained.json", job.key)
    known = known or workspace.kept(f"{NETWORKS}/{job.name}/validation.json", job.key)
    return known is not None and known["weights"] == _weights(workspace, job)


def _weights(workspace: Workspace, job: Job) -> str | None:
    """Digest of a network's files; None where one is gone."""
    files = [workspace.folder / NETWORKS / job.name / name for name in _FILES]
    return digest_of([*map(file_digest, files)]) if all(f.is_file() for f in files) else None


class _Refit:
    """Trainings for an executor: those that are missing, each from its newest checkpoint."""

    def __init__(
        self,
        missing: Sequence[Job],
        workspace: Workspace,
        checkpoints: Checkpoints,
        context: Context,
    ):
        self._waiting = list(missing)
        self._running: dict[int, Job] = {}
        self._workspace = workspace
        self._checkpoints = checkpoints
        self._context = context
        self._attempts: dict[int, int] = {}
        self._parts: dict[int, int] = {}  # of a batch, where memory ran out
        self._retries = context.study_config.run.retries
        self._epochs = {job.number: self._newest(job)[1] for job in missing}
        self._total = sum(job.member.config.train.epochs for job in missing)
        for job in missing:
            if self._epochs[job.number] >= job.member.config.train.epochs:
                self._keep(job)  # it was trained to its end, and not kept any more
                self._waiting.remove(job)
        self._show()

    @property
    def done(self) -> bool:
        """Whether all have ended."""
        return not self._waiting and not self._running

    @property
    def idle(self) -> bool:
        """Whether there is nothing to start now."""
        return not self._waiting

    def ask(self) -> Assignment:
        """The next training, from its newest checkpoint."""
        job = self._waiting.pop(0)
        self._running[job.number] = job
        checkpoint, self._epochs[job.number] = self._newest(job)
        parts = self._parts.get(job.number, 1)
        return Assignment(job.number, job.member.config, job.seed, checkpoint, parts=parts)

    def report(self, number: int, report: EpochReport) -> bool:
        """Take a report of an epoch; older checkpoints go once a newer one is there."""
        self._epochs[number] = report.epoch
        if report.checkpoint is not None:
            for name in self._checkpoints.names(number):
                if 0 < _epoch(name) < report.epoch:
                    self._checkpoints.remove(name)
        self._show()
        return True

    def complete(self, number: int) -> None:
        """Keep the network of a training that reached its end."""
        self._keep(self._running.pop(number))

    def fail(
        self,
        number: int,
        reason: str,
        trace: str | None = None,
        ran: Mapping[str, Any] | None = None,
    ) -> None:
        """End the stage: a table that lacks a network says something else.

        Raises:
            StudyFailed: always.
        """
        raise StudyFailed(f"refit of {self._running[number].name}: {reason}")

    def crash(
        self,
        number: int,
        reason: str,
        *,
        lost: bool = False,
        memory: bool = False,
        trace: str | None = None,
    ) -> None:
        """Try again from the newest checkpoint, but not for ever.

        Raises:
            StudyFailed: it died too often.
        """
        job = self._running.pop(number)
        self._attempts[number] = self._attempts.get(number, 0) + (not lost)
        if memory:
            self._parts[number] = 2 * self._parts.get(number, 1)
        if self._attempts[number] > self._retries:
            raise StudyFailed(f"refit of {job.name}: {reason}, {self._attempts[number]} times")
        self._context.view.note(f"{job.name}: {reason}; it goes on from its checkpoint")
        self._waiting.append(job)

    def lose_checkpoint(self, number: int, reason: str) -> None:
        """Go on from the checkpoint before, or from the start."""
        job = self._running.pop(number)
        newest, _ = self._newest(job)
        assert newest is not None
        self._checkpoints.remove(newest)
        self._context.view.note(f"{job.name}: {reason}; it goes on without")
        self._waiting.append(job)

    def lack_storage(self, number: int, reason: str) -> None:
        """Try again, but not for ever.

        Raises:
            StudyFailed: it failed too often.
        """
        self.crash(number, reason)

    def _newest(self, job: Job) -> tuple[str | None, int]:
        """The newest checkpoint that is whole, and its epoch."""
        whole = [name for name in self._checkpoints.names(job.number) if _epoch(name)]
        newest = max(whole, key=_epoch, default=None)
        return newest, 0 if newest is None else _epoch(newest)

    def _keep(self, job: Job) -> None:
        """Move the network to the stage's outputs, and drop what its training needed."""
        newest, _ = self._newest(job)
        assert newest is not None
        folder = self._workspace.folder / NETWORKS / job.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with self._checkpoints.reading(newest) as found:
            for file in _FILES:
                shutil.copyfile(found / file, folder / file)
        known = {"weights": _weights(self._workspace, job)}
        self._workspace.keep(f"{NETWORKS}/{job.name}/trained.json", job.key, known)
        # it stays until the stage ends: a driver on another machine does not see this folder
        self._checkpoints.drop_state(newest)

    def _show(self) -> None:
        done = sum(self._epochs.values())
        self._context.view.step("epochs", done, self._total)


def _epoch(checkpoint: str) -> int:
    """The epoch of a checkpoint; 0 of one that is still being written."""
    last = checkpoint.rpartition("/")[2]
    return int(last) if last.isdigit() else 0


def _train(context: Context, refit: _Refit, checkpoints: Checkpoints) -> None:
    if refit.done:
        return
    study, options = context.study_config, context.options
    settings = WorkerSettings(
        checkpoints=checkpoints,
        profile=study.energy.profile,
        checkpoint_every=study.run.checkpoint_every,
        device=device_for(study.resources.gpus_per_trial),
        code=code_folder(),
    )
    if options.workers == 0:
        from latsearch.search.inline import run_inline
        from latsearch.search.worker import limit_threads

        limit_threads(study.resources.cpus_per_trial)
        run_inline(refit, context.splits, settings, None)
        return
    from latsearch.search.engine import run_on_ray

    run_on_ray(
        refit,
        context.splits,
        settings,
        context.resources(),
        timeout=study.run.timeout,
        deadline=None,
        shared=options.address is not None,
    )


def _curves(
    context: Context, workspace: Workspace, wanted: Sequence[Job]
) -> Mapping[str, Mapping[str, Any]]:
    """Validation curves by the networks' names; those that are missing are measured."""
    missing = [
        job
        for job in wanted
        if workspace.kept(f"{NETWORKS}/{job.name}/validation.json", job.key) is None
    ]
    items = [_item(context, job) for job in missing]
    for index, curve in context.map(validation_curve, items, context.splits, "validation curves"):
        job = missing[index]
        name = f"{NETWORKS}/{job.name}/validation.json"
        workspace.keep(name, job.key, {"weights": _weights(workspace, job), "curve": curve})
    return {
        job.name: workspace.read(f"{NETWORKS}/{job.name}/validation.json")["curve"]
        for job in wanted
    }


def _item(context: Context, job: Job) -> Any:
    folder, profile = network_folder(context, job.name), context.profile
    device = device_for(context.study_config.resources.gpus_per_trial)
    return lambda: (network_files(folder, device), profile)


def validation_curve(splits: Splits, item: tuple[NetworkFiles, EnergyProfile]) -> dict[str, Any]:
    """The decision curve of a network on the validation split."""
    files, profile = item
    network = files.load()
    held = splits.at(network.info.trial.network.timesteps).validation
    return network.curve(held, profile).to_json()
