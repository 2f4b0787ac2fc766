"""The command that writes a trained network in other formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latsearch.cli.output import ALLOW_CODE, RUNS, open_console, say
from latsearch.cli.progress import DataProgress
from latsearch.errors import LatsearchError, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from latsearch.export import Check, ExportReport

_KNOWN = "safetensors, nir, onnx, torch-export"
_RULES = ("knee", "most-accurate", "fastest", "least-energy")


def _formats(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...]:
    """The formats of an option that is repeated, or takes several with commas."""
    named = [part.strip() for value in given for part in value.split(",")]
    return tuple(dict.fromkeys(part for part in named if part))


@click.command()
@click.argument("model", metavar="MODEL|RUN")
@RUNS
@click.option(
    "--format",
    "formats",
    multiple=True,
    callback=_formats,
    default=("safetensors", "nir"),
    show_default=True,
    metavar="NAME[,NAME]",
    help=f"What to write: {_KNOWN}.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write [default: exports/NAME].",
)
@click.option(
    "--threshold",
    "decision_threshold",
    type=float,
    help="Decision threshold [default: the operating point's].",
)
@click.option(
    "--rule",
    type=click.Choice(_RULES),
    default="knee",
    show_default=True,
    help="Which operating point of RUN's front.",
)
@click.option("--where", metavar="EXPR", help="... among those that meet this.")
@click.option(
    "--samples",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Validation samples to compare on, stratified; 0 for all.",
)
@click.option("--root", metavar="FOLDER", help="Folder of the data set [default: as in the study].")
@ALLOW_CODE
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what was found as JSON.",
)
def export(
    model: str,
    runs: Path,
    out: Path | None,
    samples: int,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Write a trained network in other formats, and run each file elsewhere to prove it equal.

    MODEL is a trial such as runs/digits:22, or the folder of a checkpoint; of a study RUN the
    knee of the front is taken. Predictions, decision times and spikes of every layer are compared.
    """
    from latsearch import api

    with DataProgress() as progress:
        chosen = api.ExportOptions(samples=samples or None, progress=progress, **options)
        found = api.export_model(model, out, chosen, runs)
    console = open_console()
    say(console, f"{found.model} at decision threshold {found.decision_threshold:.6g}")
    console.print(_table(found))
    for check in found.unchecked:
        say(console, f"{check.format} was not checked with {check.framework}: {check.not_checked}")
    say(console, f"{found.folder}: {len(found.files)} files; manifest.json has their hashes")
    if json_file is not None:
        _write(json_file, found)
    if not found.equal:
        different = ", ".join(
            f"{check.format} in {check.framework}" for check in found.checks if not check.equal
        )
        raise LatsearchError(f"{found.folder}: does not do what the network does: {different}")


def _table(found: ExportReport) -> Table:
    """A row for each file and what ran it: the samples in which it differs."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("format", "run by"):
        table.add_column(heading)
    headings = ("samples", "predictions", "decision times", "spikes", "near a threshold", "gap")
    for heading in headings:
        table.add_column(heading, justify="right")
    for check in found.checks:
        if not check.not_checked:
            table.add_row(check.format, check.framework, *_figures(check))
    return table


def _figures(check: Check) -> list[str]:
    counts = (check.samples, check.predictions, check.decision_times)
    spikes = {name: count for name, count in check.spikes.items() if count}
    layers = ", ".join(f"{name} {count:,}" for name, count in spikes.items()) or "0"
    gap = f"{check.largest_potential_difference:.1g}"
    return [*(f"{count:,}" for count in counts), layers, f"{check.near_threshold:,}", gap]


def _write(file: Path, found: ExportReport) -> None:
    try:
        file.write_text(json.dumps(found.to_json(), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from None
