"""The command that goes from data to networks one can deploy: `pipeline`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latsearch.cli.output import ALLOW_CODE, FILE, RUNS, open_console, say
from latsearch.cli.progress import DataProgress

if TYPE_CHECKING:
    from latsearch.pipelines.context import PipelineOptions


@click.command()
@FILE
@click.option("--trials", type=click.IntRange(1), help="Trials of the study in total.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of search and trainings.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Trainings at a time [default: as many as fit; 0 trains in this process, without Ray].",
)
@RUNS
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Ray cluster to run on, auto or HOST:PORT [default: Ray on this machine].",
)
@click.option("--study", metavar="NAME", help="Name of the study [default: as in FILE].")
@click.option("--until", metavar="STAGE", help="Stop after this stage.")
@click.option("--fresh", is_flag=True, help="Put an earlier study aside and start anew.")
@click.option("--download", is_flag=True, help="Fetch a missing data set where possible.")
@ALLOW_CODE
@click.option("--plan", is_flag=True, help="Only say what would be done, and why.")
def pipeline(file: str, plan: bool, **options: Any) -> None:
    """Search, retrain, test, select, export and register as FILE says.

    FILE is a YAML file or the name of a bundled pipeline (digits, fashion_mnist, cifar10, cifar100,
    tiny_imagenet, cifar10_dvs, paper). Everything lands in RUNS/<study>/pipeline/<stage>. The same
    command goes on where it was interrupted, and does only what has changed.
    """
    from latsearch.pipelines.context import PipelineOptions

    with DataProgress() as progress:
        chosen = PipelineOptions(**options, progress=progress)
        if plan:
            _print_plan(file, chosen)
        else:
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill is a Ctrl-C
            _run(file, chosen)


def _run(file: str, options: PipelineOptions) -> None:
    from latsearch import api
    from latsearch.pipeline_terminal import PipelineView
    from latsearch.pipelines.running import pipeline_standing

    console = open_console()
    context, standing = pipeline_standing(file, options)
    say(console, f"{context.config.pipeline}: results go to {context.folder}")
    try:
        with PipelineView(console, [stage.name for stage in standing]) as view:
            result = api.pipeline(file, options, view)
    except KeyboardInterrupt:
        say(console, "interrupted: what was finished is kept; the same command goes on")
        sys.exit(130)
    if result.put_aside:
        say(console, f"the earlier study is now {result.put_aside}")
    if result.report is None:
        say(console, f"stopped after {options.until}; without --until the same command goes on")
        return
    _print_end(result.folder, result.report)


def _print_end(folder: Path, report: Path) -> None:
    from rich.table import Table

    from latsearch.pipelines.summary import delivered

    console = open_console()
    heads, rows = delivered(folder)
    table = Table(box=None, pad_edge=False)
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index > 1 else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    say(console, f"report: {report.with_suffix('.html')}")


def _print_plan(file: str, options: PipelineOptions) -> None:
    from latsearch.config import describe
    from latsearch.pipelines.running import pipeline_standing
    from latsearch.pipelines.summary import work_of

    context, standing = pipeline_standing(file, options)
    click.echo("\n".join(describe(context.study_config)[:6]))
    click.echo("")
    for stage in standing:
        state = "unchanged, nothing to do" if stage.reason is None else stage.reason
        work = work_of(stage.name, context)
        click.echo(f"{stage.name:<11} {state:<28} {work}".rstrip())
    click.echo(
        f"\nresults go to {context.folder}; `latsearch run … --plan` says what a search costs"
    )
