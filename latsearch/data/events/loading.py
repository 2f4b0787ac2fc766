"""Event data sets as splits: recordings now, frames once T is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from latsearch.config import DataConfig
from latsearch.config.events import EventsConfig
from latsearch.data.events import sources
from latsearch.data.events.binning import Sensor
from latsearch.data.events.download import fetch
from latsearch.data.events.frames import Part, Reading, Rows
from latsearch.data.events.sources import Recordings
from latsearch.data.events.splits import EventSplits
from latsearch.data.known import Dataset, LoadOptions
from latsearch.data.locating import download_root, expanded, locate
from latsearch.data.splits import Splits
from latsearch.data.splitting import split_rows, stratified
from latsearch.errors import DataError

_TEST_SEED = (8150, 1)  # any constant: it makes the test split the same for everybody
_US_PER_MS = 1000

Open = Callable[[], Recordings]


@dataclass(frozen=True, eq=False)
class Listing:
    """The recordings of a data set's training or test part.

    Attributes:
        open: lists recordings.
        recordings: what it has listed.
        rows: which of them are of this part.
    """

    open: Open
    recordings: Recordings
    rows: Rows


Listings = tuple[Listing, Listing]


@dataclass(frozen=True)
class EventSet:
    """What is particular to an event data set.

    Attributes:
        parts: lists its training and its test recordings, given its folder.
        sensor: its sensor; None where the user says it.
        duration_ms: milliseconds of a recording that are used where the user says nothing.
        from_first: whether time counts from a recording's first event; else from its file's zero.
        tonic: name of its class in tonic, which can download it; None where it cannot be had.
    """

    parts: Callable[[Path], Listings]
    sensor: Sensor | None
    duration_ms: float | None
    from_first: bool = True
    tonic: str | None = None


def official(opener: Callable[[Path, sources.Part], Recordings], folder: Path) -> Listings:
    """The parts of a set that comes in two."""
    train, test = (partial(opener, folder, part) for part in ("train", "test"))
    return _all_of(train), _all_of(test)


def own_split(share: float, opener: Callable[[Path], Recordings], folder: Path) -> Listings:
    """The parts of a set without a test part: a fixed, stratified ``share`` is its test part."""
    opened: Open = partial(opener, folder)
    recordings = opened()
    count = round(share * len(recordings))
    test = stratified(recordings.labels, count, _TEST_SEED)
    train = np.setdiff1d(np.arange(len(recordings)), test)
    return Listing(opened, recordings, train), Listing(opened, recordings, test)


def folder_parts(folder: Path) -> Listings:
    """The parts of a folder of the user's: ``train`` and ``test``, or a fifth as test part."""
    train, test = folder / "train", folder / "test"
    if not (train.is_dir() and test.is_dir()):
        return own_split(0.2, sources.event_folder, folder)
    if sources.class_names(train) != sources.class_names(test):
        raise DataError(f"{train} and {test} differ in their class folders; make them the same")
    return (
        _all_of(partial(sources.event_folder, train)),
        _all_of(partial(sources.event_folder, test)),
    )


def load_events(
    kind: EventSet, dataset: Dataset, config: DataConfig, options: LoadOptions
) -> Splits:
    """Splits of an event data set, without frames yet.

    Args:
        kind: what is particular to the data set.
        dataset: its entry in the catalogue.
        config: where it is, how to split and how to read it.
        options: how to load it.

    Raises:
        DataError: it is not there, cannot be read or downloaded, is not whole, or cannot be split.
    """
    wanted = config.events or EventsConfig()
    reading = _reading(kind, wanted, skip=config.unreadable == "skip")
    try:
        train, test = _parts(kind, dataset, config, wanted)
    except DataError:
        if not options.download or kind.tonic is None:
            raise
        fetch(dataset.info.name, kind.tonic, download_root(config.root))
        train, test = _parts(kind, dataset, config, wanted)
    classes = dataset.info.classes or int(train.recordings.labels.max()) + 1
    learn, validate = split_rows(config, train.recordings.labels[train.rows], classes)
    used = np.union1d(learn, validate)

    def part(title: str, listing: Listing, rows: Rows) -> Part:
        title = f"{config.name} {title}"
        opened, recordings = listing.open, listing.recordings
        return Part.of(title, opened, recordings, rows, reading, options.progress)

    binned = EventSplits(
        name=config.name,
        classes=classes,
        development=part("train", train, train.rows[used]),
        train=np.searchsorted(used, learn),
        validation=np.searchsorted(used, validate),
        test=part("test", test, test.rows),
    )
    return binned.without_frames()


def _all_of(opener: Open) -> Listing:
    recordings = opener()
    return Listing(opener, recordings, np.arange(len(recordings)))


def _parts(
    kind: EventSet, dataset: Dataset, config: DataConfig, wanted: EventsConfig
) -> Sequence[Listing]:
    folder = locate(dataset, config.root) if dataset.layout else _own_folder(config)
    listings = kind.parts(folder)
    published = (dataset.info.train, dataset.info.test)
    for listing, count, part in zip(listings, published, ("training", "test"), strict=True):
        if count is not None and len(listing.rows) != count and not wanted.partial:
            raise DataError(
                f"{folder} has {len(listing.rows):,} {part} recordings, not the {count:,} of "
                f"{config.name}; get the whole set, or set data.events.partial: true"
            )
    return listings


def _own_folder(config: DataConfig) -> Path:
    if config.root is None:
        raise DataError(f"{config.name} is a folder of yours: point data.root at it")
    folder = expanded(config.root)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; point data.root at the one with your recordings")
    return folder


def _reading(kind: EventSet, wanted: EventsConfig, *, skip: bool) -> Reading:
    sensor, duration = kind.sensor, wanted.duration_ms or kind.duration_ms
    if sensor is None:
        if wanted.width is None or wanted.height is None or duration is None:
            raise DataError(
                "event-folder needs to know your sensor and how long to look: give "
                "data.events: {width: …, height: …, duration_ms: …}"
            )
        sensor = Sensor(wanted.width, wanted.height)
    assert duration is not None
    return Reading(
        sensor,
        max(1, round(duration * _US_PER_MS)),
        wanted.downsample,
        kind.from_first,
        skip,
    )
