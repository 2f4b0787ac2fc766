"""The command that writes a network's model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from latsearch.cli.output import ALLOW_CODE, RUNS
from latsearch.cli.progress import DataProgress


@click.command()
@click.argument("model", metavar="MODEL")
@RUNS
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("."),
    show_default="the current folder",
    help="Folder for model_card.md and model_card.json.",
)
@click.option(
    "--threshold",
    "decision_threshold",
    type=float,
    help="Decision threshold [default: the one set for MODEL, else the curve's knee].",
)
@click.option("--samples", type=click.IntRange(1), help="Test samples, stratified [default: all].")
@click.option(
    "--robustness",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What `latsearch evaluate --corruptions --json` wrote.",
)
@click.option("--created", metavar="TEXT", help="A date to print [default: none].")
@click.option("--root", metavar="FOLDER", help="Folder of the data set [default: as in the study].")
@ALLOW_CODE
def card(model: str, runs: Path, to: Path, **options: Any) -> None:
    """Write the model card of MODEL: data, protocol, test figures, energy, limits.

    MODEL is a trial such as runs/digits:22, or the folder of a checkpoint.
    """
    from latsearch import api
    from latsearch.cards import write_card

    with DataProgress() as progress:
        found = api.model_card(model, api.CardOptions(progress=progress, **options), runs)
    low, high = found.seeds[0].interval
    click.echo(
        f"{found.name}: accuracy {found.accuracy.mean:.2%} ({low:.2%} to {high:.2%}), decision "
        f"time {found.latency.mean:.3f} {found.data.latency_unit}, "
        f"{found.energy(found.energy_profile).mean:,.1f} nJ on {found.seeds[0].samples:,} test "
        "samples"
    )
    for file in write_card(found, to):
        click.echo(f"wrote {file}")
