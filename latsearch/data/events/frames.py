"""Frames of recordings, kept in files that every process of a machine maps into its memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latsearch.data.events.binning import Events, Grid, Sensor
from latsearch.data.events.keeping import cache_root, digest, fingerprint, prepared
from latsearch.data.events.sources import RecordingError, Recordings
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
    ) -> Part:
        """The recordings at ``rows`` of what ``reopen`` has listed."""
        files = fingerprint(dict.fromkeys(recordings.files[row] for row in rows))
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
                    raise RecordingError(
                        f"{error}, or leave such recordings out with data.events.skip_faulty: true"
                    ) from None
                yield index, error
            else:
                yield index, events

    def prepare(self, timesteps: Collection[int], progress: Progress | None = None) -> None:
        """Make the frames of these T, where they are not there yet, in one pass over the files.

        Raises:
            DataError: a recording cannot be used, or the cache not be written to.
        """
        folders = {self._folder(steps): self.reading.grid(steps) for steps in timesteps}

        def build(aside: Mapping[Path, Path]) -> None:
            self._build({part: folders[folder] for folder, part in aside.items()}, progress)

        largest = max(np.prod(grid.shape) for grid in folders.values())
        prepared(folders, build, needed=int(largest) * len(self.rows))

    def frames(self, timesteps: int) -> Frames:
        """The frames of T timesteps, mapped into memory.

        Raises:
            DataError: they had to be made and could not.
        """
        self.prepare([timesteps])
        return Frames.open(self._folder(timesteps))

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

    def _folder(self, timesteps: int) -> Path:
        reading = self.reading
        facts = [
            _FORMAT,
            self.files,
            digest([self.rows.tolist(), self.labels.tolist()]),
            [reading.sensor.width, reading.sensor.height, reading.sensor.polarities],
            [reading.duration, reading.downsample, reading.from_first, reading.skip_faulty],
            timesteps,
        ]
        name = f"{self.title.replace(' ', '-')}-T{timesteps}-{digest(facts)}"
        return cache_root() / "events" / name

    def _build(self, grids: Mapping[Path, Grid], progress: Progress | None) -> None:
        """Write the frames of every grid into its folder."""
        count = len(self.rows)
        arrays = [
            np.lib.format.open_memmap(
                folder / "frames.npy", mode="w+", dtype=np.uint8, shape=(count, *grid.shape)
            )
            for folder, grid in grids.items()
        ]
        kept: list[int] = []
        faults: list[str] = []
        for index, events in self.read():
            if isinstance(events, Events):
                for array, grid in zip(arrays, grids.values(), strict=True):
                    array[len(kept)] = grid.frames(events)
                kept.append(index)
            else:
                faults.append(str(events))
            if progress and (index % _TOLD_EVERY == 0 or index == count - 1):
                progress(f"frames of {self.title}", index + 1, count)
        if not kept:
            raise DataError(f"{self.title} has no recording that can be used: {faults[0]}")
        for array, folder in zip(arrays, grids, strict=True):
            array.flush()
            np.save(folder / "kept.npy", np.array(kept, dtype=np.int64))
            (folder / "faults.json").write_text(json.dumps(faults))


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
    def open(cls, folder: Path) -> Frames:
        """Map the frames in a folder of the cache into memory."""
        try:
            pixels = np.load(folder / "frames.npy", mmap_mode="r")
            kept = np.load(folder / "kept.npy")
            faults = tuple(json.loads((folder / "faults.json").read_text()))
        except (OSError, ValueError) as error:
            raise DataError(f"{folder} is damaged ({error}); delete it") from None
        return cls(pixels[: len(kept)], kept, faults)

    def samples(self, part: Part, timesteps: int, indices: Rows) -> Samples:
        """The samples at those indices of the part that can be used."""
        position = np.searchsorted(self.kept, indices)
        there = np.isin(indices, self.kept)
        rows = position[there]
        ends = np.tile(part.reading.grid(timesteps).bin_ends(), (len(rows), 1))
        return Samples(self.pixels, part.labels[indices[there]], rows, ends)
