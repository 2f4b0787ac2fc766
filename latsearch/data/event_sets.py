"""The event data sets of the catalogue, each beside its loader."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from latsearch.data.events import sources
from latsearch.data.events.binning import Sensor
from latsearch.data.events.loading import (
    EventSet,
    folder_parts,
    load_events,
    official,
    own_split,
)
from latsearch.data.known import Dataset, DatasetInfo, Layout

_DOWNLOAD = "`latsearch run FILE --download`"
_CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

_NMNIST = EventSet(
    partial(official, sources.nmnist),
    Sensor(34, 34),
    duration_ms=315,  # three saccades of 105 ms
    from_first=False,
    tonic="NMNIST",
)
_CIFAR10_DVS = EventSet(
    partial(own_split, 0.1, sources.cifar10_dvs),
    Sensor(128, 128),
    duration_ms=1300,
    tonic="CIFAR10DVS",
)
_DVS_GESTURE = EventSet(
    partial(official, sources.dvs_gesture),
    Sensor(128, 128),
    duration_ms=1500,  # of several seconds of repeated movements
    tonic="DVSGesture",
)
_SHD = EventSet(
    partial(official, sources.shd),
    Sensor(700, 1, polarities=1),
    duration_ms=1400,
    from_first=False,
    tonic="SHD",
)
_FOLDER = EventSet(folder_parts, sensor=None, duration_ms=None)

EVENT_SETS: Mapping[str, Dataset] = {
    "nmnist": Dataset(
        DatasetInfo(
            "nmnist",
            "MNIST's digits seen by a moving event camera",
            10,
            60_000,
            10_000,
            (2, 34, 34),
            _DOWNLOAD,
            kind="events",
        ),
        partial(load_events, _NMNIST),
        Layout("NMNIST", ("Train/", "Test/")),
    ),
    "cifar10-dvs": Dataset(
        DatasetInfo(
            "cifar10-dvs",
            "CIFAR-10's photographs moved in front of an event camera",
            10,
            9_000,
            1_000,
            (2, 128, 128),
            _DOWNLOAD,
            kind="events",
        ),
        partial(load_events, _CIFAR10_DVS),
        Layout("CIFAR10DVS", tuple(f"{name}/" for name in _CIFAR10_CLASSES)),
    ),
    "dvs-gesture": Dataset(
        DatasetInfo(
            "dvs-gesture",
            "gestures of hands and arms",
            11,
            1_077,
            264,
            (2, 128, 128),
            _DOWNLOAD,
            kind="events",
        ),
        partial(load_events, _DVS_GESTURE),
        Layout("DVSGesture", ("ibmGestureTrain/", "ibmGestureTest/")),
    ),
    "shd": Dataset(
        DatasetInfo(
            "shd",
            "spoken digits in the nerve of an artificial cochlea",
            20,
            8_156,
            2_264,
            (1, 1, 700),
            _DOWNLOAD,
            kind="events",
        ),
        partial(load_events, _SHD),
        Layout("SHD", ("shd_train.h5", "shd_test.h5")),
    ),
    "event-folder": Dataset(
        DatasetInfo(
            "event-folder",
            "recordings of your own, a folder for each class",
            None,
            None,
            None,
            None,
            "point data.root at your folder",
            kind="events",
        ),
        partial(load_events, _FOLDER),
    ),
}
