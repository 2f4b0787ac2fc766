"""The recordings of each event set: their files, their labels, and how one is read.

N-MNIST and DVS-Gesture are listed and decoded by tonic. Its own check whether a set is there
asks for the downloaded archive and would fetch it anew, so it is taken out; what tonic does not
check (a folder's name, a cut file, a label) is checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from latsearch.data.events.binning import Events, Integers, Sensor
from latsearch.data.events.formats import FORMATS, as_events, read_events
from latsearch.data.events.hdf5 import LENGTH, Hdf5Error, read_columns
from latsearch.errors import DataError

Part = Literal["train", "test"]

_BYTES_AN_EVENT = 5  # of N-MNIST
_GESTURES = 11
_SPOKEN_DIGITS = 20  # ten in English, ten in German


class RecordingError(DataError):
    """One recording that cannot be used; the others may be."""


@dataclass(frozen=True, eq=False)
class Recordings:
    """The recordings of one part of a data set, none of them read yet.

    Attributes:
        folder: what they are all below.
        files: the file of each recording; several may share one.
        labels: ``[N]`` int64.
        decode: the events of a recording by its index, as its file has them.
    """

    folder: Path
    files: tuple[Path, ...]
    labels: Integers
    decode: Callable[[int], Events]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int, sensor: Sensor, *, from_first: bool) -> Events:
        """The events of a recording, checked.

        Args:
            index: which recording.
            sensor: what its events must fit into.
            from_first: whether time counts from its first event; else from the file's zero.

        Raises:
            RecordingError: the file is damaged, holds no event, or one that cannot be.
        """
        name = self.name(index)
        try:
            events = self.decode(index)
        except RecordingError:
            raise
        except DataError as error:
            raise RecordingError(str(error)) from None
        except Exception as error:  # tonic, h5py and numpy each raise their own
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RecordingError(f"{name} is damaged: {reason}; replace it") from None
        if not len(events):
            raise RecordingError(f"{name} holds no event; replace it")
        if from_first:
            events = Events(events.t - events.t.min(), events.x, events.y, events.p)
        _check(events, sensor, name)
        return events

    def name(self, index: int) -> str:
        """The recording in words: its file, and which of the file's it is."""
        shared = len(self.files) > 1 and self.files[0] == self.files[-1]
        return f"{self.files[index]}: recording {index}" if shared else str(self.files[index])


def nmnist(folder: Path, part: Part) -> Recordings:
    """``Train|Test/<digit>/*.bin``: 5 bytes an event, y = 240 where the clock overflows."""
    below = folder / part.title()
    _folders_named(below, [str(digit) for digit in range(10)])
    from tonic.datasets import NMNIST

    listed = _opened(NMNIST, folder, train=part == "train")
    files = tuple(Path(file) for file in listed.data)

    def decode(index: int) -> Events:
        size = files[index].stat().st_size
        if size % _BYTES_AN_EVENT:
            raise RecordingError(
                f"{files[index]} has {size} bytes, no multiple of {_BYTES_AN_EVENT}: it ends "
                "within an event; replace it"
            )
        return _columns(listed[index][0])

    return _recordings(below, files, listed.targets, decode)


def dvs_gesture(folder: Path, part: Part) -> Recordings:
    """``ibmGestureTrain|Test/userNN_light/<label>.npy``: ``[N, 4]`` of x, y, p, t in ms."""
    below = folder / f"ibmGesture{part.title()}"
    for found in _entries(below):
        user = found.name.partition("_")[0]
        if found.is_dir() and not (user.startswith("user") and user[4:].isdigit()):
            raise DataError(f"{found} is no folder of a user such as user01_led; move it away")
        for file in _entries(found) if found.is_dir() else ():
            label = file.stem
            if file.suffix == ".npy" and not (label.isdigit() and int(label) < _GESTURES):
                raise DataError(
                    f"{file} is named after no label of 0 to {_GESTURES - 1}; rename it"
                )
    from numpy.lib import recfunctions  # noqa: F401  (tonic uses it without importing it)
    from tonic.datasets import DVSGesture

    listed = _opened(DVSGesture, folder, train=part == "train")
    order = sorted(range(len(listed.data)), key=lambda index: listed.data[index])
    files = tuple(Path(listed.data[index]) for index in order)  # tonic has the disk's own order

    def decode(index: int) -> Events:
        return _columns(listed[order[index]][0])

    return _recordings(below, files, [listed.targets[index] for index in order], decode)


def shd(folder: Path, part: Part) -> Recordings:
    """``shd_train|test.h5``: spike times in seconds and units of the cochlea, one polarity."""
    file = folder / f"shd_{part}.h5"
    times, units = ("spikes/times",), ("spikes/units",)
    try:
        labels, *lengths = read_columns(
            file, [(("labels",), None), (times, LENGTH), (units, LENGTH)]
        )
    except Hdf5Error as error:
        raise DataError(f"{file} is damaged: {error}; replace it") from None
    counts = [len(labels), *(int(length[0]) for length in lengths)]
    if len(set(counts)) > 1:
        raise DataError(
            f"{file} holds {counts[0]} labels for {counts[1]} lists of times and {counts[2]} of "
            "units; replace it"
        )

    def decode(index: int) -> Events:
        seconds, x = read_columns(file, [(times, index), (units, index)])
        t = seconds.astype(np.float64) * 1e6
        return as_events(t, x, np.zeros(len(x)), np.zeros(len(x)))

    files = (file,) * len(labels)
    return _recordings(file, files, labels.astype(np.int64), decode, classes=_SPOKEN_DIGITS)


def cifar10_dvs(folder: Path) -> Recordings:
    """``<class>/*.aedat4`` as tonic has the set, or ``*.aedat`` as its authors published it."""
    from tonic.datasets import CIFAR10DVS

    classes = sorted(CIFAR10DVS.classes, key=CIFAR10DVS.classes.__getitem__)
    return _by_class(folder, classes, (".aedat4", ".aedat"))


def event_folder(folder: Path) -> Recordings:
    """A folder with a folder for each class, with files of any of `FORMATS`."""
    return _by_class(folder, class_names(folder), tuple(FORMATS))


def class_names(folder: Path) -> list[str]:
    """The names of a folder's class folders, in the order of their labels."""
    names = [entry.name for entry in _entries(folder) if entry.is_dir()]
    if len(names) < 2:
        raise DataError(
            f"{folder} has {len(names)} folders, but needs one for each class: two or more"
        )
    return names


def _by_class(folder: Path, classes: Sequence[str], suffixes: Sequence[str]) -> Recordings:
    _folders_named(folder, classes)
    files, labels = [], []
    for label, name in enumerate(classes):
        found = [file for file in _entries(folder / name) if file.suffix.lower() in suffixes]
        if not found:
            raise DataError(
                f"{folder / name} holds no recording ({', '.join(suffixes)}); add some, or remove "
                "the folder"
            )
        files += found
        labels += [label] * len(found)
    decode = partial(_decode_file, tuple(files))
    return _recordings(folder, files, labels, decode, classes=len(classes))


def _decode_file(files: Sequence[Path], index: int) -> Events:
    return read_events(files[index])


def _recordings(
    where: Path,
    files: Sequence[Path],
    labels: Sequence[int] | Integers,
    decode: Callable[[int], Events],
    classes: int | None = None,
) -> Recordings:
    if not len(files):
        raise DataError(f"{where} holds no recordings; replace it")
    found = np.asarray(labels, dtype=np.int64)
    folder = where if where.is_dir() else where.parent
    wrong = np.flatnonzero((found < 0) | (found >= (classes or found.max() + 1)))
    if len(wrong):
        raise DataError(
            f"{files[wrong[0]]}: recording {wrong[0]} has the label {found[wrong[0]]}, not one of "
            f"0..{(classes or 1) - 1}; replace it"
        )
    return Recordings(folder, tuple(files), found, decode)


def _opened(loader: Any, folder: Path, **options: Any) -> Any:
    """A tonic data set in a folder, whatever the folder's name; it is taken to be there."""
    there = type(folder.name, (loader,), {"_check_exists": lambda self: True})
    return there(str(folder.parent), **options)  # tonic looks in <parent>/<name of the class>


def _folders_named(folder: Path, names: Sequence[str]) -> None:
    """Refuse folders of other names, whose recordings would get a wrong label or none."""
    found = [entry for entry in _entries(folder) if entry.is_dir()]
    for entry in found:
        if entry.name not in names:
            raise DataError(
                f"{entry} is none of the class folders {', '.join(names)}; move it away"
            )
    missing = set(names) - {entry.name for entry in found}
    if missing:
        raise DataError(f"{folder} has no folder {min(missing)}; get the whole data set")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None


def _columns(found: NDArray[Any]) -> Events:
    return as_events(found["t"], found["x"], found["y"], found["p"])


def _check(events: Events, sensor: Sensor, name: str) -> None:
    """Refuse events that the sensor cannot have sent."""
    bounds = {
        "x": (events.x, sensor.width),
        "y": (events.y, sensor.height),
        "p": (events.p, sensor.polarities),
    }
    for column, (values, end) in bounds.items():
        if values.min() < 0 or values.max() >= end:
            wrong = values[(values < 0) | (values >= end)][0]
            raise RecordingError(
                f"{name} has an event with {column} = {wrong}, not within 0..{end - 1}; is the "
                "sensor's size right? Else replace it"
            )
    if events.t.min() < 0:
        raise RecordingError(
            f"{name} has an event at {events.t.min()} µs, before its start; replace it"
        )
