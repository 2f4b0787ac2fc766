"""The command that says what mattered in a search."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latsearch.cli.output import RUN, RUNS, open_console, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from latsearch.report.importance import Importance
    from latsearch.report.slices import Slice


@click.command()
@RUN
@RUNS
@click.option("--slice", "parameter", metavar="PARAMETER", help="What its values reached.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def importance(run: str, runs: Path, parameter: str | None, as_json: bool) -> None:
    """Say which parameters of the study RUN mattered, to each objective.

    Shares by PED-ANOVA, of the complete trials; those of an objective add up to 1. With --slice,
    the trials by the values of one parameter, e.g. network.timesteps.
    """
    from latsearch import api

    if parameter is not None:
        parts = api.slices(run, parameter, runs)
        if as_json:
            click.echo(json.dumps([asdict(part) for part in parts], indent=1))
        else:
            open_console().print(_slice_table(parameter, parts))
        return
    found = api.importance(run, runs)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=1))
        return
    console = open_console()
    if found.shares:
        console.print(_share_table(found))
        say(console, f"next:  latsearch importance {run} --slice {_most_important(found)}")
        say(console, f"       latsearch select {run}")
    for line in found.missing:
        say(console, line)


def _most_important(found: Importance) -> str:
    shares = next(iter(found.shares.values()))
    return max(shares, key=lambda name: shares[name])


def _share_table(found: Importance) -> Table:
    from rich.table import Table

    table = Table("parameter", *found.shares, box=None, pad_edge=False)
    names = {name for shares in found.shares.values() for name in shares}
    total = {name: sum(s.get(name, 0.0) for s in found.shares.values()) for name in names}
    for name in sorted(names, key=lambda name: (-total[name], name)):
        cells = (f"{shares.get(name, 0.0):.0%}" for shares in found.shares.values())
        table.add_row(name, *cells)
    return table


def _slice_table(parameter: str, parts: Sequence[Slice]) -> Table:
    from rich.table import Table

    objectives = list(parts[0].medians) if parts else []
    heads = [head for name in objectives for head in (f"{name}, median", "best")]
    table = Table(parameter, "trials", *heads, box=None, pad_edge=False)
    for part in parts:
        cells = [
            _shown(name, figures[name])
            for name in objectives
            for figures in (part.medians, part.bests)
        ]
        table.add_row(part.values, str(part.trials), *cells)
    return table


def _shown(objective: str, value: float) -> str:
    return f"{value:.2%}" if objective == "accuracy" else f"{value:,.3f}"
