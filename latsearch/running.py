"""`run`: a study from its configuration to its front, on this machine or on a cluster."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latsearch.config import StudyConfig, is_postgres, load_study, parse_study
from latsearch.config.code import allowing_code, refused
from latsearch.config.names import chosen_study
from latsearch.config.trial import CUSTOM
from latsearch.errors import StudyFailed, UserError
from latsearch.objectives import OperatingPoint
from latsearch.reporting import StudyStatus, study_front, study_status
from latsearch.runs import (
    DEFAULT_RUNS,
    Runs,
    find_study,
    folder_lock,
    home_of,
    local_folder,
    put_aside,
    shown,
    study_folder,
)
from latsearch.search.address import use_address
from latsearch.search.ceilings import Ceilings
from latsearch.search.cost import TrainingCost
from latsearch.search.database import environment_url, remember
from latsearch.search.driver import Event, Observer, Search
from latsearch.search.interrupts import interrupts
from latsearch.search.limits import Limits
from latsearch.search.observations import Observation
from latsearch.search.sampler import sampler_for
from latsearch.search.storage import Study
from latsearch.search.trials import TrialState
from latsearch.search.warm_start import warm_start
from latsearch.spaces import find_space

if TYPE_CHECKING:
    from latsearch.data import Progress, Splits
    from latsearch.search.nodes import RayNodes

_LOGGER = logging.getLogger("latsearch")

Watch = Callable[[Study, Search, int], AbstractContextManager[Observer]]


@dataclass(frozen=True)
class RunResult:
    """What `run` leaves behind.

    Attributes:
        folder: the study's folder.
        status: where the study stands.
        front: its front, best in the first objective first.
        finished: whether every trial has ended; False where the time was up.
        url: where an MLflow server shows the front; None where there is no server.
        put_aside: where an earlier study of the same name was moved, with ``fresh``.
    """

    folder: Path
    status: StudyStatus
    front: Sequence[OperatingPoint]
    finished: bool
    put_aside: Path | None = None
    url: str | None = None


@dataclass(frozen=True)
class RunOptions:
    """What the command line may change of a configuration, and how to run it.

    Attributes:
        trials: trials of the study in total; None as configured.
        hours: wall time after which the search pauses; None for no limit.
        workers: trials at a time; None for as many as fit, 0 for this process without Ray.
        seed: seed of the study; None as configured.
        study: name of the study; None as configured.
        runs: folder of all studies, or a URI of object storage such as ``s3://bucket/prefix``.
        address: of a Ray cluster, ``auto`` or ``HOST:PORT``; None for Ray on this machine.
        fresh: put an earlier study of this name aside and start anew.
        download: fetch a missing data set where the library can.
        allow_code: the user allows that Python code named in the YAML is run.
        deterministic: trainings give the same figures however many run at a time.
        progress: told of the preparation of a data set; None for nobody.
    """

    trials: int | None = None
    hours: float | None = None
    workers: int | None = None
    seed: int | None = None
    study: str | None = None
    runs: Runs = DEFAULT_RUNS
    address: str | None = None
    fresh: bool = False
    download: bool = False
    allow_code: bool = False
    deterministic: bool = False
    progress: Progress | None = None

    def applied(self, config: StudyConfig) -> StudyConfig:
        """The configuration with these changes, checked again.

        Raises:
            UserError: a change cannot be, or the space has the user's own networks, whose code is
                not allowed.
        """
        if self.study is not None:
            chosen_study(self.study)
        data = config.model_dump(mode="json")
        search = data["search"]
        for section, name in ((search, "trials"), (search, "seed"), (data, "study")):
            value = getattr(self, name)
            section[name] = section[name] if value is None else value
        data["run"]["deterministic"] |= self.deterministic
        # these are written without their passwords
        data["storage"] = environment_url() or config.storage
        data["tracking"]["uri"] = config.tracking.uri
        space = config.space
        if CUSTOM in (space.domain("network.family") or ()) and not self.allow_code:
            functions = space.domain("network.function") or ()
            raise UserError(refused("network.function", ", ".join(map(str, functions))))
        return parse_study(json.dumps(data), "options")  # JSON is YAML


def run(
    source: str | Path | StudyConfig,
    options: RunOptions | None = None,
    watch: Watch | None = None,
    warn: Callable[[str], None] = _LOGGER.warning,
) -> RunResult:
    """Start a study, or go on with it where it stands.

    Args:
        source: a YAML file, the name of a bundled search space, or a configuration.
        options: changes to the configuration, and how to run it.
        watch: makes a view of the running search; None for none.
        warn: takes a line about what the search goes on without, e.g. MLflow; may be called from
            another thread.

    Raises:
        ConfigError: the file has faults.
        DataError: the data set is missing or damaged.
        StudyError: another driver is at it, or it was started with another space, data or
            objective.
        StudyFailed: no trial could be finished.
    """
    options = options or RunOptions()
    config = options.applied(resolve(source))
    with allowing_code(options.allow_code):
        return _run(config, options, watch, warn)


def _run(
    config: StudyConfig,
    options: RunOptions,
    watch: Watch | None,
    warn: Callable[[str], None],
) -> RunResult:
    if config.storage is not None:
        remember(config.storage)
    if options.address is not None:
        use_address(options.address)
    splits = prepared(config, options)
    folder, home = study_folder(options.runs, config.study), home_of(options.runs, config.study)
    if home is not None and config.storage is None:
        raise UserError(
            f"--runs {shown(options.runs)}: object storage holds checkpoints, not the study "
            "itself: name a database with storage: postgresql://… or in LATSEARCH_STORAGE"
        )
    _make(folder)
    with interrupts(), ExitStack() as opening:
        opening.enter_context(folder_lock(folder, config.storage, home))
        aside = put_aside(folder) if options.fresh else None
        with _executor(options, splits, warn) as executor, opening:
            # the lock is given back before Ray ends, which may take a minute on a busy machine
            study = _open_or_create(folder, home, config, splits, executor, warn)
            with study.driven():
                if is_postgres(study.storage):
                    opening.close()  # others may have a folder of this name
                before = warm_start(study, lambda run: find_study(run, options.runs), warn)
                with _publisher(study, options, warn) as publisher:
                    finished = _search(study, splits, options, watch, publisher, executor, before)
    status = study_status(study)
    records = study.trials()
    if finished and all(record.state is TrialState.FAILED for record in records):
        reasons = {record.reason for record in records if record.reason}
        why = "; ".join(sorted(reasons)[:3])
        raise StudyFailed(f"{folder}: every trial failed: {why}; traces: {study.failures}")
    front = study_front(study, records)
    return RunResult(folder, status, front, finished, aside, _url(publisher))


def resolve(source: str | Path | StudyConfig) -> StudyConfig:
    """The configuration in a file, of a bundled search space, or as it is."""
    return source if isinstance(source, StudyConfig) else load_study(find_space(source))


def prepared(config: StudyConfig, options: RunOptions) -> Splits:
    """The study's data, ready to be trained on, without the test split.

    Raises:
        DataError: the data set is missing or damaged, or too small for the screening.
    """
    from latsearch.data import load as load_data
    from latsearch.data import part

    splits = load_data(
        config.data,
        download=options.download,
        allow_code=options.allow_code,
        progress=options.progress,
    ).without_test()
    if config.search.screening is not None:
        part(splits, config.search.screening.data)
    if splits.binned is not None:
        splits.binned.prepare(config.space.integers("network.timesteps"), options.progress)
    if config.robust is not None:
        from latsearch.data.corruptions import corrupted_sample

        corrupted_sample(splits.validation, config.robust, options.progress)
    return splits


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "driver.lock").touch()
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written: {error.strerror}; choose another folder with --runs"
        ) from None


@contextmanager
def _executor(
    options: RunOptions, splits: Splits, warn: Callable[[str], None]
) -> Iterator[RayNodes | None]:
    """Ray, not yet started; None where the search runs in this process."""
    if options.workers == 0:
        yield None
        return
    from latsearch.search.nodes import RayNodes

    size = splits.train.pixels.nbytes + splits.validation.pixels.nbytes
    with RayNodes(size, options.address, warn) as ray:
        if options.address is not None:
            ray.wait()  # before a study is made that could not run
        yield ray


def _open_or_create(
    folder: Path,
    home: str | None,
    config: StudyConfig,
    splits: Splits,
    executor: RayNodes | None,
    warn: Callable[[str], None],
) -> Study:
    if Study.exists(folder):
        study = Study.open(folder, drive=True)
        if is_postgres(study.storage) != is_postgres(config.storage):
            there = study.storage or "its folder"
            warn(f"{folder}: the study stays where it was created, in {there}")
        study.adopt(config)
        return study
    if executor is not None:
        executor.start()  # beside the import of torch
    from latsearch.search.reference import reference_point

    study = Study.create(folder, config, reference_point(config, splits), home)
    study.note_validation_samples(len(splits.validation))
    return study


def _publisher(
    study: Study, options: RunOptions, warn: Callable[[str], None]
) -> AbstractContextManager[Observer]:
    """What mirrors the running study into MLflow; nothing where that is switched off."""
    if not study.config.tracking.enabled:
        return nullcontext(_ignore)
    from latsearch.tracking import BackgroundPublisher, default_uri

    uri = study.config.tracking.uri or default_uri(local_folder(options.runs))
    return BackgroundPublisher(study.folder, uri, warn=warn, attach=attached)


def _url(publisher: Observer) -> str | None:
    """Where an MLflow server shows what was published to it."""
    from latsearch.tracking import BackgroundPublisher

    if isinstance(publisher, BackgroundPublisher) and publisher.report is not None:
        return publisher.report.url
    return None


def attached(study: Study, folder: Path) -> None:
    """What MLflow gets beside the tables; the report's imports wait until it is drawn."""
    from latsearch.report import attach_report

    attach_report(study, folder)


def _search(
    study: Study,
    splits: Splits,
    options: RunOptions,
    watch: Watch | None,
    observer: Observer,
    executor: RayNodes | None,
    before: Sequence[Observation],
) -> bool:
    """Search until done or out of time; whether every trial has ended."""
    config = study.config
    cost = TrainingCost(config.space, splits.input_shape, splits.classes, len(splits.train))
    ceilings = Ceilings(config, splits.input_shape, splits.classes, splits.duration_ms)
    sampler = sampler_for(config, study.reference, cost, ceilings)
    limits = Limits(config, splits.input_shape, splits.classes)
    search = Search(study, sampler, before=before, refuse=limits.broken)
    search.observe(observer)

    def view(workers: int) -> AbstractContextManager[Observer]:
        return watch(study, search, workers) if watch else nullcontext(_ignore)

    deadline = None if options.hours is None else time.monotonic() + 3600 * options.hours
    if search.done:
        pass
    elif executor is None:
        _search_inline(search, study, splits, view, deadline)
    else:
        _search_on_ray(search, study, splits, executor, options.workers, view, deadline)
    if search.done and search.exhausted:
        study.note_exhausted()
    return search.done


View = Callable[[int], AbstractContextManager[Observer]]


def _search_inline(
    search: Search, study: Study, splits: Splits, view: View, deadline: float | None
) -> None:
    from latsearch.search.inline import run_inline
    from latsearch.search.worker import limit_threads, repeatable, settings_for

    deterministic = study.config.run.deterministic
    limit_threads(study.config.resources.cpus_per_trial, deterministic=deterministic)
    with repeatable(deterministic), view(1) as observer:
        search.observe(observer)
        run_inline(search, splits, settings_for(study), deadline)


def _search_on_ray(
    search: Search,
    study: Study,
    splits: Splits,
    executor: RayNodes,
    workers: int | None,
    view: View,
    deadline: float | None,
) -> None:
    from latsearch.search.engine import run_on_ray
    from latsearch.search.worker import settings_for

    resources = executor.resources(study.config, workers)
    with view(resources.workers) as observer:
        search.observe(observer)
        run_on_ray(
            search,
            splits,
            settings_for(study, shared=executor.address is not None),
            resources,
            timeout=study.config.run.timeout,
            deadline=deadline,
            shared=executor.address is not None,
        )


def _ignore(event: Event) -> None:
    """Watch nothing."""
