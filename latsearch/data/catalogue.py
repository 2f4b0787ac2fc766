"""What data sets are known, where each is present, and the one way to load them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from latsearch.config import DataConfig
from latsearch.data.event_sets import EVENT_SETS
from latsearch.data.image_sets import IMAGE_SETS
from latsearch.data.known import Dataset, DatasetInfo, LoadOptions, Progress
from latsearch.data.locating import present
from latsearch.data.splits import Splits
from latsearch.errors import DataError

DATASETS: Mapping[str, Dataset] = {**IMAGE_SETS, **EVENT_SETS}


def catalogue() -> tuple[DatasetInfo, ...]:
    """The known data sets and where each is present; looks at file names alone."""
    return tuple(replace(known.info, folder=present(known)) for known in DATASETS.values())


def load(
    config: DataConfig,
    *,
    download: bool = False,
    verify: bool = True,
    allow_code: bool = False,
    progress: Progress | None = None,
) -> Splits:
    """Load a data set and split it.

    Args:
        config: which data set, where it is, and how to split it.
        download: fetch the data set if it is not there, or damaged.
        verify: check the MD5 of files that need it; False for tests' own small files.
        allow_code: the user has allowed that Python code named in the YAML is run.
        progress: told of work that takes a while.

    Raises:
        DataError: the data set is not there, cannot be read or downloaded, is damaged, or cannot
            be split as asked for.
    """
    if config.name not in DATASETS:
        raise DataError(f"{config.name} cannot be loaded by this version of latsearch")
    dataset = DATASETS[config.name]
    splits = dataset.load(dataset, config, LoadOptions(download, verify, allow_code, progress))
    again = partial(load, config, verify=verify, allow_code=allow_code)
    return splits if splits.recipe else replace(splits, recipe=again)
