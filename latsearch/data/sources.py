"""Image sets as they are found, and as they lie decoded in the cache."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latsearch.data.cache import Builder, Entry, cached
from latsearch.data.fingerprint import digest, fingerprint
from latsearch.data.known import LoadOptions
from latsearch.data.splits import Samples
from latsearch.data.splitting import stratified
from latsearch.errors import DataError

Block = tuple[NDArray[np.uint8], NDArray[np.int64]]
Blocks = Generator[tuple[str, Block], None, None]

TRAIN, TEST = "train", "test"
_TEST_SHARE = 0.2
_TEST_SEED = (8150, 0)  # any constant: it makes the test split the same for everybody


@dataclass
class Skipped:
    """Files left out because the user asked for that, with the reason of the first ones."""

    count: int = 0
    first: tuple[str, ...] = ()

    def add(self, reason: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < 20:
            self.first = (*self.first, reason)


@dataclass(frozen=True)
class Source:
    """An image set that can be decoded.

    Attributes:
        name: of the data set.
        base: folder or file that it is in.
        files: everything that the images depend on; empty where `content` says it.
        options: how they are decoded, in JSON's types.
        decode: yields ``(part, images, labels)`` in blocks, part being ``train`` or ``test``.
        total: about how many images there are.
        classes: names of the classes; empty where they have numbers alone.
        content: digest of what is not in files.
    """

    name: str
    base: Path
    files: tuple[Path, ...]
    options: dict[str, object]
    decode: Callable[[Skipped], Blocks]
    total: int
    classes: tuple[str, ...] = ()
    content: str = ""


@dataclass(frozen=True)
class Decoded:
    """An image set in the cache.

    Attributes:
        train: all training samples.
        test: the test samples.
        classes: names of the classes, as many as there are.
        skipped: what was left out.
        entry: where it lies.
    """

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    skipped: Skipped
    entry: Entry


def decoded(source: Source, options: LoadOptions) -> Decoded:
    """The set from the cache, decoded into it at its first use.

    A set without a test split of its own gets a fixed, stratified fifth as its test split.

    Raises:
        DataError: a file cannot be read or is damaged, or the cache cannot be written to.
    """
    content = source.content
    if source.files:
        base = source.base if source.base.is_dir() else source.base.parent
        content = fingerprint(source.files, base, source.name, options.progress)
    key = digest(source.name, content, source.options, list(source.classes))
    entry = cached(source.name, key, lambda builder: _fill(builder, source, options))
    return _decoded(entry)


def _fill(builder: Builder, source: Source, options: LoadOptions) -> None:
    skipped, done, most = Skipped(), 0, -1
    # closed here, also after Ctrl-C: pictures are decoded by threads (`pictures.in_order`)
    with closing(source.decode(skipped)) as blocks:
        for part, (images, labels) in blocks:
            builder.append(f"{part}-images", images)
            builder.append(f"{part}-labels", labels)
            done += len(labels)
            most = max(most, int(labels.max(initial=-1)))
            if options.progress is not None:
                options.progress(f"{source.name}: decoding", done, source.total)
    if options.progress is not None:
        options.progress(f"{source.name}: decoding", done, done)
    classes = source.classes or tuple(str(label) for label in range(most + 1))
    builder.meta.update(
        classes=list(classes), skipped=skipped.count, skipped_first=list(skipped.first)
    )


def _decoded(entry: Entry) -> Decoded:
    train = _samples(entry, TRAIN)
    if f"{TEST}-labels" in entry.arrays:
        test = _samples(entry, TEST)
    else:
        count = round(_TEST_SHARE * len(train))
        held = stratified(train.labels, count, _TEST_SEED)
        rest = np.setdiff1d(np.arange(len(train)), held)
        train, test = train.take(rest), train.take(held)
    skipped = Skipped(entry.meta["skipped"], tuple(entry.meta["skipped_first"]))
    return Decoded(train, test, tuple(entry.meta["classes"]), skipped, entry)


def _samples(entry: Entry, part: str) -> Samples:
    try:
        # labels are few and indexed all the time: they are read into memory
        return Samples(entry.array(f"{part}-images"), np.array(entry.array(f"{part}-labels")))
    except KeyError:
        raise DataError(f"{entry.folder} holds no {part} images") from None
