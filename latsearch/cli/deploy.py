"""Commands that put one trained network to use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from latsearch.cli.output import ALLOW_CODE, RUNS, open_console, say
from latsearch.cli.progress import DataProgress

_MODEL = click.argument("model", metavar="MODEL")
_FOLDER = click.Path(path_type=Path, file_okay=False)
_ROOT = click.option("--root", metavar="FOLDER", help="Folder of the data set.")
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
@ALLOW_CODE
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
@ALLOW_CODE
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


@click.command()
@_MODEL
@RUNS
@click.option("--to", type=_FOLDER, required=True, help="Folder for the new network.")
@_THRESHOLD
@_ROOT
@ALLOW_CODE
def quantise(model: str, runs: Path, to: Path, **options: Any) -> None:
    """Write MODEL with 8-bit weights, and what that costs on the validation split.

    MODEL is a trial such as runs/digits:22, or the folder of a checkpoint. The new folder is a
    MODEL too: for predict, serve, evaluate, card, recalibrate.
    """
    from rich.table import Table

    from latsearch import api

    with DataProgress() as progress:
        found = api.quantise(model, to, api.QuantiseOptions(progress=progress, **options), runs)
    console = open_console()
    say(
        console,
        f"{model} at decision threshold {found.decision_threshold:.4g}, {found.samples:,} "
        "validation samples",
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("weights")
    energies = (f"nJ ({found.profile})", "nJ (horowitz-45nm-int8)")
    for heading in ("accuracy", f"latency/{found.latency_unit}", "silent", *energies, "kB"):
        table.add_column(heading, justify="right")
    for name, row in (("float32", found.before), ("int8", found.after)):
        table.add_row(
            name,
            f"{row.accuracy:.2%}",
            f"{row.latency:.3f}",
            f"{row.silent_fraction:.1%}",
            f"{row.energy:,.2f}",
            f"{row.energy_int8:,.3f}",
            f"{row.size / 1000:,.1f}",
        )
    console.print(table)
    say(
        console,
        f"accuracy {100 * (found.after.accuracy - found.before.accuracy):+.2f} points; other "
        f"predictions {found.changed:.1%}, other decision times {found.changed_time:.1%}",
    )
    if not found.exact:
        say(console, "note: sums can exceed 2^24; float32 may round where an integer chip does not")
    click.echo(f"wrote {found.folder}")


@click.command()
@_MODEL
@RUNS
@click.option(
    "--data",
    required=True,
    multiple=True,
    metavar="PATH",
    help="Unlabelled images of the device: a folder, image files, npy, npz.",
)
@click.option("--latency", type=float, help="Wanted mean decision time in timesteps ...")
@click.option("--energy", type=float, help="... or mean energy of an inference in nJ.")
@click.option("--profile", metavar="NAME", help="Energy profile [default: the network's].")
@click.option("--resize", is_flag=True, help="Scale images of other sizes and channels.")
@ALLOW_CODE
@click.option("--to", type=_FOLDER, help="Folder for a copy of MODEL with the threshold.")
@click.option("--in-place", is_flag=True, help="Set it in MODEL's own folder.")
def recalibrate(model: str, runs: Path, data: tuple[str, ...], **options: Any) -> None:
    """Set MODEL's decision threshold from unlabelled data of the device it runs on.

    MODEL is a trial such as runs/digits:22, or the folder of a checkpoint.
    """
    from latsearch import api

    found = api.recalibrate(model, data, api.RecalibrateOptions(**options), runs)
    times = ", ".join(
        f"{count / found.samples:.1%} at t = {t}"
        for t, count in enumerate(found.decision_times, start=1)
    )
    off = found.reached - found.target
    unit = "timesteps" if found.wanted == "latency" else "nJ"
    click.echo(f"decision threshold {found.decision_threshold:.6g}, {found.samples:,} samples")
    click.echo(f"mean decision time  {found.latency:.4f} timesteps ({times})")
    click.echo(f"mean energy         {found.energy:,.4g} nJ ({found.profile})")
    click.echo(f"silent fraction     {found.silent_fraction:.2%}")
    low, high = found.reachable
    click.echo(
        f"from the target     {off:+.4g} {unit} of {found.target:g} ({off / found.target:+.2%}); "
        f"reachable {low:.4g} to {high:.4g}"
    )
    if found.few:
        click.echo(f"note: {found.samples} samples are few; other data will give other means")
    if found.folder is None:
        click.echo("nothing written: --to FOLDER writes a copy, --in-place sets it in MODEL")
    else:
        click.echo(f"wrote {found.folder}")
