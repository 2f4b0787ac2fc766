"""What is said of a data set: the types of the catalogue's entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from latsearch.config import DataConfig
from latsearch.data.splits import Progress as Progress
from latsearch.data.splits import Splits


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A data set that latsearch knows.

    Attributes:
        name: as written in the YAML.
        title: what it is, in a few words.
        classes: number of classes; None where the user's files say it.
        train: number of training samples, those for validation included; None likewise.
        test: number of test samples; None likewise.
        shape: ``(C, H, W)`` of an image, ``(P, H, W)`` of an event frame; None likewise.
        how_to_get: how to get it, in one line.
        folder: where its files are; None where they were not found.
        kind: what its samples are.
    """

    name: str
    title: str
    classes: int | None
    train: int | None
    test: int | None
    shape: tuple[int, int, int] | None
    how_to_get: str
    folder: Path | None = None
    kind: Literal["images", "events"] = "images"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a data set's files are.

    Attributes:
        subfolder: folder below a root.
        files: names of the files or folders, all of which are needed.
        gz: whether each file may have the suffix ``.gz`` instead.
        package: folder in which a system package puts the files; None where there is no package.
    """

    subfolder: str
    files: tuple[str, ...]
    gz: bool = False
    package: str | None = None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a data set is loaded, whatever it is.

    Attributes:
        download: fetch it if it is not there, or damaged.
        verify: check the MD5 of files that need it; False for tests' own small files.
        allow_code: the user has allowed that Python code named in the YAML is run.
        progress: told of work that takes a while; None for nobody.
    """

    download: bool = False
    verify: bool = True
    allow_code: bool = False
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """An entry of the catalogue.

    Attributes:
        info: what it is.
        load: makes its splits.
        layout: where its files are; None where the user names a folder or file of their own.
        class_names: names of its classes; empty where they have numbers alone, or files say them.
        md5: published checksums of its files, by name.
    """

    info: DatasetInfo
    load: Callable[[Dataset, DataConfig, LoadOptions], Splits]
    layout: Layout | None = None
    class_names: tuple[str, ...] = ()
    md5: Mapping[str, str] = field(default_factory=dict)
