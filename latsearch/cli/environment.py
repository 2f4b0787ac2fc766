"""Commands about the machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from latsearch.cli.output import RUNS

if TYPE_CHECKING:
    from latsearch.runs import Runs


@click.command()
@RUNS
@click.option("--address", metavar="ADDRESS", help="Check each node of this Ray cluster too.")
def doctor(runs: Runs, address: str | None) -> None:
    """Check what a search needs: versions, devices, compiler, Ray, data, folders.

    With --address auto or HOST:PORT also each node of a cluster, and what the nodes share.
    """
    from latsearch.doctor import examine
    from latsearch.doctor_nodes import examine_nodes, examine_services
    from latsearch.runs import local_folder

    findings = examine(local_folder(runs))
    findings += examine_nodes(address, runs) if address else examine_services()
    for finding in findings:
        click.echo(f"{'ok  ' if finding.good else 'LOOK'} {finding.what:<22} {finding.found}")
    if any(finding.fatal for finding in findings):
        sys.exit(1)
