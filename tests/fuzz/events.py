"""Targets that are recordings of event cameras, in every format that is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import h5py
import numpy as np

from latsearch.data.events import sources
from latsearch.data.events.binning import Grid, Sensor
from latsearch.data.events.formats import read_events
from latsearch.data.events.sources import Part, Recordings
from tests.data.events import formats
from tests.fuzz.mutation import bytes_of, npy_of
from tests.fuzz.targets import Check, Target

_SENSOR = Sensor(128, 128)


def _written(write: Callable[[Path], object], name: str) -> Callable[[Path], list[bytes]]:
    """The file of a name that is written."""

    def seeds(folder: Path) -> list[bytes]:
        write(folder / name)
        return [(folder / name).read_bytes()]

    return seeds


def _npy_seeds(folder: Path) -> list[bytes]:
    columns, files = formats.events(0, 12), (folder / "a.npy", folder / "b.npy")
    np.save(files[0], columns)
    kinds = [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "?")]
    np.save(files[1], np.array([tuple(row) for row in columns.tolist()], dtype=kinds))
    return [file.read_bytes() for file in files]


def _hdf5_seeds(folder: Path) -> list[bytes]:
    columns, found = formats.events(0, 12), []
    for name, options in (("plain", {}), ("packed", {"compression": "gzip", "chunks": (4,)})):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            group = file if name == "plain" else file.create_group("events")
            for index, column in enumerate("txyp"):
                group.create_dataset(column, data=columns[:, index], **options)
        found.append((folder / f"{name}.h5").read_bytes())
    return found


def _shd_seeds(folder: Path) -> list[bytes]:
    formats.write_shd(folder, train=20, test=20)
    return [(folder / "SHD" / "shd_train.h5").read_bytes()]


def _recording(suffix: str) -> Callable[[Path], Check]:
    """A recording in a folder of the user's, up to its frames."""

    def opened(folder: Path) -> Check:
        file = folder / f"a{suffix}"
        found = Recordings(folder, (file,), np.zeros(1, np.int64), lambda _: read_events(file))
        return _frames(file, found)

    return opened


def _known(
    write: Callable[[Path], Path], opener: Callable[[Path, Part], Recordings], sensor: Sensor
) -> Callable[[Path], Check]:
    """The first recording of a set that is listed once."""

    def opened(folder: Path) -> Check:
        found = opener(write(folder / "set"), "train")
        return _frames(found.files[0], found, sensor)

    return opened


def _frames(file: Path, found: Recordings, sensor: Sensor = _SENSOR) -> Check:
    grid = Grid(sensor, 300_000, 4)

    def check(content: bytes) -> None:
        file.write_bytes(content)
        grid.frames(found.read(0, sensor, from_first=True))

    return check


def _shd(folder: Path) -> Check:
    formats.write_shd(folder, train=20, test=20)
    grid = Grid(Sensor(700, 1, polarities=1), 1_400_000, 4)

    def check(content: bytes) -> None:
        (folder / "SHD" / "shd_train.h5").write_bytes(content)
        found = sources.shd(folder / "SHD", "train")
        for index in (0, len(found) - 1):
            grid.frames(found.read(index, grid.sensor, from_first=False))

    return check


def _nmnist_seeds(folder: Path) -> list[bytes]:
    return [formats.nmnist_bytes(formats.events(seed, 12)) for seed in range(3)]


def _gesture_seeds(folder: Path) -> list[bytes]:
    np.save(folder / "a.npy", formats.events(0, 12, end=1400)[:, [1, 2, 3, 0]].astype(np.uint64))
    return [(folder / "a.npy").read_bytes()]


def _header(content: bytes, random: Random) -> bytes:
    """Damage in the superblock and the first object headers, where HDF5 keeps its structure."""
    damaged = bytes_of(content, random)
    return damaged[: len(content)].ljust(len(content), b"\0") if random.random() < 0.5 else damaged


def _aedat2(file: Path) -> None:
    formats.write_aedat2(file, formats.events(0, 12, width=128, height=128))


def _aedat4(file: Path) -> None:
    formats.write_aedat4(file, formats.events(0, 12, width=128, height=128))


TARGETS = (
    Target("events npy", 100_000, _npy_seeds, npy_of, _recording(".npy")),
    Target("events hdf5", 100_000, _hdf5_seeds, _header, _recording(".h5")),
    Target(
        "events aedat4", 100_000, _written(_aedat4, "a.aedat4"), bytes_of, _recording(".aedat4")
    ),
    Target("events aedat2", 100_000, _written(_aedat2, "a.aedat"), bytes_of, _recording(".aedat")),
    Target(
        "n-mnist",
        100_000,
        _nmnist_seeds,
        bytes_of,
        _known(
            lambda root: formats.write_nmnist(root, train=10, test=10),
            sources.nmnist,
            Sensor(34, 34),
        ),
    ),
    Target(
        "dvs-gesture",
        100_000,
        _gesture_seeds,
        npy_of,
        _known(lambda root: formats.write_gesture(root, (1,)), sources.dvs_gesture, _SENSOR),
    ),
    Target("shd", 100_000, _shd_seeds, _header, _shd),
)
