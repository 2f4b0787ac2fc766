"""The command that trains a trial once more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from latsearch.cli.output import ALLOW_CODE, RUN, RUNS
from latsearch.cli.progress import DataProgress

if TYPE_CHECKING:
    from latsearch.runs import Runs


@click.command()
@RUN
@click.argument("trial", metavar="TRIAL", type=click.IntRange(0))
@RUNS
@ALLOW_CODE
def reproduce(run: str, trial: int, runs: Runs, allow_code: bool) -> None:
    """Train TRIAL of the study RUN once more, and compare curves and weights bit by bit.

    Exit code 0 where all is equal, 1 at the first difference, with its likely cause.
    """
    from latsearch import api

    with DataProgress() as progress:
        found = api.reproduce(run, trial, runs, allow_code=allow_code, progress=progress)
    if found.difference is None:
        plural = "s" if found.epochs > 1 else ""
        epochs = f"{found.epochs} epoch{plural}" if found.epochs else "its screening alone"
        click.echo(f"equal: trial {trial}, {epochs}, {found.weights} digests of weights")
        return
    click.echo(f"different: trial {trial}, {found.difference}")
    for cause in found.causes:
        click.echo(f"likely cause: {cause}")
    sys.exit(1)
