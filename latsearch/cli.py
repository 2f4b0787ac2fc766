"""The command line. Heavy imports stay inside the commands: ``--help`` answers at once."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latsearch import __version__
from latsearch.errors import LatsearchError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from latsearch.api import RunOptions, RunResult
    from latsearch.planning import Plan
    from latsearch.search.driver import Search
    from latsearch.search.storage import Study
    from latsearch.selection import Rule

_PIPE_WIDTH = 200

_FILE = click.argument("file", metavar="FILE")
_RUN = click.argument("run", metavar="RUN")
_RUNS = click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of all studies.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="latsearch")
def cli() -> None:
    """Find latency-coded spiking networks that are Pareto-optimal in accuracy, latency and energy.

    Start with `latsearch run digits`: real data, nothing to download, a front in minutes.
    """


@cli.command()
@_FILE
@click.option("--trials", type=click.IntRange(1), help="Trials of the study in total.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="Pause after this long.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Trials at a time [default: as many as fit; 0 trains in this process, without Ray].",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of sampler and trainings.")
@_RUNS
@click.option("--study", metavar="NAME", help="Name of the study [default: as in FILE].")
@click.option("--fresh", is_flag=True, help="Put an earlier study aside and start anew.")
@click.option("--download", is_flag=True, help="Fetch a missing data set where possible.")
@click.option("--plan", is_flag=True, help="Only say what the search would cost.")
@click.option("--smoke", is_flag=True, help="Only try one batch of one trial.")
def run(file: str, plan: bool, smoke: bool, **options: Any) -> None:
    """Search FILE's space, or go on where its study stands.

    FILE is a YAML file or the name of a bundled search space (digits, fashion_mnist, cifar10,
    cifar100). The study lives in RUNS/<study>; Ctrl-C interrupts it, the same command goes on.
    """
    from latsearch import api

    chosen = api.RunOptions(**options)
    if plan:
        _print_plan(api.plan(file, chosen))
    elif smoke:
        _print_lines(api.smoke(file, chosen))
    else:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill is a Ctrl-C
        _run(file, chosen)


def _run(file: str, options: RunOptions) -> None:
    from latsearch import api
    from latsearch.terminal import LiveView, PlainView

    console = _console()

    def watch(study: Study, search: Search, workers: int) -> LiveView | PlainView:
        view = LiveView if console.is_terminal else PlainView
        return view(study, search, workers, console)

    config = options.applied(api.resolve(file))
    folder = options.runs / config.study
    _say(console, f"{config.study}: getting data, networks and Ray ready; results go to {folder}")
    try:
        result = api.run(config, options, watch, warn=lambda line: _say(console, line))
    except KeyboardInterrupt:
        _say(
            console,
            "interrupted: finished trials are kept; the same command goes on with the others "
            "from their last checkpoints",
        )
        sys.exit(130)
    if result.put_aside:
        _say(console, f"the earlier study is now {result.put_aside}")
    _print_front(folder, console)
    _print_end(result, console, published=config.tracking.enabled)


@cli.command()
@_FILE
def validate(file: str) -> None:
    """Check FILE and show the study it resolves to."""
    from latsearch.config import describe, load_study
    from latsearch.spaces import find_space

    _print_lines(describe(load_study(find_space(file))))


@cli.command()
def schema() -> None:
    """Print the JSON schema of search-space files, for completion in editors."""
    from latsearch.config import json_schema

    click.echo(json.dumps(json_schema(), indent=1))


@cli.command(name="list")
@_RUNS
def list_command(runs: Path) -> None:
    """List the studies in the runs folder."""
    from rich.table import Table

    from latsearch import api
    from latsearch.runs import list_studies

    table = Table("study", "trials", "front", "hypervolume", "state", box=None, pad_edge=False)
    for folder in list_studies(runs):
        there = api.status(folder)
        ended = there.complete + there.pruned + there.failed
        state = f"running ({there.driver})" if there.driver else "finished"
        if ended < there.trials and not there.driver and not there.exhausted:
            state = "interrupted"
        volume = f"{there.hypervolume:.4g}"
        table.add_row(folder.name, f"{ended}/{there.trials}", str(there.front), volume, state)
    if table.row_count:
        _console().print(table)
    else:
        click.echo(f"no studies in {runs}; start one with `latsearch run digits`")


@cli.command()
@_RUN
@_RUNS
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def rm(run: str, runs: Path, yes: bool) -> None:
    """Delete the study RUN with its checkpoints (its MLflow runs stay)."""
    from latsearch.runs import find_study, remove_study

    folder = find_study(run, runs)
    if not yes:
        click.confirm(f"delete {folder} with all its trials and networks?", abort=True)
    remove_study(folder)
    click.echo(f"deleted {folder}")


@cli.command()
@_RUN
@_RUNS
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def status(run: str, runs: Path, as_json: bool) -> None:
    """Show where the study RUN stands; it may be running."""
    from latsearch import api

    there = api.status(run, runs)
    if as_json:
        click.echo(json.dumps(there.to_json(), indent=1))
        return
    for name, value in there.to_json().items():
        if value is not None:
            click.echo(f"{name.replace('_', ' '):<18} {value}")


@cli.command()
@_RUN
@_RUNS
@click.option("--where", metavar="EXPR", help="Keep rows such as 'latency <= 1.5'.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write all rows as CSV.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="... or as JSON.")
def front(
    run: str, runs: Path, where: str | None, csv_file: Path | None, json_file: Path | None
) -> None:
    """Show the front of the study RUN: one row an operating point."""
    from latsearch import api
    from latsearch.reporting import point_row, row_columns, write_csv, write_json
    from latsearch.runs import find_study
    from latsearch.search.storage import Study

    points = api.front(run, where, runs)
    config = Study.open(find_study(run, runs)).config
    rows = [point_row(point, config) for point in points]
    try:
        if csv_file:
            write_csv(rows, row_columns(config), csv_file)
        if json_file:
            write_json(rows, json_file)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None
    if not csv_file and not json_file:
        _print_front(find_study(run, runs), _console(), where)


@cli.command()
@_RUN
@_RUNS
@click.option("--where", metavar="EXPR", help="Choose among rows such as 'latency <= 1.5'.")
@click.option("--knee", "rule", flag_value="knee", default="knee", help="Best trade-off (default).")
@click.option("--most-accurate", "rule", flag_value="most-accurate", help="Highest accuracy.")
@click.option("--fastest", "rule", flag_value="fastest", help="Lowest latency.")
@click.option("--least-energy", "rule", flag_value="least-energy", help="Lowest energy.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def select(run: str, runs: Path, where: str | None, rule: Rule, as_json: bool) -> None:
    """Choose one operating point of the front of the study RUN."""
    from latsearch import api
    from latsearch.reporting import json_row

    chosen = api.select(run, rule, where, runs)
    if as_json:
        click.echo(json.dumps(json_row(chosen), indent=1))
        return
    for name, value in chosen.items():
        if value is not None:
            shown = f"{value:.6g}" if isinstance(value, float) else value
            click.echo(f"{name:<24} {shown}")


@cli.command()
@click.argument("file", metavar="FILE.npz", type=click.Path(path_type=Path))
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write the curve as CSV.")
def curve(file: Path, csv_file: Path | None) -> None:
    """Show the decision curve of any network from its output potentials.

    FILE.npz holds `potentials` [T, B, K] and `labels` [B]; `energy` [T, B] in nJ if measured.
    """
    from latsearch import api
    from latsearch.objectives import NUMERIC_COLUMNS
    from latsearch.reporting import write_csv
    from latsearch.tables import curve_scatter, curve_table

    found = api.curve(file)
    if csv_file:
        write_csv(found.rows(), (*NUMERIC_COLUMNS, "kind"), csv_file)
        return
    console = _console()
    for line in curve_scatter(found):
        console.print(line, highlight=False, markup=False)
    console.print(curve_table(found))


@cli.command()
@click.argument("studies", metavar="RUN RUN ...", nargs=-1, required=True)
@_RUNS
def compare(studies: tuple[str, ...], runs: Path) -> None:
    """Compare the fronts of several studies: volume, coverage, accuracy within limits."""
    from latsearch import api
    from latsearch.tables import comparison_tables

    console = _console()
    for part in comparison_tables(api.compare(studies, runs)):
        console.print(part)


@cli.command()
@_RUN
@_RUNS
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to [default: report.html in the study's folder].",
)
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="Draw the front too.")
def report(run: str, runs: Path, out: Path | None, png: Path | None) -> None:
    """Write all about the study RUN into one HTML file that needs no network."""
    from latsearch import api

    written = api.report(run, out, png, runs)
    click.echo(f"{written} ({written.stat().st_size / 1e6:.1f} MB)")
    if png is not None:
        click.echo(png)


@cli.command()
@_RUN
@_RUNS
@click.option("--to", metavar="URI", help="MLflow tracking URI [default: as the study says].")
def publish(run: str, runs: Path, to: str | None) -> None:
    """Make MLflow's copy of the study RUN complete; publishing twice changes nothing."""
    from latsearch import api

    report = api.publish(run, to, runs)
    click.echo(
        f"{report.uri} has {report.trials} trials and {report.points} operating points of {run} "
        f"({report.written} written now)"
    )
    click.echo(report.url or f"next:  latsearch ui {run} --runs {runs}")


@cli.command()
@click.argument("run", metavar="[RUN]", required=False)
@_RUNS
@click.option("--uri", help="MLflow tracking URI [default: the runs folder's own store].")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(run: str | None, runs: Path, uri: str | None, port: int) -> None:
    """Serve MLflow's UI on 127.0.0.1 and say where the study RUN's front is."""
    from latsearch.runs import find_study
    from latsearch.search.storage import Study
    from latsearch.tracking import serve_ui

    study = Study.open(find_study(run, runs)) if run else None
    if study is not None:
        uri = uri or study.config.tracking.uri
    serve_ui(runs, uri, port, click.echo, study)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def datasets(as_json: bool) -> None:
    """List the data sets that are known, which are present, and how to get the others."""
    from dataclasses import asdict

    from rich.table import Table

    from latsearch.data import catalogue

    known = catalogue()
    if as_json:
        click.echo(json.dumps([asdict(info) for info in known], indent=1, default=str))
        return
    table = Table("name", "images", "classes", "where", box=None, pad_edge=False)
    for info in known:
        size = f"{info.train + info.test:,} of {'x'.join(map(str, info.shape))}"
        where = str(info.folder) if info.folder else f"missing; {info.how_to_get}"
        table.add_row(info.name, size, str(info.classes), where)
    _console().print(table)


@cli.command()
@_RUNS
def doctor(runs: Path) -> None:
    """Check what a search needs: versions, devices, compiler, Ray, data, folders."""
    from latsearch.doctor import examine

    findings = examine(runs)
    for finding in findings:
        click.echo(f"{'ok  ' if finding.good else 'LOOK'} {finding.what:<22} {finding.found}")
    if any(finding.fatal for finding in findings):
        sys.exit(1)


def main() -> None:
    """Run the command line; expected errors are one line, a user's mistake exits with 2."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("aborted", err=True)
        sys.exit(130)
    except click.exceptions.Exit as request:
        sys.exit(request.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except LatsearchError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `latsearch front RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _console() -> Console:
    from rich.console import Console

    console = Console()
    # rich takes a pipe for 80 columns, which would cut tables that no window bounds
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def _say(console: Console, text: str) -> None:
    """A line of prose: as it is, unbroken where it goes to a file."""
    console.print(text, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _print_plan(plan: Plan) -> None:
    from latsearch.tables import duration

    least, median, most = (duration(seconds) for seconds in plan.trial_seconds)
    click.echo(f"trials    {plan.trials}, {plan.workers} at a time, {plan.epochs:,} epochs in all")
    click.echo(f"a trial   {least} to {most}, mostly {median} (estimated from a few batches)")
    click.echo(f"in all    about {duration(plan.seconds)} on this machine")
    click.echo(f"storage   about {plan.megabytes:,.0f} MB")


def _print_front(folder: Path, console: Console, where: str | None = None) -> None:
    from latsearch import api
    from latsearch.search.storage import Study
    from latsearch.tables import front_scatter, front_table

    points = api.front(folder, where)
    if points:
        study = Study.open(folder)
        for line in front_scatter(points, study):
            console.print(line, highlight=False, markup=False)
        console.print(front_table(points, study))
    else:
        lack = "no row of the front meets --where" if where else "no row is on the front yet"
        _say(console, f"{folder}: {lack}")


def _print_end(result: RunResult, console: Console, *, published: bool) -> None:
    status, folder = result.status, result.folder
    ended = status.complete + status.pruned + status.failed
    if status.exhausted and ended < status.trials:
        _say(
            console, "every point of the search space has been tried: there is nothing more to run"
        )
    _say(
        console,
        f"\n{'finished' if result.finished else 'paused, the time is up'}: {ended} of "
        f"{status.trials} trials ({status.failed} failed), hypervolume {status.hypervolume:.4g}, "
        f"{status.seconds:.0f} s of searching, in {folder}",
    )
    commands = [
        f"latsearch front {folder} --where 'latency <= 1.5'",
        f"latsearch front {folder} --csv front.csv",
        *([f"latsearch ui {folder.name} --runs {folder.parent}"] if published else []),
    ]
    _say(console, "next:  " + "\n       ".join(commands))
