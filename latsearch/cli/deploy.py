"""Commands that put one trained network to use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from latsearch.cli.output import RUNS, open_console

_MODEL = click.argument("model", metavar="MODEL")
_THRESHOLD = click.option(
    "--threshold",
    "decision_threshold",
    type=float,
    help="Decision threshold [default: the one set for MODEL, else the stored curve's knee].",
)


@click.command()
@_MODEL
@click.argument("images", metavar="IMAGES...", nargs=-1, required=True)
@RUNS
@_THRESHOLD
@click.option("--profile", metavar="NAME", help="Energy profile [default: the network's].")
@click.option("--resize", is_flag=True, help="Scale images of other sizes and channels.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def predict(model: str, images: tuple[str, ...], runs: Path, as_json: bool, **options: Any) -> None:
    """Decide IMAGES: class, decision time and energy of each.

    MODEL is a trial such as runs/digits:22, or the folder of a checkpoint. IMAGES are image files,
    npy and npz files, and folders of them.
    """
    from rich.table import Table

    from latsearch import api

    found = api.predict(model, images, api.PredictOptions(**options), runs)
    if as_json:
        for one in found:
            click.echo(json.dumps(one.to_json(), ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("class")
    for heading in ("decision time", "energy/nJ", ""):
        table.add_column(heading, justify="right")
    for one in found:
        table.add_row(
            one.image,
            one.class_name,
            str(one.decision_time),
            f"{one.energy:,.2f}",
            "silent" if one.silent else "",
        )
    open_console().print(table, markup=False)


@click.command()
@_MODEL
@RUNS
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=int, default=8000, show_default=True, help="0 for a free one.")
@_THRESHOLD
@click.option("--resize", is_flag=True, help="Scale images of other sizes and channels.")
@click.option("--max-body", type=int, default=8 * 1024 * 1024, show_default=True, help="Bytes.")
@click.option("--max-pixels", type=int, default=16_000_000, show_default=True, help="Of a picture.")
@click.option(
    "--max-batch", type=int, default=64, show_default=True, help="Images computed together."
)
@click.option(
    "--max-waiting",
    type=int,
    default=1024,
    show_default=True,
    help="Images that may wait; beyond, 503.",
)
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds a request.")
@click.option("--threads", type=int, default=1, show_default=True, help="Of the network.")
def serve(model: str, runs: Path, **options: Any) -> None:
    """Serve MODEL over HTTP: /predict, /predict/batch, /info, /health, /openapi.json.

    MODEL is a trial such as runs/digits:22, or the folder of a checkpoint. Ctrl-C or SIGTERM ends
    it after the requests that are in. There is no authentication: anybody who reaches the address
    may ask.
    """
    from latsearch import api

    def ready(name: str, url: str) -> None:
        click.echo(f"serving {name} at {url}; Ctrl-C ends it")

    api.serve(model, api.ServeOptions(**options), runs, ready)
