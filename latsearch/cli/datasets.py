"""The command about data sets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latsearch.cli.output import ALLOW_CODE, open_console
from latsearch.cli.progress import DataProgress
from latsearch.errors import UserError

if TYPE_CHECKING:
    from latsearch.config import DataConfig

_MEGABYTE = 1e6


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of all.")
@click.option("--download", is_flag=True, help="Fetch NAME where it is missing.")
@click.option("--check", is_flag=True, help="Check NAME's counts, classes and checksums.")
@click.option(
    "--preview",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="Draw samples of NAME: images as a grid, events as a strip of frames.",
)
@click.option("--root", metavar="FOLDER", help="Where NAME is [default: the usual places].")
@click.option("--study", "file", metavar="FILE", help="Take NAME's settings from this YAML file.")
@click.option("--timesteps", type=click.IntRange(1), default=8, help="Frames of a preview.")
@ALLOW_CODE
def datasets(
    name: str | None,
    as_json: bool,
    download: bool,
    check: bool,
    preview: Path | None,
    root: str | None,
    file: str | None,
    timesteps: int,
    allow_code: bool,
) -> None:
    """List the data sets that are known, or look at the data set NAME."""
    if name is None and file is None:
        if download or check or preview:
            raise UserError("name a data set; `latsearch datasets` lists them")
        _list(as_json)
        return
    from latsearch import datasets as looking
    from latsearch.data import load

    config = _config(name, root, file)
    with DataProgress() as progress:
        splits = load(config, download=download, allow_code=allow_code, progress=progress)
    assert splits.test is not None
    total = len(splits.train) + len(splits.validation) + len(splits.test)
    click.echo(f"{config.name}: {total:,} samples of {splits.classes} classes")
    good = True
    if check:
        for remark in looking.check(config, splits):
            click.echo(f"{'ok  ' if remark.good else 'LOOK'} {remark.what:<36} {remark.found}")
            good = good and remark.good
    if preview is not None:
        names = splits.class_names or looking.entry(config.name).class_names
        looking.write_preview(splits.at(timesteps), names, preview)
        click.echo(preview)
    if not good:
        sys.exit(1)


def _config(name: str | None, root: str | None, file: str | None) -> DataConfig:
    """Which data set is looked at."""
    from latsearch import datasets as looking
    from latsearch.api import resolve
    from latsearch.config import DataConfig

    if file is not None:
        config = resolve(file).data
        if name is not None and name != config.name:
            raise UserError(f"{file} is about {config.name}, not about {name}; leave one out")
        return config if root is None else config.model_copy(update={"root": root})
    assert name is not None
    looking.entry(name)
    if name == "custom":
        raise UserError("custom data are made by a function: name the YAML file with --study FILE")
    return DataConfig.model_validate({"name": name, "root": root})


def _list(as_json: bool) -> None:
    from dataclasses import asdict

    from rich.table import Table

    from latsearch.data import DATASETS, catalogue
    from latsearch.datasets import size_on_disk

    known = catalogue()
    sizes = {info.name: size_on_disk(DATASETS[info.name]) for info in known}
    if as_json:
        rows = [{**asdict(info), "bytes": sizes[info.name]} for info in known]
        click.echo(json.dumps(rows, indent=1, default=str))
        return
    table = Table("name", "samples", "classes", "size", "where", box=None, pad_edge=False)
    for info in known:
        count = f"{info.train + info.test:,}" if info.train and info.test else "any number"
        shape = f" of {'x'.join(map(str, info.shape))}" if info.shape else ""
        size = sizes[info.name]
        shown = "" if size is None else f"{size / _MEGABYTE:,.1f} MB"
        own = DATASETS[info.name].layout is None
        missing = info.how_to_get if own else f"missing; {info.how_to_get}"
        where = str(info.folder) if info.folder else missing
        table.add_row(info.name, count + shape, str(info.classes or "any"), shown, where)
    open_console().print(table)
