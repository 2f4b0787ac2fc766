"""latsearch from Python: everything that the command line does is a call here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latsearch import selection
from latsearch.cards.describing import CardOptions as CardOptions
from latsearch.cards.describing import model_card as model_card
from latsearch.config import StudyConfig
from latsearch.config.code import allowing_code
from latsearch.errors import UserError
from latsearch.evaluating import EvaluationOptions as EvaluationOptions
from latsearch.evaluating import evaluate as evaluate
from latsearch.exporting import ExportOptions as ExportOptions
from latsearch.exporting import export_model as export_model
from latsearch.insights import importance as importance
from latsearch.insights import slices as slices
from latsearch.located import locate
from latsearch.objectives import DecisionCurve, OperatingPoint
from latsearch.predicting import PredictOptions as PredictOptions
from latsearch.predicting import predict as predict
from latsearch.quantising import Quantised as Quantised
from latsearch.quantising import QuantiseOptions as QuantiseOptions
from latsearch.quantising import quantise as quantise
from latsearch.recalibrating import RecalibrateOptions as RecalibrateOptions
from latsearch.recalibrating import recalibrate as recalibrate
from latsearch.reporting import StudyStatus, point_row, row_columns, study_front, study_status
from latsearch.reproducing import Reproduction as Reproduction
from latsearch.reproducing import reproduce as reproduce
from latsearch.running import RunOptions as RunOptions
from latsearch.running import RunResult as RunResult
from latsearch.running import attached, prepared
from latsearch.running import resolve as resolve
from latsearch.running import run as run
from latsearch.runs import DEFAULT_RUNS, Runs, find_study
from latsearch.search.query import parse
from latsearch.search.storage import Study
from latsearch.selection import Comparison, Rule
from latsearch.serving import ServeOptions as ServeOptions
from latsearch.serving import serve as serve

if TYPE_CHECKING:
    from latsearch.config.pipeline import PipelineConfig
    from latsearch.evaluation import LoadedNetwork
    from latsearch.pipelines.context import PipelineOptions, Viewer
    from latsearch.pipelines.running import PipelineResult
    from latsearch.planning import Plan
    from latsearch.tracking import PublishReport, Registration


def pipeline(
    source: str | Path | PipelineConfig,
    options: PipelineOptions | None = None,
    view: Viewer | None = None,
) -> PipelineResult:
    """Carry out a pipeline, or what has changed of it, or go on where it was interrupted.

    Args:
        source: a YAML file, the name of a bundled pipeline, or a configuration.
        options: how; `latsearch.pipelines.context.PipelineOptions`.
        view: who is shown it; None for nobody.

    Raises:
        LatsearchError: as `run`, or a stage could not be carried out.
    """
    from latsearch.pipelines.running import run_pipeline

    return run_pipeline(source, options, view)


def plan(source: str | Path | StudyConfig, options: RunOptions | None = None) -> Plan:
    """What a search would cost, from a few batches of a few of its trials."""
    from latsearch import planning

    options = options or RunOptions()
    config = options.applied(resolve(source))
    with allowing_code(options.allow_code):
        return planning.plan(config, prepared(config, options), options.workers)


def smoke(source: str | Path | StudyConfig, options: RunOptions | None = None) -> list[str]:
    """Train and validate one batch of one trial; what was seen, as lines."""
    from latsearch import planning

    options = options or RunOptions()
    config = options.applied(resolve(source))
    with allowing_code(options.allow_code):
        return list(planning.smoke(config, prepared(config, options)))


def status(run: str | Path, runs: Runs = DEFAULT_RUNS) -> StudyStatus:
    """Where a study stands; it may be running."""
    return study_status(Study.open(find_study(run, runs)))


def front(
    run: str | Path, where: str | None = None, runs: Runs = DEFAULT_RUNS
) -> list[OperatingPoint]:
    """The front of a study, best in its first objective first.

    Args:
        run: folder or name of the study.
        where: condition on the front's columns, e.g. ``latency <= 1.5``.
        runs: folder of all studies.
    """
    study = Study.open(find_study(run, runs))
    points = study_front(study, study.trials())
    if where is None:
        return points
    holds = parse(where, row_columns(study.config))
    return [point for point in points if holds(point_row(point, study.config))]


def select(
    run: str | Path, rule: Rule = "knee", where: str | None = None, runs: Runs = DEFAULT_RUNS
) -> dict[str, Any]:
    """One operating point of a study's front as a flat row, with the folder of its weights.

    Args:
        run: folder or name of the study.
        rule: ``knee``, ``most-accurate``, ``fastest`` or ``least-energy``.
        where: condition on the front's columns, e.g. ``latency <= 1.5``.
        runs: folder of all studies.
    """
    study = Study.open(find_study(run, runs))
    chosen = selection.select(front(study.folder, where), tuple(study.config.objectives), rule)
    record = next(record for record in study.trials() if record.number == chosen.trial)
    return {**point_row(chosen, study.config), "weights": str(study.checkpoint(record))}


def register(
    run: str | Path,
    name: str,
    where: str | None = None,
    to: str | None = None,
    runs: Runs = DEFAULT_RUNS,
) -> list[Registration]:
    """Put what each rule chooses of a front into MLflow's model registry, under its alias.

    Args:
        run: folder or name of the study.
        name: name of the registered model, e.g. for `models:/NAME@knee`.
        where: condition on the front's columns; the rules choose among the rows that meet it.
        to: MLflow tracking URI; None for the one that the study is configured with.
        runs: folder of all studies.

    Raises:
        UserError: no row meets the condition, or the name cannot be a model's.
        TrackingError: MLflow cannot be reached, or refused something.
    """
    from latsearch import tracking

    study = Study.open(find_study(run, runs))
    points = front(study.folder, where)
    chosen = selection.select_all(points, tuple(study.config.objectives))
    default = tracking.default_uri(study.folder.parent)
    uri = to or study.config.tracking.uri or default
    return tracking.register(study, chosen, name, uri, attached)


def compare(runs_to_compare: Sequence[str | Path], runs: Runs = DEFAULT_RUNS) -> Comparison:
    """The fronts of two studies or more side by side.

    Raises:
        UserError: fewer than two are named, or they cannot be compared.
    """
    if len(runs_to_compare) < 2:
        raise UserError("compare takes two studies or more; `latsearch list` shows them")
    studies = [Study.open(find_study(run, runs)) for run in runs_to_compare]
    fronts = [study_front(study, study.trials()) for study in studies]
    return selection.compare([str(run) for run in runs_to_compare], studies, fronts)


def curve(file: str | Path) -> DecisionCurve:
    """The decision curve of any network whose output potentials are in an npz file.

    Args:
        file: holds ``potentials`` ``[T, B, K]``, ``labels`` ``[B]`` and, if measured, ``energy``
            ``[T, B]`` in nJ of deciding at t.

    Raises:
        UserError: the file cannot be read, or its arrays are missing or do not fit together.
    """
    from latsearch.data.npz import read_npz
    from latsearch.snn.decoding import decision_curve

    found = read_npz(Path(file))
    try:
        return decision_curve(found["potentials"], found["labels"], found.get("energy"))
    except KeyError as error:
        there = ", ".join(found) or "nothing"
        raise UserError(f"{file}: has no array {error}, but {there}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: {error}") from None


def publish(
    run: str | Path,
    to: str | None = None,
    runs: Runs = DEFAULT_RUNS,
    *,
    allow_code: bool = False,
) -> PublishReport:
    """Make MLflow's copy of a study complete; where it is, nothing is written.

    Args:
        run: folder or name of the study.
        to: MLflow tracking URI; None for the one that the study is configured with.
        runs: folder of all studies.
        allow_code: the user allows that the code of their own networks is run, for the report.

    Raises:
        TrackingError: MLflow cannot be reached, or refused something.
    """
    from latsearch import tracking

    study = Study.open(find_study(run, runs))
    default = tracking.default_uri(study.folder.parent)
    with allowing_code(allow_code):
        return tracking.publish(study, to or study.config.tracking.uri or default, attach=attached)


def report(
    run: str | Path,
    out: Path | None = None,
    png: Path | None = None,
    runs: Runs = DEFAULT_RUNS,
    *,
    allow_code: bool = False,
) -> Path:
    """Write the report of a study, one HTML file that needs no network; where it is.

    Args:
        run: folder or name of the study; it may be running.
        out: where to; None for ``report.html`` in the study's folder.
        png: where to draw the front as well; None for nowhere.
        runs: folder of all studies.
        allow_code: the user allows that the code of their own networks is run, for their verdicts.

    Raises:
        UserError: a file cannot be written.
    """
    from latsearch.plots import write_front_png
    from latsearch.report import front_data, gather, report_page

    study = Study.open(find_study(run, runs))
    out = out or study.folder / "report.html"
    content = gather(study)
    try:
        aside = out.with_name(f".{out.name}.part")
        with allowing_code(allow_code):
            page = report_page(content)
        aside.write_text(page, encoding="utf-8")
        aside.replace(out)
        if png is not None:
            write_front_png(front_data(content), png)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None
    return out


def load(
    run: str | Path,
    trial: int | None = None,
    runs: Runs = DEFAULT_RUNS,
    *,
    allow_code: bool = False,
) -> LoadedNetwork:
    """A trained network: of a trial, or in a folder of its own.

    Args:
        run: folder or name of the study; without `trial` a network as the command line names it,
            ``runs/digits:22`` or the folder of a checkpoint.
        trial: the trial's number.
        runs: folder of all studies.
        allow_code: the user allows that the code of their own networks is run.

    Raises:
        StudyError: there is no such study, or its weights were not kept.
        UserError: there is no such trial or network, or it is code, which is not allowed or fails.
    """
    with allowing_code(allow_code):
        return locate(run if trial is None else f"{run}:{trial}", runs).load()
