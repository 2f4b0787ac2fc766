"""Frames of recordings, kept in files that every process of a machine maps into its memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latsearch.data.cache import CACHE_VARIABLE, Builder, Entry, cache_root, cached, find
from latsearch.data.events.binning import Events, Grid, Sensor
from latsearch.data.events.sources import RecordingError, Recordings
from latsearch.data.fingerprint import digest, fingerprint
from latsearch.data.splits import Progress, Samples
from latsearch.errors import DataError

Rows = NDArray[np.intp]
Change = Callable[[int, Events], Events]

_FORMAT = 1  # of the files; a larger one makes them anew
_TOLD_EVERY = 64  # recordings between two reports of progress


@dataclass(frozen=True, slots=True)
class Reading:
    """How recordings are read.

    Attributes:
        sensor: what their events must fit into.
        duration: of a recording that is seen, in µs.
        downsample: side of the square of sensor pixels that is one of a frame's.
        from_first: whether time counts from a recording's first event; else from its file's zero.
        skip_faulty: whether recordings that cannot be used are left out.
    """

    sensor: Sensor
    duration: int
    downsample: int = 1
    from_first: bool = True
    skip_faulty: bool = False

    def grid(self, timesteps: int) -> Grid:
        """The bins and pixels of frames of T timesteps."""
        return Grid(self.sensor, self.duration, timesteps, self.downsample)


@dataclass(frozen=True, eq=False)
class Part:
    """The recordings of one part of a data set that are used.

    Attributes:
        title: the part in words; names of its folders start with it.
        reopen: lists the data set's recordings of this part; unlike them it can be pickled.
        labels: ``[N]`` of those that are used.
        rows: ``[N]`` which of them are used, rising.
        files: digest of their files.
        reading: how they are read.
    """

    title: str
    reopen: Callable[[], Recordings]
    labels: NDArray[np.int64]
    rows: Rows
    files: str
    reading: Reading

    @classmethod
    def of(
        cls,
        title: str,
        reopen: Callable[[], Recordings],
        recordings: Recordings,
        rows: Rows,
        reading: Reading,
        progress: Progress | None = None,
    ) -> Part:
        """The recordings at ``rows`` of what ``reopen`` has listed."""
        used = list(dict.fromkeys(recordings.files[row] for row in rows))
        files = fingerprint(used, recordings.folder, title, progress)
        return cls(title, reopen, recordings.labels[rows], rows, files, reading)

    def narrowed(self, indices: Rows) -> Part:
        """The part with the recordings at these indices alone."""
        return replace(self, labels=self.labels[indices], rows=self.rows[indices])

    def read(self) -> Iterator[tuple[int, Events | RecordingError]]:
        """Each recording in use by its index 0..N - 1, or what is wrong with it.

        Raises:
            RecordingError: one cannot be used, and such are not to be left out.
        """
        recordings, reading = self.reopen(), self.reading
        for index, row in enumerate(self.rows):
            try:
                events = recordings.read(int(row), reading.sensor, from_first=reading.from_first)
            except RecordingError as error:
                if not reading.skip_faulty:
                    raise RecordingError(f"{error}, or set data.unreadable to skip") from None
                yield index, error
            else:
                yield index, events

    def prepare(self, timesteps: Collection[int], progress: Progress | None = None) -> None:
        """Make the frames of these T, where they are not there yet, in one pass over the files.

        Raises:
            DataError: a recording cannot be used, or the cache not be written to.
        """
        missing = [t for t in sorted(set(timesteps)) if find(self._label(t), self._key(t)) is None]
        if missing:
            self._check_room(missing)
            self._build(missing, {}, progress)

    def frames(self, timesteps: int) -> Frames:
        """The frames of T timesteps, mapped into memory.

        Raises:
            DataError: they had to be made and could not.
        """
        label, key = self._label(timesteps), self._key(timesteps)
        entry = find(label, key)
        if entry is None:
            self._check_room([timesteps])
            entry = cached(label, key, lambda builder: self._fill({timesteps: builder}, None))
        return Frames.of(entry)

    def changed(self, timesteps: int, change: Change) -> Samples:
        """Frames of recordings whose events were changed, in memory.

        Args:
            timesteps: T.
            change: takes an index 0..N - 1 and the events of that recording.

        Raises:
            DataError: a recording cannot be used.
        """
        grid = self.reading.grid(timesteps)
        pixels = np.zeros((len(self.rows), *grid.shape), dtype=np.uint8)
        kept: list[int] = []
        for index, events in self.read():
            if isinstance(events, Events):
                pixels[len(kept)] = grid.frames(change(index, events))
                kept.append(index)
        return Samples(
            pixels[: len(kept)],
            self.labels[kept],
            bin_ends=np.tile(grid.bin_ends(), (len(kept), 1)),
        )

    def _label(self, timesteps: int) -> str:
        return f"{self.title.replace(' ', '-')}-T{timesteps}"

    def _key(self, timesteps: int) -> str:
        reading = self.reading
        return digest(
            _FORMAT,
            self.files,
            self.rows.tolist(),
            self.labels.tolist(),
            [reading.sensor.width, reading.sensor.height, reading.sensor.polarities],
            [reading.duration, reading.downsample, reading.from_first, reading.skip_faulty],
            timesteps,
        )

    def _build(
        self, missing: Sequence[int], builders: Mapping[int, Builder], progress: Progress | None
    ) -> None:
        """Open an entry of the cache for each T, one within the other, then fill them together.

        Where another process has made one meanwhile, those within it are left to be made when
        they are wanted.
        """
        if not missing:
            self._fill(builders, progress)
            return
        first, *others = missing
        cached(
            self._label(first),
            self._key(first),
            lambda builder: self._build(others, {**builders, first: builder}, progress),
        )

    def _fill(self, builders: Mapping[int, Builder], progress: Progress | None) -> None:
        """Write the frames of every T into its entry."""
        grids = {timesteps: self.reading.grid(timesteps) for timesteps in builders}
        kept: list[int] = []
        faults: list[str] = []
        for index, events in self.read():
            if isinstance(events, Events):
                for timesteps, builder in builders.items():
                    builder.append("frames", grids[timesteps].frames(events)[None])
                kept.append(index)
            else:
                faults.append(str(events))
            if progress and (index % _TOLD_EVERY == 0 or index == len(self.rows) - 1):
                progress(f"{self.title}: frames", index + 1, len(self.rows))
        if not kept:
            raise DataError(f"{self.title} has no recording that can be used: {faults[0]}")
        for builder in builders.values():
            builder.append("kept", np.array(kept, dtype=np.int64))
            builder.meta["faults"] = faults

    def _check_room(self, timesteps: Sequence[int]) -> None:
        """Refuse at once what the disk has no room for."""
        pixels = sum(int(np.prod(self.reading.grid(each).shape)) for each in timesteps)
        root = cache_root()
        there = next(place for place in (root, *root.parents) if place.is_dir())
        free, needed = shutil.disk_usage(there).free, pixels * len(self.rows)
        if needed > free:
            raise DataError(
                f"{there} has {free / 1e9:.1f} GB free, but the frames of {self.title} take "
                f"{needed / 1e9:.1f} GB; point {CACHE_VARIABLE} at a folder with room, or set "
                "data.events.downsample"
            )


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of a part's recordings.

    Attributes:
        pixels: ``[M, T, P, H, W]`` uint8, of the recordings that can be used.
        kept: ``[M]`` which of the part's recordings these are, rising.
        faults: what is wrong with each of the others.
    """

    pixels: NDArray[np.uint8]
    kept: NDArray[np.int64]
    faults: tuple[str, ...]

    @classmethod
    def of(cls, entry: Entry) -> Frames:
        """The frames in an entry of the cache."""
        return cls(entry.array("frames"), entry.array("kept"), tuple(entry.meta["faults"]))

    def samples(self, part: Part, timesteps: int, indices: Rows) -> Samples:
        """The samples at those indices of the part that can be used."""
        position = np.searchsorted(self.kept, indices)
        there = np.isin(indices, self.kept)
        rows = position[there]
        ends = np.tile(part.reading.grid(timesteps).bin_ends(), (len(rows), 1))
        return Samples(self.pixels, part.labels[indices[there]], rows, ends)
