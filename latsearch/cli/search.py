"""Commands that search: `run`, and what comes before and around it."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latsearch.cli.output import (
    ALLOW_CODE,
    FILE,
    RUN,
    RUNS,
    open_console,
    print_front,
    print_lines,
    say,
)
from latsearch.cli.progress import DataProgress
from latsearch.errors import StudyError

if TYPE_CHECKING:
    from rich.console import Console

    from latsearch.api import RunOptions, RunResult
    from latsearch.planning import Plan
    from latsearch.runs import Runs
    from latsearch.search.driver import Search
    from latsearch.search.storage import Study


@click.command()
@FILE
@click.option("--trials", type=click.IntRange(1), help="Trials of the study in total.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="Pause after this long.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Trials at a time [default: as many as fit; 0 trains in this process, without Ray].",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of sampler and trainings.")
@RUNS
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Ray cluster to run on, auto or HOST:PORT [default: Ray on this machine].",
)
@click.option("--study", metavar="NAME", help="Name of the study [default: as in FILE].")
@click.option("--fresh", is_flag=True, help="Put an earlier study aside and start anew.")
@click.option("--download", is_flag=True, help="Fetch a missing data set where possible.")
@ALLOW_CODE
@click.option(
    "--deterministic", is_flag=True, help="Equal figures however many trials run at a time."
)
@click.option("--plan", is_flag=True, help="Only say what the search would cost.")
@click.option("--smoke", is_flag=True, help="Only try one batch of one trial.")
def run(file: str, plan: bool, smoke: bool, **options: Any) -> None:
    """Search FILE's space, or go on where its study stands.

    FILE is a YAML file or the name of a bundled search space (digits, fashion_mnist, cifar10,
    cifar100, nmnist, cifar10_dvs, dvs_gesture, shd). The study lives in RUNS/<study>; Ctrl-C
    interrupts it, the same command goes on.
    """
    from latsearch import api

    with DataProgress() as progress:
        chosen = api.RunOptions(**options, progress=progress)
        if plan:
            _print_plan(api.plan(file, chosen))
        elif smoke:
            print_lines(api.smoke(file, chosen))
        else:
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill is a Ctrl-C
            _run(file, chosen)


def _run(file: str, options: RunOptions) -> None:
    from latsearch import api
    from latsearch.runs import home_of, shown
    from latsearch.terminal import LiveView, PlainView

    console = open_console()

    def watch(study: Study, search: Search, workers: int) -> LiveView | PlainView:
        view = LiveView if console.is_terminal else PlainView
        return view(study, search, workers, console)

    config = options.applied(api.resolve(file))
    home = home_of(options.runs, config.study)
    where = shown(home) if home else Path(options.runs) / config.study
    say(console, f"{config.study}: getting data, networks and Ray ready; results go to {where}")
    try:
        result = api.run(config, options, watch, warn=lambda line: say(console, line))
    except KeyboardInterrupt:
        say(
            console,
            "interrupted: finished trials are kept; the same command goes on with the others "
            "from their last checkpoints",
        )
        sys.exit(130)
    if result.put_aside:
        say(console, f"the earlier study is now {result.put_aside}")
    print_front(result.folder, console)
    _print_end(result, console, options, published=config.tracking.enabled)


@click.command()
@FILE
def validate(file: str) -> None:
    """Check FILE, a search space or a pipeline, and show the study it resolves to."""
    from latsearch.config import describe, load_study
    from latsearch.config.pipeline import is_pipeline, load_pipeline
    from latsearch.spaces import find_space, pipeline_studies

    path = find_space(file)
    if not is_pipeline(path):
        print_lines(describe(load_study(path)))
        return
    config = load_pipeline(path)
    click.echo(f"pipeline {config.pipeline}; `latsearch pipeline {file} --plan` shows its stages")
    for study in pipeline_studies(config, path.parent):
        print_lines(["", *describe(study)])


@click.command()
@click.option("--pipeline", is_flag=True, help="Of pipeline files instead.")
@click.option("--reference", is_flag=True, help="As tables to read, in Markdown.")
def schema(pipeline: bool, reference: bool) -> None:
    """Print the JSON schema of search-space files, for completion in editors."""
    if reference:
        from latsearch.config.reference import reference_page

        click.echo(reference_page(), nl=False)
        return
    from latsearch.config import json_schema
    from latsearch.config.pipeline import pipeline_schema

    click.echo(json.dumps(pipeline_schema() if pipeline else json_schema(), indent=1))


@click.command()
def method() -> None:
    """Print which choices the paper states, which are ours, and what switching them does."""
    from latsearch.config.method import method_table

    click.echo(method_table())


@click.command(name="list")
@RUNS
def list_command(runs: Runs) -> None:
    """List the studies in the runs folder."""
    from rich.table import Table

    from latsearch import api
    from latsearch.runs import list_studies

    table = Table("study", "trials", "front", "hypervolume", "state", box=None, pad_edge=False)
    for folder in list_studies(runs):
        try:
            there = api.status(folder)
        except StudyError as error:  # its database is away: the others are shown all the same
            table.add_row(folder.name, "?", "?", "?", str(error))
            continue
        ended = there.complete + there.pruned + there.failed
        state = f"running ({there.driver})" if there.driver else "finished"
        if ended < there.trials and not there.driver and not there.exhausted:
            state = "interrupted"
        volume = f"{there.hypervolume:.4g}"
        table.add_row(folder.name, f"{ended}/{there.trials}", str(there.front), volume, state)
    if table.row_count:
        open_console().print(table)
    else:
        click.echo(f"no studies in {runs}; start one with `latsearch run digits`")


@click.command()
@RUN
@RUNS
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def rm(run: str, runs: Runs, yes: bool) -> None:
    """Delete the study RUN with its checkpoints (its MLflow runs stay)."""
    from latsearch.runs import find_study, remove_study

    folder = find_study(run, runs)
    if not yes:
        click.confirm(f"delete {folder} with all its trials and networks?", abort=True)
    remove_study(folder)
    click.echo(f"deleted {folder}")


def print_status(run: str | Path, runs: Runs, as_json: bool) -> None:
    """Print where the study RUN stands; it may be running."""
    from latsearch import api

    there = api.status(run, runs)
    if as_json:
        click.echo(json.dumps(there.to_json(), indent=1))
        return
    facts = there.to_json()
    reasons = facts.pop("why")
    for name, value in facts.items():
        if value is not None:
            click.echo(f"{name.replace('_', ' '):<18} {value}")
    for reason, times in reasons.items():
        click.echo(f"{'failed':<18} {times} × {reason}")


def _print_plan(plan: Plan) -> None:
    from latsearch.tables import duration

    least, median, most = (duration(seconds) for seconds in plan.trial_seconds)
    epochs, time = f"{plan.epochs:,} epochs", f"about {duration(plan.seconds)}"
    if plan.stops:
        epochs, time = f"at most {epochs}", f"{time} at most, since trials are stopped early,"
    click.echo(f"trials    {plan.trials}, {plan.workers} at a time, {epochs} in all")
    click.echo(f"a trial   {least} to {most}, mostly {median} (estimated from a few batches)")
    click.echo(f"in all    {time} on this machine")
    click.echo(f"storage   about {plan.megabytes:,.0f} MB")


def _print_end(
    result: RunResult, console: Console, options: RunOptions, *, published: bool
) -> None:
    from latsearch.runs import home_of, shown

    status, folder = result.status, result.folder
    home = home_of(options.runs, folder.name)
    elsewhere = f"--runs '{options.runs}'" if home else f"--runs {folder.parent}"
    study = f"{folder.name} {elsewhere}" if home else str(folder)
    ended = status.complete + status.pruned + status.failed
    if status.exhausted and ended < status.trials:
        say(console, "every point of the search space has been tried: there is nothing more to run")
    say(
        console,
        f"\n{'finished' if result.finished else 'paused, the time is up'}: {ended} of "
        f"{status.trials} trials ({status.failed} failed), hypervolume {status.hypervolume:.4g}, "
        f"{status.seconds:.0f} s of searching, in {shown(home) if home else folder}",
    )
    commands = [
        f"latsearch front {study} --where 'accuracy > 0.9'",
        f"latsearch front {study} --csv front.csv",
        *([f"latsearch ui {folder.name} {elsewhere}"] if published else []),
    ]
    say(console, "next:  " + "\n       ".join(commands))
    if result.url:
        say(console, f"the front in MLflow: {result.url}")
