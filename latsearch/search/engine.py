"""The executor on Ray Tune: the only file that knows Ray.

Ray runs class trainables in reused actors; every decision is `Search`'s. Ray's own snapshots,
loggers and restore are off: what has to survive is in the study's storage, and a crashed trial
comes back as a new Ray trial that goes on from the study's checkpoint.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints in spite of verbose=0
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # all workers start at once; we bound them ourselves
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # they take 5 ms and 150 kB of memory a trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C has to reach us
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Ray's experiment snapshot is never read
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402  (reads the environment when it is imported)
from ray import tune  # noqa: E402
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from latsearch.config import StudyConfig  # noqa: E402
from latsearch.data import Splits  # noqa: E402
from latsearch.errors import UserError  # noqa: E402
from latsearch.objectives import EpochReport  # noqa: E402
from latsearch.search.driver import Assignment, Search  # noqa: E402
from latsearch.search.worker import (  # noqa: E402
    Failure,
    MakeWork,
    Work,
    Workable,
    WorkerSettings,
    limit_threads,
)

_CRASH = "its worker process died (killed, out of memory, or no report within run.timeout)"
_RESULT = "latsearch"
_OBJECT_STORE = 128 * 2**20  # bytes beside the data; Ray would otherwise reserve a third of memory


@dataclass(frozen=True)
class Resources:
    """What one trial takes, and how many run at a time."""

    cpus: float
    gpus: float
    workers: int


class LocalRay:
    """Ray on this machine for the life of the context, from `start` on.

    It takes seconds to start, as does importing torch: `start` returns at once, `resources` waits.

    Args:
        data_bytes: size of the data that go to shared memory.
    """

    def __init__(self, data_bytes: int):
        self._data_bytes = data_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ray start")
        self._started: Future[None] | None = None

    def __enter__(self) -> LocalRay:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown(wait=True)
        if self._started is not None:
            ray.shutdown()

    def start(self) -> None:
        """Start Ray in the background, unless that was done already.

        Raises:
            UserError: the process uses Ray for something else.
        """
        if self._started is not None:
            return
        if ray.is_initialized():
            raise UserError("this process uses Ray already: call ray.shutdown() before a search")
        self._started = self._thread.submit(_start, self._data_bytes)

    def resources(self, config: StudyConfig, workers: int | None) -> Resources:
        """What a trial takes of this machine, and how many run at a time; waits for Ray.

        Args:
            config: the study.
            workers: trials at a time; None for as many as fit.

        Raises:
            UserError: a trial, or the wanted number of them, does not fit this machine.
        """
        self.start()
        assert self._started is not None
        self._started.result()
        return _fit(config, workers, ray.cluster_resources())


def _start(data_bytes: int) -> None:
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        object_store_memory=data_bytes + _OBJECT_STORE,
    )


def _fit(config: StudyConfig, workers: int | None, there: dict[str, float]) -> Resources:
    """How many trials run at a time on what is there."""
    wanted = {"CPU": config.resources.cpus_per_trial, "GPU": config.resources.gpus_per_trial}
    room = {
        kind: int(there.get(kind, 0.0) / amount + 1e-9)
        for kind, amount in wanted.items()
        if amount > 0
    }
    scarce = min(room, key=lambda kind: room[kind])
    needed = workers or 1
    if room[scarce] < needed:
        raise UserError(
            f"{needed} trial{'s' if needed > 1 else ''} at a time with {wanted[scarce]:g} "
            f"{scarce} each do not fit this machine's {there.get(scarce, 0.0):g} {scarce}: lower "
            f"resources.{scarce.lower()}s_per_trial{' or --workers' if workers else ''}"
        )
    return Resources(wanted["CPU"], wanted["GPU"], workers or room[scarce])


def run_on_ray(
    search: Search,
    splits: Splits,
    settings: WorkerSettings,
    resources: Resources,
    *,
    timeout: float | None,
    deadline: float | None,
    make_work: MakeWork = Work,
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
    """
    bridge = _Bridge(search, resources.workers, deadline)
    with tempfile.TemporaryDirectory(prefix="latsearch-ray-") as scratch:
        trainable = tune.with_parameters(
            _TrialTrainable,
            splits=splits,
            settings=settings,
            resources=resources,
            timeout=timeout,
            make_work=make_work,
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
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


class _Bridge:
    """Between Ray's trials, known by Ray's ids, and the search's."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its tuner at the start, to restore what we never restore

    def __init__(self, search: Search, workers: int, deadline: float | None):
        self._search = search
        self._workers = workers
        self._deadline = deadline
        self._running: dict[str, Assignment] = {}
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
        if self.over or self._search.done:
            return str(Searcher.FINISHED)
        if self._search.idle or len(self._running) >= self._workers:
            return None
        self._running[ray_id] = assignment = self._search.ask()
        return {_RESULT: assignment}

    def result(self, ray_id: str, told: EpochReport | Failure) -> bool:
        """Take a worker's word; whether its trial goes on."""
        assignment = self._running[ray_id]
        if isinstance(told, Failure):
            self._search.fail(assignment.number, told.reason, told.trace)
        elif self._search.report(assignment.number, told):
            if told.epoch < assignment.trial.train.epochs:
                return not self.over
            self._search.complete(assignment.number)
        del self._running[ray_id]
        return False

    def died(self, ray_id: str) -> None:
        """Take the death of a trial's worker."""
        assignment = self._running.pop(ray_id, None)
        if assignment is not None and not self.over:
            self._search.crash(assignment.number, _CRASH)


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
        if error:
            with self._bridge.noted():
                self._bridge.died(trial_id)

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
            goes_on = self._bridge.result(trial.trial_id, result[_RESULT])
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)


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
    ) -> None:
        self._make_work = make_work
        self._splits = splits
        self._settings = settings
        self._timeout = timeout
        limit_threads(resources.cpus)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._assignment: Assignment = new_config[_RESULT]
        self._work: Workable | None = None
        return True

    def step(self) -> dict[str, Any]:
        if self._timeout is not None:
            # a hung training holds its thread: the process has to go, the driver sees it die
            faulthandler.dump_traceback_later(self._timeout, exit=True, file=2)
        try:
            if self._work is None:
                self._work = self._make_work(self._assignment, self._splits, self._settings)
            return {_RESULT: self._work.step()}
        except Exception as error:  # reported with its trace; the worker lives on
            return {_RESULT: Failure.of(error)}
        finally:
            faulthandler.cancel_dump_traceback_later()
