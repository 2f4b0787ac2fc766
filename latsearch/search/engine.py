"""The executor on Ray Tune.

Ray runs class trainables in reused actors; every decision is `Search`'s. Ray's own snapshots,
loggers and restore are off: what has to survive is in the study's storage, and a crashed trial
comes back as a new Ray trial that goes on from the study's checkpoint.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

# nodes.py sets Ray's environment: it comes before any other import of ray
from latsearch.search.nodes import Resources, Room, ask_each_node  # isort: skip
import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from latsearch.data import Splits
from latsearch.errors import LatsearchError
from latsearch.objectives import EpochReport
from latsearch.search.deaths import Coroner, Watchdog
from latsearch.search.driver import Assignment, Trainings
from latsearch.search.interrupts import check
from latsearch.search.probe import check_answers, check_here, look_around
from latsearch.search.worker import (
    Failure,
    MakeWork,
    Work,
    Workable,
    WorkerSettings,
    limit_threads,
    ran,
    repeatable,
    take_failure,
)

_LOST = "its machine went away"
_RESULT = "latsearch"
_NODE = "node"
_RAYS_OWN = {"trial_id", "training_iteration", "done", "node_ip", "pid"}  # of a result


def run_on_ray(
    search: Trainings,
    splits: Splits,
    settings: WorkerSettings,
    resources: Resources,
    *,
    timeout: float | None,
    deadline: float | None,
    make_work: MakeWork = Work,
    shared: bool = False,
) -> None:
    """Run the search until it is done or the deadline (`time.monotonic`) has passed.

    Args:
        search: asked and told from this thread.
        splits: placed once in the shared memory of each node.
        settings: what all trials have in common.
        resources: what a trial takes, and how many run at a time.
        timeout: seconds without a report after which a worker is taken for hung.
        deadline: when to stop; trials that run then stay interrupted.
        make_work: makes what a worker does with an assignment; another than a training is for
            measuring the driver alone.
        shared: whether there may be other machines, which have to see the checkpoints.

    Raises:
        StudyError: a machine does not see them, or has other versions.
    """
    coroner = Coroner(settings.failures, timeout)
    bridge = _Bridge(search, Room(resources), coroner, deadline)
    sign = _signed(settings) if shared else None
    try:
        _run(bridge, splits, settings, resources, timeout, make_work, sign)
    finally:
        if shared:
            settings.checkpoints.remove_signs()


def _signed(settings: WorkerSettings) -> str:
    """Leave a sign among the checkpoints that every node has to see, now and when it joins."""
    sign = secrets.token_hex(8)
    settings.checkpoints.sign(sign)
    answers = ask_each_node(look_around, settings.checkpoints, sign)
    check_answers(answers, settings.checkpoints, sign)
    return sign


def _run(
    bridge: _Bridge,
    splits: Splits,
    settings: WorkerSettings,
    resources: Resources,
    timeout: float | None,
    make_work: MakeWork,
    sign: str | None,
) -> None:
    _keep_keys_to_nodes()
    with tempfile.TemporaryDirectory(prefix="latsearch-ray-") as scratch:
        trainable = tune.with_parameters(
            _TrialTrainable,
            splits=splits,
            settings=settings,
            resources=resources,
            timeout=timeout,
            make_work=make_work,
            sign=sign,
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, tune.PlacementGroupFactory([dict(resources.per_trial)])),
            tune_config=tune.TuneConfig(
                search_alg=_Proposals(bridge),
                scheduler=_Decisions(bridge),
                num_samples=-1,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="run",
                storage_path=scratch,
                callbacks=[_Forgets()],
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        except tune.TuneError:
            if bridge.error is None:
                raise
            raise bridge.error from None  # Ray knows of it as text only


def _keep_keys_to_nodes() -> None:
    """Have Tune not hand the driver's S3 keys on: they would be on its workers' command lines.

    Workers have the environment of their node, which holds the keys (docs/cluster.md).
    """
    from ray.tune.execution import class_cache

    handed_on = class_cache.ENV_VARS_TO_PROPAGATE
    handed_on.difference_update([name for name in handed_on if name.startswith("AWS_")])


class _Bridge:
    """Between Ray's trials, known by Ray's ids, and the search's."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its tuner at the start, to restore what we never restore

    def __init__(self, search: Trainings, room: Room, coroner: Coroner, deadline: float | None):
        self._search = search
        self._room = room
        self._coroner = coroner
        self._deadline = deadline
        self._running: dict[str, Assignment] = {}
        self._nodes: dict[str, str] = {}  # where trials ran when they last reported
        self.error: Exception | None = None  # what our side raised below Ray's loop

    @property
    def over(self) -> bool:
        """Whether the deadline has passed: nothing starts any more, what runs stays interrupted."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keep an exception that Ray is going to turn into text."""
        try:
            yield
        except Exception as error:
            self.error = error
            raise

    def propose(self, ray_id: str) -> dict[str, Any] | str | None:
        check()
        if self.over or self._search.done:
            return str(Searcher.FINISHED)
        if self._search.idle or len(self._running) >= self._room():
            return None
        self._running[ray_id] = assignment = self._search.ask()
        return {_RESULT: assignment}

    def result(self, ray_id: str, told: EpochReport | Failure | LatsearchError, node: str) -> bool:
        """Take a worker's word; whether its trial goes on.

        Raises:
            LatsearchError: its machine is no good for the search.
        """
        check()
        assignment = self._running[ray_id]
        self._nodes[ray_id] = node
        if isinstance(told, LatsearchError):
            raise told
        if isinstance(told, Failure):
            take_failure(self._search, assignment.number, told)
        elif self._search.report(assignment.number, told):
            if told.epoch < assignment.trial.train.epochs:
                return not self.over
            self._search.complete(assignment.number)
        del self._running[ray_id]
        return False

    def died(self, ray_id: str, told: str | None) -> None:
        """Take the death of a trial's worker, and what Ray says about it."""
        check()
        assignment = self._running.pop(ray_id, None)
        if assignment is None or self.over:
            return
        number = assignment.number
        if self._room.lost(self._nodes.get(ray_id)):
            self._search.crash(number, _LOST, lost=True, trace=told)
            return
        death = self._coroner.examine(number, told)
        self._search.crash(number, death.reason, memory=death.memory, trace=death.trace)


class _Proposals(Searcher):  # type: ignore[misc]
    """Ray's view of who proposes."""

    def __init__(self, bridge: _Bridge):
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        with self._bridge.noted():
            return self._bridge.propose(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: a death is told to the scheduler first, who sees more of it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study's storage has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: Ray's restore is not used."""


class _Decisions(FIFOScheduler):  # type: ignore[misc]
    """Ray's view of who goes on."""

    def __init__(self, bridge: _Bridge):
        super().__init__()
        self._bridge = bridge

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        with self._bridge.noted():
            goes_on = self._bridge.result(trial.trial_id, result[_RESULT], result[_NODE])
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        with self._bridge.noted():
            self._bridge.died(trial.trial_id, _told(trial))


class _Forgets(tune.Callback):  # type: ignore[misc]
    """Leaves Ray its own part of each result alone.

    It keeps every trial's last one until the search ends, with its configuration and statistics of
    each number in it: some 30 kB a trial.
    """

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Runs after the scheduler, and before Ray puts the result away."""
        for name in result.keys() - _RAYS_OWN:
            del result[name]


def _told(trial: Any) -> str | None:
    """What Ray says about the death of a trial's worker: it writes it to a file."""
    try:
        return Path(trial.error_file).read_text(errors="replace")
    except (OSError, TypeError):
        return None


class _TrialTrainable(tune.Trainable):  # type: ignore[misc]
    """Carries out one assignment after the other in a reused process.

    An exception in a training is told as a `Failure`: it is the trial's end, not the worker's.
    """

    def setup(
        self,
        config: dict[str, Any],
        splits: Splits,
        settings: WorkerSettings,
        resources: Resources,
        timeout: float | None,
        make_work: MakeWork,
        sign: str | None,
    ) -> None:
        self._make_work = make_work
        self._splits = splits
        self._settings = settings
        self._timeout = timeout
        self._node = str(ray.get_runtime_context().get_node_id())
        self._unfit: LatsearchError | None = None
        if sign is not None:
            try:
                check_here(settings.checkpoints, sign)
            except LatsearchError as error:
                self._unfit = error
        limit_threads(resources.per_trial["CPU"], deterministic=settings.deterministic)
        self._repeatable = ExitStack()
        self._repeatable.enter_context(repeatable(settings.deterministic))
        self._watchdog: Watchdog | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._assignment: Assignment = new_config[_RESULT]
        self._work: Workable | None = None
        self.cleanup()
        self._watchdog = Watchdog(self._settings.failures, self._assignment.number, self._timeout)
        return True

    def cleanup(self) -> None:
        if self._watchdog is not None:
            self._watchdog.close()

    def step(self) -> dict[str, Any]:
        return {_RESULT: self._unfit or self._trained(), _NODE: self._node}

    def _trained(self) -> EpochReport | Failure:
        assert self._watchdog is not None
        try:
            with self._watchdog:
                if self._work is None:
                    self._work = self._make_work(self._assignment, self._splits, self._settings)
                return self._work.step()
        except Exception as error:  # reported with its trace; the worker lives on
            self._work = None
            return Failure.of(error, ran(self._assignment, self._settings))
