"""Commands about the machine and its data."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from latsearch.cli.output import RUNS, open_console

if TYPE_CHECKING:
    from latsearch.runs import Runs


@click.command()
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
        count = f"{info.train + info.test:,}" if info.train and info.test else "any number"
        shape = f" of {'x'.join(map(str, info.shape))}" if info.shape else ""
        where = str(info.folder) if info.folder else f"missing; {info.how_to_get}"
        table.add_row(info.name, count + shape, str(info.classes or "any"), where)
    open_console().print(table)


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
