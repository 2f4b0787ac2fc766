"""Running a pipeline: its study found, its folder locked, its stages carried out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from latsearch.config import DataConfig, StudyConfig
from latsearch.config.code import allowing_code
from latsearch.config.pipeline import PipelineConfig, load_pipeline
from latsearch.errors import DataError, StudyError, UserError
from latsearch.pipelines.context import Context, PipelineOptions, Viewer
from latsearch.pipelines.stages import Runner, Standing
from latsearch.running import RunOptions
from latsearch.runs import folder_lock, put_aside, study_folder
from latsearch.search.address import use_address
from latsearch.search.database import remember
from latsearch.search.driver import Event, Observer, Search
from latsearch.search.interrupts import interrupts
from latsearch.search.lock import DriverLock
from latsearch.search.storage import Study
from latsearch.spaces import find_pipeline, pipeline_studies

FOLDER = "pipeline"  # in the study's


@dataclass(frozen=True)
class PipelineResult:
    """What a pipeline leaves behind.

    Attributes:
        folder: of the pipeline, a folder in it for each stage.
        stages: the stages that it has.
        report: its report; None where the pipeline was to stop before.
        put_aside: where an earlier study of the same name was moved, with ``fresh``.
    """

    folder: Path
    stages: Sequence[str]
    report: Path | None
    put_aside: Path | None = None


class Silent:
    """Shows nothing."""

    def stage(self, name: str, state: str, reason: str | None = None) -> None:
        """Nothing."""

    def step(self, what: str, done: int, total: int) -> None:
        """Nothing."""

    def note(self, line: str) -> None:
        """Nothing."""

    def search(
        self, study: Study, search: Search, workers: int
    ) -> AbstractContextManager[Observer]:
        """Nothing."""
        return nullcontext(_ignore)


def _ignore(event: Event) -> None:
    """Watch nothing."""


def run_pipeline(
    source: str | Path | PipelineConfig,
    options: PipelineOptions | None = None,
    view: Viewer | None = None,
) -> PipelineResult:
    """Carry out a pipeline, or what has changed of it, or go on where it was interrupted.

    Args:
        source: a YAML file, the name of a bundled pipeline, or a configuration.
        options: how.
        view: who is shown it; None for nobody.

    Raises:
        ConfigError: the file has faults.
        DataError: the data set is missing or damaged.
        StudyError: another driver is at it, or its study was started with another space or data.
        StudyFailed: a stage could not be carried out.
    """
    options = options or PipelineOptions()
    context = make_context(source, options, view or Silent())
    runner = Runner(context)
    if options.until is not None and options.until not in runner.names:
        raise UserError(f"--until {options.until}: the stages are {', '.join(runner.names)}")
    runner.check()
    if context.study_config.storage is not None:
        remember(context.study_config.storage)
    if options.address is not None:
        use_address(options.address)
    folder = context.study_folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}; see --runs") from None
    aside = _aside(context) if options.fresh else None
    context.folder.mkdir(exist_ok=True)
    with interrupts(), _lock(context), allowing_code(options.allow_code), context.machines:
        runner.run()
    report = context.workspace("report").folder / "report.md"
    whole = options.until in (None, runner.names[-1])
    return PipelineResult(context.folder, runner.names, report if whole else None, aside)


def pipeline_standing(
    source: str | Path | PipelineConfig, options: PipelineOptions | None = None
) -> tuple[Context, list[Standing]]:
    """Where each stage stands, and what `run_pipeline` would do; nothing is written."""
    context = make_context(source, options or PipelineOptions(), Silent())
    return context, list(Runner(context).standing())


def make_context(
    source: str | Path | PipelineConfig, options: PipelineOptions, view: Viewer
) -> Context:
    """The pipeline with its study, nothing begun."""
    if isinstance(source, PipelineConfig):
        config, base = source, Path()
    else:
        file = find_pipeline(source)
        config, base = load_pipeline(file), file.parent
    study = study_of(config, base, options)
    search = config.search
    study = RunOptions(
        trials=options.trials or search.trials,
        seed=search.seed if options.seed is None else options.seed,
        study=options.study,
        allow_code=options.allow_code,
    ).applied(study)
    folder = study_folder(options.runs, study.study) / FOLDER
    return Context(config, study, options, folder, view)


def study_of(config: PipelineConfig, base: Path, options: PipelineOptions) -> StudyConfig:
    """The study of a pipeline: of several spaces the first whose data are present.

    Raises:
        DataError: of none are they present.
    """
    studies = pipeline_studies(config, base)
    if len(studies) == 1 or options.download:
        return studies[0]
    for study in studies:
        if _present(study.data):
            return study
    names = ", ".join(study.data.name for study in studies)
    raise DataError(
        f"none of the data sets {names} is present; `latsearch datasets` says how to get them, "
        "--download fetches the first"
    )


def _present(data: DataConfig) -> bool:
    from latsearch.data import DATASETS
    from latsearch.data.locating import locate

    dataset = DATASETS[data.name]
    if dataset.layout is None:
        return True  # a folder or function of the user's own
    try:
        locate(dataset, data.root)
    except DataError:
        return False
    return True


def _aside(context: Context) -> Path | None:
    """Move an earlier study of this name out of the way, its pipeline with it."""
    folder = context.study_folder
    with folder_lock(folder, context.study_config.storage), _lock(context):
        return put_aside(folder)


def _lock(context: Context) -> AbstractContextManager[object]:
    """The right to drive the pipeline."""
    if not context.folder.is_dir():
        return nullcontext()
    return _PipelineLock(context.folder)


class _PipelineLock(DriverLock):
    """As the study's own, with words about a pipeline."""

    def __enter__(self) -> DriverLock:
        try:
            return super().__enter__()
        except StudyError:
            folder = self._path.parent
            raise StudyError(
                f"{folder}: another `latsearch pipeline` is at it; wait for it, stop it, or use "
                "--study NAME"
            ) from None
