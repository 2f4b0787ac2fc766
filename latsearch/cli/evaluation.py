"""Commands that evaluate one trained network."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latsearch.cli.output import ALLOW_CODE, RUNS, open_console, say
from latsearch.cli.progress import DataProgress
from latsearch.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from latsearch.robustness import Robustness

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("model", metavar="MODEL")
@RUNS
@click.option("--corruptions", is_flag=True, help="Measure under corruptions at 5 severities.")
@click.option("--only", "names", multiple=True, metavar="NAME", help="... under these alone.")
@click.option("--drawn", is_flag=True, help="... drawn here even where CIFAR-10-C is present.")
@click.option("--threshold", type=float, help="Decision threshold [default: the curve's knee].")
@click.option(
    "--samples",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Test samples, stratified; 0 for all.",
)
@click.option("--against", metavar="MODEL", help="Network to compare with: ImageNet-C's mCE.")
@click.option("--root", metavar="FOLDER", help="Folder of the data set [default: as in the study].")
@ALLOW_CODE
@click.option("--csv", "csv_file", type=_FILE, help="Write all rows as CSV.")
@click.option("--json", "json_file", type=_FILE, help="... or as JSON, with the summary.")
@click.option("--png", type=_FILE, help="Draw a heat map.")
def evaluate(
    model: str,
    runs: Path,
    against: str | None,
    csv_file: Path | None,
    json_file: Path | None,
    png: Path | None,
    samples: int,
    threshold: float | None,
    **options: Any,
) -> None:
    """Measure MODEL on the test split: accuracy, decision time and energy.

    MODEL is a trial such as runs/digits:22, or the folder of a checkpoint.
    """
    from latsearch import api
    from latsearch.heatmap import write_heat_map

    with DataProgress() as progress:
        chosen = api.EvaluationOptions(
            samples=samples or None, decision_threshold=threshold, progress=progress, **options
        )
        found = api.evaluate(model, chosen, runs)
        other = api.evaluate(against, chosen, runs) if against else None
    console = open_console()
    say(console, _heading(found))
    console.print(_table(found))
    if found.rival is not None:
        answer = {True: "yes", False: "no", None: "cannot be told"}[found.rival.cheaper]
        say(console, f"less energy than a quantised network of its shape: {answer}")
        say(console, found.rival.words())
    if found.corrupted:
        _say_summary(found.summary(other), other, found.latency_unit)
    try:
        if csv_file:
            _write_csv(found, csv_file)
        if json_file:
            content = json.dumps(found.to_json(other), indent=1)
            json_file.write_text(content + "\n", encoding="utf-8")
        if png:
            write_heat_map([found] if other is None else [found, other], png)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None


def _heading(found: Robustness) -> str:
    text = (
        f"{found.model} at decision threshold {found.decision_threshold:.4g}, "
        f"{found.samples:,} test samples"
    )
    return f"{text}; {found.corruptions}" if found.corruptions else text


def _table(found: Robustness) -> Table:
    """A row for each corruption: its accuracies, and its mean decision time and energy."""
    from rich.table import Table

    from latsearch.robustness import corruption_names

    severities = sorted({row.severity for row in found.corrupted})
    table = Table(box=None, pad_edge=False)
    table.add_column("accuracy")
    for severity in severities or [0]:
        table.add_column(str(severity or ""), justify="right")
    latency = f"latency/{found.latency_unit.replace('timesteps', 'steps')}"
    for heading in ("mean", latency, "energy/nJ", "silent"):
        table.add_column(heading, justify="right")
    for name in corruption_names(found.rows):
        rows = [row for row in found.rows if row.corruption == name]
        by_severity = {row.severity: f"{row.accuracy:.1%}" for row in rows}
        mean = {
            column: sum(getattr(row, column) for row in rows) / len(rows)
            for column in ("accuracy", "latency", "energy", "silent_fraction")
        }
        table.add_row(
            name.replace("_", " "),
            *(by_severity.get(severity, "") for severity in severities or [0]),
            f"{mean['accuracy']:.1%}",
            f"{mean['latency']:.3f}",
            f"{mean['energy']:,.1f}",
            f"{mean['silent_fraction']:.1%}",
        )
    return table


def _say_summary(summary: dict[str, float], other: Robustness | None, unit: str) -> None:
    lines = [
        f"mean corruption error {summary['mean_corruption_error']:.1%} (clean error "
        f"{1 - summary['clean_accuracy']:.1%} ± {summary['standard_error']:.1%}); relative "
        f"{summary['relative_corruption_error']:+.1%}",
        f"decision time {summary['clean_latency']:.3f} → {summary['corrupted_latency']:.3f} "
        f"{unit}, energy {summary['clean_energy']:,.1f} → {summary['corrupted_energy']:,.1f} nJ",
    ]
    if other is not None:
        lines.append(
            f"against {other.model}: mCE {summary['mce']:.1%}, relative mCE "
            f"{summary['relative_mce']:.1%} (below 100 %: fewer errors than it)"
        )
    for line in lines:
        click.echo(line)


def _write_csv(found: Robustness, file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(asdict(found.clean)))
        writer.writeheader()
        writer.writerows(asdict(row) for row in found.rows)
