"""Commands that show and choose what a search has found."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latsearch.cli.output import ALLOW_CODE, RUN, RUNS, open_console, print_front
from latsearch.errors import UserError

if TYPE_CHECKING:
    from latsearch.runs import Runs
    from latsearch.selection import Rule


@click.command()
@RUN
@RUNS
@click.option("--where", metavar="EXPR", help="Keep rows such as 'latency <= 1.5'.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write all rows as CSV.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="... or as JSON.")
def front(
    run: str, runs: Runs, where: str | None, csv_file: Path | None, json_file: Path | None
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
        print_front(find_study(run, runs), open_console(), where)


@click.command()
@RUN
@RUNS
@click.option("--where", metavar="EXPR", help="Choose among rows such as 'latency <= 1.5'.")
@click.option("--by", type=click.Choice(["accuracy", "latency", "energy"]), help="Best in this.")
@click.option("--knee", "rule", flag_value="knee", help="Best trade-off (default).")
@click.option("--most-accurate", "rule", flag_value="most-accurate", help="Highest accuracy.")
@click.option("--fastest", "rule", flag_value="fastest", help="Lowest latency.")
@click.option("--least-energy", "rule", flag_value="least-energy", help="Lowest energy.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option(
    "--register",
    "name",
    metavar="NAME",
    help="Put what every rule chooses into MLflow's registry: models:/NAME@knee, @fastest, ….",
)
@click.option("--to", metavar="URI", help="MLflow to register at [default: as the study says].")
def select(
    run: str,
    runs: Runs,
    where: str | None,
    by: str | None,
    rule: Rule | None,
    as_json: bool,
    name: str | None,
    to: str | None,
) -> None:
    """Choose one operating point of the front of the study RUN."""
    from latsearch import api
    from latsearch.reporting import json_row
    from latsearch.selection import rule_for

    if by and rule and rule != rule_for(by):
        raise UserError(f"--by {by} and --{rule} choose different points; give one of them")
    chosen = api.select(run, rule or (rule_for(by) if by else "knee"), where, runs)
    if as_json:
        click.echo(json.dumps(json_row(chosen), indent=1))
    else:
        for column, value in chosen.items():
            if value is not None:
                shown = f"{value:.6g}" if isinstance(value, float) else value
                click.echo(f"{column:<24} {shown}")
    if name is not None:
        _register(run, name, where, to, runs, quiet=as_json)


def _register(
    run: str, name: str, where: str | None, to: str | None, runs: Runs, *, quiet: bool
) -> None:
    """Register, and say where the models are; on standard error beside JSON."""
    from latsearch import api

    versions = api.register(run, name, where, to, runs)
    for version in versions:
        point = version.point
        aliases = " ".join(f"@{alias}" for alias in version.aliases)
        click.echo(
            f"{name} version {version.version} {aliases}: trial {point.trial}, decision threshold "
            f"{point.decision_threshold:.4g}{'' if version.created else ' (there already)'}",
            err=quiet,
        )
    click.echo(f'load:  mlflow.pyfunc.load_model("{versions[0].uri}")', err=quiet)


@click.command()
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
    console = open_console()
    for line in curve_scatter(found):
        console.print(line, highlight=False, markup=False)
    console.print(curve_table(found))


@click.command()
@click.argument("studies", metavar="RUN RUN ...", nargs=-1, required=True)
@RUNS
def compare(studies: tuple[str, ...], runs: Runs) -> None:
    """Compare the fronts of several studies: volume, coverage, accuracy within limits."""
    from latsearch import api
    from latsearch.tables import comparison_scatter, comparison_tables

    console, found = open_console(), api.compare(studies, runs)
    for line in comparison_scatter(found):
        console.print(line, highlight=False, markup=False)
    for part in comparison_tables(found):
        console.print(part)


@click.command()
@RUN
@RUNS
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to [default: report.html in the study's folder].",
)
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="Draw the front too.")
@ALLOW_CODE
def report(run: str, runs: Runs, out: Path | None, png: Path | None, allow_code: bool) -> None:
    """Write all about the study RUN into one HTML file that needs no network."""
    from latsearch import api

    written = api.report(run, out, png, runs, allow_code=allow_code)
    click.echo(f"{written} ({written.stat().st_size / 1e6:.1f} MB)")
    if png is not None:
        click.echo(png)


@click.command()
@RUN
@RUNS
@click.option("--to", metavar="URI", help="MLflow tracking URI [default: as the study says].")
@ALLOW_CODE
def publish(run: str, runs: Runs, to: str | None, allow_code: bool) -> None:
    """Make MLflow's copy of the study RUN complete; publishing twice changes nothing."""
    from latsearch import api

    report = api.publish(run, to, runs, allow_code=allow_code)
    click.echo(
        f"{report.shown_uri} has {report.trials} trials and {report.points} operating points "
        f"of {run} ({report.written} written now)"
    )
    click.echo(report.url or f"next:  latsearch ui {run} --runs {runs}")


@click.command()
@click.argument("run", metavar="[RUN]", required=False)
@RUNS
@click.option("--uri", help="MLflow tracking URI [default: the runs folder's own store].")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(run: str | None, runs: Runs, uri: str | None, port: int) -> None:
    """Serve MLflow's UI on 127.0.0.1 and say where the study RUN's front is."""
    from latsearch.runs import find_study, local_folder
    from latsearch.search.storage import Study
    from latsearch.tracking import serve_ui

    study = Study.open(find_study(run, runs)) if run else None
    if study is not None:
        uri = uri or study.config.tracking.uri
    # a polite kill is a Ctrl-C: otherwise MLflow's own processes would stay
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    serve_ui(local_folder(runs), uri, port, click.echo, study)
