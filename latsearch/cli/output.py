"""What several commands share: their arguments and options, and how they write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

_PIPE_WIDTH = 200

FILE = click.argument("file", metavar="FILE")
RUN = click.argument("run", metavar="RUN")
ALLOW_CODE = click.option(
    "--allow-code", is_flag=True, help="Run the Python code that the configuration names."
)


class _RunsFolder(click.Path):
    """A folder, or the URI of one in object storage."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        if isinstance(value, str) and "://" in value:
            return value
        return super().convert(value, param, ctx)


RUNS = click.option(
    "--runs",
    type=_RunsFolder(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of all studies, or s3://BUCKET/PREFIX.",
)


def open_console() -> Console:
    """The terminal, or a file of a fixed width."""
    from rich.console import Console

    terminal = Console()
    # rich takes a pipe for 80 columns, which would cut tables that no window bounds
    return terminal if terminal.is_terminal else Console(width=_PIPE_WIDTH)


def say(console: Console, text: str) -> None:
    """A line of prose: as it is, unbroken where it goes to a file."""
    console.print(text, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def print_lines(lines: Iterable[str]) -> None:
    """Plain lines."""
    for line in lines:
        click.echo(line)


def print_front(folder: Path, console: Console, where: str | None = None) -> None:
    """A study's front as a scatter and a table."""
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
        say(console, f"{folder}: {lack}")
