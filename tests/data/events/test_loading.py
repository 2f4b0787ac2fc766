"""Every event set in its true format, from its files to splits of frames."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from zipfile import ZipFile

import h5py
import numpy as np
import pytest

from latsearch.config import DataConfig
from latsearch.data import Splits, load
from latsearch.data.events.binning import Events, Grid, Sensor
from latsearch.data.events.corrupted import corrupted_recordings
from latsearch.data.events.splits import EventSplits
from latsearch.errors import DataError
from tests.data.events.formats import (
    CIFAR10,
    events,
    nmnist_bytes,
    write_aedat4,
    write_cifar10_dvs,
    write_gesture,
    write_nmnist,
    write_shd,
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATSEARCH_CACHE", str(tmp_path / "cache"))


def config(name: str, root: Path, validation: float = 0.5, **options: object) -> DataConfig:
    unreadable = options.pop("unreadable", "fail")
    return DataConfig.model_validate(
        {
            "name": name,
            "root": str(root),
            "validation": validation,
            "unreadable": unreadable,
            "events": {"partial": True, **options},
        }
    )


def every(splits: Splits) -> list[tuple[bytes, int]]:
    """Frames and labels of all samples, in an order of their own."""
    assert splits.test is not None
    found = [
        (frames.tobytes(), int(label))
        for samples in (splits.train, splits.validation, splits.test)
        for frames, label in zip(samples.images, samples.labels, strict=True)
    ]
    return sorted(found)


def expected(grid: Grid, seeds: Iterable[tuple[int, int]], **size: int) -> list[tuple[bytes, int]]:
    """Frames of the events of each seed with its label, computed without any file."""
    return sorted(
        (grid.frames(Events(*_from_first(seed, size).T)).tobytes(), label) for seed, label in seeds
    )


def _from_first(seed: int, size: dict[str, int]) -> np.ndarray:
    columns = events(seed, **size)
    if size.get("width") == 128:
        columns[:, 0] -= columns[0, 0]
    return columns


def test_nmnist(tmp_path: Path) -> None:
    write_nmnist(tmp_path)
    splits = load(config("nmnist", tmp_path)).at(5)
    assert splits.input_shape == (2, 34, 34)
    assert splits.classes == 10
    assert splits.duration_ms == 315
    assert [len(splits.train), len(splits.validation)] == [15, 15]
    seeds = [(n, n % 10) for n in range(30)] + [(1000 + n, n) for n in range(10)]
    assert every(splits) == expected(Grid(Sensor(34, 34), 315_000, 5), seeds)


def test_nmnist_clock_that_overflows(tmp_path: Path) -> None:
    folder = write_nmnist(tmp_path)
    columns = events(0, 30, end=9_000_000)
    columns[-2:, 0] = 8_999_000, 9_000_000
    written = nmnist_bytes(columns)
    assert len(written) > 5 * 30  # with markers
    (folder / "Test" / "0" / "00000.bin").write_bytes(written)
    splits = load(config("nmnist", tmp_path, duration_ms=9000)).at(9)
    assert splits.test is not None
    grid = Grid(Sensor(34, 34), 9_000_000, 9)
    assert (splits.test.images[0] == grid.frames(Events(*columns.T))).all()


def test_dvs_gesture(tmp_path: Path) -> None:
    write_gesture(tmp_path)
    splits = load(config("dvs-gesture", tmp_path, downsample=4)).at(3)
    assert splits.input_shape == (2, 32, 32)
    seeds = [(100 * user + label, label) for user in (1, 2, 3, 24) for label in range(11)]
    grid = Grid(Sensor(128, 128), 1500, 3, 4)  # the test's events are in ms
    assert every(splits) == expected(grid, seeds, width=128, height=128, end=1400)


def test_shd(tmp_path: Path) -> None:
    folder = write_shd(tmp_path)
    splits = load(config("shd", tmp_path, downsample=7)).at(4)
    assert splits.input_shape == (1, 1, 100)
    assert splits.classes == 20
    assert splits.test is not None
    with h5py.File(folder / "shd_test.h5") as file:
        times = file["spikes/times"][3].astype(np.float64)
        units = file["spikes/units"][3]
    slow = np.zeros((4, 100), dtype=int)
    for time, unit in zip(times, units, strict=True):
        slow[min(int(time / 0.35), 3), unit // 7] += 1
    assert (splits.test.images[3][:, 0, 0] == slow).all()
    assert splits.test.labels.tolist() == list(range(20))


@pytest.mark.parametrize("suffix", [".aedat4", ".aedat"])
def test_cifar10_dvs(tmp_path: Path, suffix: str) -> None:
    write_cifar10_dvs(tmp_path, suffix=suffix)
    splits = load(config("cifar10-dvs", tmp_path, downsample=8)).at(2)
    assert splits.test is not None
    assert sorted(splits.test.labels.tolist()) == list(range(10))  # a tenth of each class
    assert len(splits.train) + len(splits.validation) == 90
    seeds = [(1000 * label + n, label) for label in range(10) for n in range(10)]
    grid = Grid(Sensor(128, 128), 1_300_000, 2, 8)
    assert every(splits) == expected(grid, seeds, width=128, height=128, end=1_200_000)


def structured(columns: np.ndarray) -> np.ndarray:
    array = np.zeros(len(columns), dtype=[("x", "u2"), ("y", "u2"), ("t", "i8"), ("p", "?")])
    for index, name in enumerate("txyp"):
        array[name] = columns[:, index]
    return array


def write_hdf5(file: Path, columns: np.ndarray, group: str = "events/") -> None:
    with h5py.File(file, "w") as content:
        for index, name in enumerate("txyp"):
            content[group + name] = columns[:, index]


def write_own(folder: Path, each: int = 10) -> None:
    """Two classes, every known format."""
    for label, name in enumerate(("left", "right")):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            columns = events(100 * label + number, width=20, height=10, end=50_000)
            file = folder / name / f"{number}"
            if number % 5 == 0:
                np.save(file, structured(columns))
            elif number % 5 == 1:
                np.save(file, columns)
            elif number % 5 == 2:
                write_hdf5(file.with_suffix(".h5"), columns)
            elif number % 5 == 3:
                write_hdf5(file.with_suffix(".hdf5"), columns, group="")
            else:
                write_aedat4(file.with_suffix(".aedat4"), columns)


@pytest.mark.parametrize("parts", [True, False])
def test_a_folder_of_ones_own(tmp_path: Path, parts: bool) -> None:
    own = tmp_path / "own"
    if parts:
        write_own(own / "train")
        write_own(own / "test")
    else:
        write_own(own)
    splits = load(config("event-folder", own, width=20, height=10, duration_ms=50)).at(3)
    assert splits.input_shape == (2, 10, 20)
    assert splits.classes == 2
    grid = Grid(Sensor(20, 10), 50_000, 3)
    once = []
    for label in (0, 1):
        for number in range(10):
            columns = events(100 * label + number, width=20, height=10, end=50_000)
            columns[:, 0] -= columns[0, 0]
            once.append((grid.frames(Events(*columns.T)).tobytes(), label))
    assert every(splits) == sorted(2 * once if parts else once)
    assert splits.test is not None
    assert len(splits.test) == (20 if parts else 4)


def test_every_t_has_frames_of_its_own_and_ends_at_the_same_time(tmp_path: Path) -> None:
    write_nmnist(tmp_path)
    unbinned = load(config("nmnist", tmp_path))
    assert unbinned.events
    assert unbinned.input_shape == (2, 34, 34)
    with pytest.raises(DataError, match=r"at\(timesteps\)"):
        _ = unbinned.train.images
    for timesteps in (1, 3, 8):
        splits = unbinned.at(timesteps)
        assert splits.train.images.shape == (15, timesteps, 2, 34, 34)
        assert splits.train.bin_ends is not None
        assert splits.train.bin_ends.shape == (15, timesteps)
        assert (splits.train.bin_ends[:, -1] == 315).all()
        assert (splits.train.labels == unbinned.train.labels).all()
    assert (unbinned.at(8).train.images.sum(axis=1) == unbinned.at(1).train.images[:, 0]).all()


def test_frames_are_made_once_and_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_nmnist(tmp_path)
    unbinned = load(config("nmnist", tmp_path)).without_test()
    told: list[tuple[str, int, int]] = []
    assert unbinned.binned is not None
    unbinned.binned.prepare([2, 4], lambda *each: told.append(each))
    assert told[-1] == ("nmnist train: frames", 30, 30)
    reads: list[Path] = []
    monkeypatch.setattr("latsearch.data.events.sources._check", lambda *_: reads.append(folder))
    assert unbinned.at(2).train.images.any()
    assert unbinned.at(4).train.images.any()
    assert not reads
    assert isinstance(unbinned.at(4).train.pixels, np.memmap)
    unbinned.at(3)
    assert len(reads) == 30


def test_a_changed_file_or_option_gets_new_frames(tmp_path: Path) -> None:
    folder = write_nmnist(tmp_path)
    before = load(config("nmnist", tmp_path)).at(1)
    coarse = load(config("nmnist", tmp_path, downsample=2)).at(1)
    assert coarse.input_shape == (2, 17, 17)
    file = folder / "Train" / "0" / "00000.bin"
    file.write_bytes(nmnist_bytes(events(77)))
    os.utime(file, ns=(1, 1))
    after = load(config("nmnist", tmp_path)).at(1)
    assert every(before) != every(after)


def test_a_killed_preparation_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nmnist(tmp_path)
    unbinned = load(config("nmnist", tmp_path)).without_test()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    assert unbinned.binned is not None
    with pytest.raises(KeyboardInterrupt):
        unbinned.binned.prepare([2], interrupt)
    assert not [entry for entry in (tmp_path / "cache").glob("*-T2-*") if entry.is_dir()]
    assert unbinned.at(2).train.images.any()


def test_splits_are_small_when_pickled(tmp_path: Path) -> None:
    write_nmnist(tmp_path)
    unbinned = load(config("nmnist", tmp_path)).without_test()
    sent = pickle.dumps(unbinned)
    assert len(sent) < 10_000
    there: Splits = pickle.loads(sent)
    assert there.test is None
    assert there.at(2).test is None
    assert (there.at(2).train.images == unbinned.at(2).train.images).all()


def test_corrupted_samples_are_those_of_the_split(tmp_path: Path) -> None:
    write_nmnist(tmp_path)
    splits = load(config("nmnist", tmp_path)).at(3)
    assert splits.binned is not None
    assert splits.test is not None
    noisy = splits.binned.corrupted(splits.test, corruption="noise", severity=1)
    assert (noisy.labels == splits.test.labels).all()
    assert (noisy.images >= splits.test.images).all()
    assert noisy.images.sum() > splits.test.images.sum()
    some = splits.test.take(np.array([2, 7]))
    again = splits.binned.corrupted(some, corruption="noise", severity=1)
    assert (again.images == noisy.images[[2, 7]]).all()
    with pytest.raises(DataError, match="taken out"):
        splits.binned.without_test().corrupted(some, corruption="drop", severity=1)


def test_every_corruption_at_every_severity(tmp_path: Path) -> None:
    write_nmnist(tmp_path)
    splits = load(config("nmnist", tmp_path)).at(2)
    assert splits.test is not None
    told: list[tuple[str, int, int]] = []
    sets = list(corrupted_recordings(splits, splits.test, progress=lambda *each: told.append(each)))
    assert [(each.corruption, each.severity) for each in sets] == [
        (name, severity) for name in ("drop", "noise", "jitter") for severity in range(1, 6)
    ]
    assert told[-1] == ("corruptions", 15, 15)
    lost = [each.samples.images.sum() for each in sets[:5]]
    assert lost == sorted(lost, reverse=True)


# --- faults ---------------------------------------------------------------------------------------


def spoil_by_cutting(folder: Path) -> str:
    file = folder / "Train" / "3" / "00003.bin"
    file.write_bytes(file.read_bytes()[:-2])
    return r"00003\.bin has \d+ bytes, no multiple of 5: it ends within an event; replace it"


def spoil_by_emptying(folder: Path) -> str:
    (folder / "Train" / "3" / "00003.bin").write_bytes(b"")
    return r"00003\.bin holds no event"


def spoil_by_moving_pixels(folder: Path) -> str:
    (folder / "Train" / "3" / "00003.bin").write_bytes(nmnist_bytes(np.array([[5, 34, 0, 0]])))
    return r"00003\.bin has an event with x = 34, not within 0\.\.33"


Spoil = Callable[[Path], str]
SPOILS = [spoil_by_cutting, spoil_by_emptying, spoil_by_moving_pixels]


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_faulty_recording_is_an_error_that_names_it(tmp_path: Path, spoil: Spoil) -> None:
    message = spoil(write_nmnist(tmp_path))
    with pytest.raises(DataError, match=message + ".*set data.unreadable to skip"):
        load(config("nmnist", tmp_path)).at(2)


@pytest.mark.parametrize("spoil", SPOILS)
def test_faulty_recordings_are_left_out_and_counted_where_wanted(
    tmp_path: Path, spoil: Spoil, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(write_nmnist(tmp_path))
    unbinned = load(config("nmnist", tmp_path, unreadable="skip"))
    splits = unbinned.at(2)
    seeds = [(n, n % 10) for n in range(30) if n != 3] + [(1000 + n, n) for n in range(10)]
    assert every(splits) == expected(Grid(Sensor(34, 34), 315_000, 2), seeds)
    assert isinstance(unbinned.binned, EventSplits)
    (fault,) = unbinned.binned.faults(2)
    assert "00003.bin" in fault
    unbinned.binned.prepare([2])
    assert "nmnist: 1 of 40 recordings are left out" in caplog.text
    assert "00003.bin" in caplog.text


def test_a_recording_of_one_event_is_as_good_as_any(tmp_path: Path) -> None:
    folder = write_nmnist(tmp_path)
    (folder / "Test" / "0" / "00000.bin").write_bytes(nmnist_bytes(np.array([[315_000, 7, 8, 1]])))
    splits = load(config("nmnist", tmp_path)).at(4)
    assert splits.test is not None
    assert np.argwhere(splits.test.images[0]).tolist() == [[3, 1, 8, 7]]


def test_a_set_that_is_not_whole_is_refused_unless_that_is_wanted(tmp_path: Path) -> None:
    write_nmnist(tmp_path)
    with pytest.raises(DataError, match="30 training recordings, not the 60,000 of nmnist"):
        load(config("nmnist", tmp_path, partial=False))


def test_a_set_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shd is not in .*; get it with"):
        load(config("shd", tmp_path))


@pytest.mark.parametrize("name", ["13", "three"])
def test_nmnist_folders_of_other_names(tmp_path: Path, name: str) -> None:
    folder = write_nmnist(tmp_path)
    (folder / "Train" / name).mkdir()
    with pytest.raises(DataError, match=f"{name} is none of the class folders 0, 1"):
        load(config("nmnist", tmp_path))


def test_nmnist_without_a_digit(tmp_path: Path) -> None:
    folder = write_nmnist(tmp_path)
    shutil.rmtree(folder / "Test" / "4")
    with pytest.raises(DataError, match="Test has no folder 4"):
        load(config("nmnist", tmp_path))


def test_gesture_of_a_wrong_label(tmp_path: Path) -> None:
    folder = write_gesture(tmp_path) / "ibmGestureTrain" / "user01_fluorescent_led"
    (folder / "10.npy").rename(folder / "11.npy")
    with pytest.raises(DataError, match=r"11\.npy is named after no label of 0 to 10"):
        load(config("dvs-gesture", tmp_path))


def test_gesture_that_is_cut(tmp_path: Path) -> None:
    file = write_gesture(tmp_path) / "ibmGestureTrain" / "user01_fluorescent_led" / "5.npy"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"user01_fluorescent_led/5\.npy is damaged"):
        load(config("dvs-gesture", tmp_path)).at(2)


def test_shd_of_a_wrong_label(tmp_path: Path) -> None:
    folder = write_shd(tmp_path)
    with h5py.File(folder / "shd_test.h5", "r+") as file:
        file["labels"][2] = 20
    with pytest.raises(DataError, match=r"shd_test\.h5: recording 2 has the label 20"):
        load(config("shd", tmp_path))


def test_shd_with_an_empty_recording(tmp_path: Path) -> None:
    folder = write_shd(tmp_path)
    with h5py.File(folder / "shd_train.h5", "r+") as file:
        file["spikes/times"][7] = np.zeros(0, dtype=np.float16)
        file["spikes/units"][7] = np.zeros(0, dtype=np.uint16)
    with pytest.raises(DataError, match=r"shd_train\.h5: recording 7 holds no event"):
        load(config("shd", tmp_path)).at(2)


def test_shd_that_is_cut(tmp_path: Path) -> None:
    file = write_shd(tmp_path) / "shd_train.h5"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"shd_train\.h5 is damaged"):
        load(config("shd", tmp_path))


@pytest.mark.parametrize("suffix", [".aedat4", ".aedat"])
def test_cifar10_dvs_with_a_cut_file(tmp_path: Path, suffix: str) -> None:
    file = write_cifar10_dvs(tmp_path, suffix=suffix) / "cat" / f"cifar10_cat_4{suffix}"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(DataError, match=f"cifar10_cat_4{suffix} .*damaged"):
        load(config("cifar10-dvs", tmp_path)).at(2)


def test_cifar10_dvs_without_recordings_of_a_class(tmp_path: Path) -> None:
    folder = write_cifar10_dvs(tmp_path)
    shutil.rmtree(folder / CIFAR10[5])
    (folder / CIFAR10[5]).mkdir()
    with pytest.raises(DataError, match="dog holds no recording"):
        load(config("cifar10-dvs", tmp_path))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 3)), r"shape \(5, 3\); give \[N, 4\]"),
        (np.zeros(3, dtype=[("t", int), ("x", int), ("y", int)]), "but no p; name it so"),
        (np.array([[0, 0, 0, 2]]), r"p = 2, not within 0\.\.1"),
        (np.array([{}], dtype=object), "damaged"),
    ],
)
def test_arrays_that_are_no_events(tmp_path: Path, array: np.ndarray, message: str) -> None:
    write_own(tmp_path / "own")
    np.save(tmp_path / "own" / "left" / "3.npy", array)
    with pytest.raises(DataError, match=rf"left/3\.npy .*{message}"):
        load(config("event-folder", tmp_path / "own", width=20, height=10, duration_ms=50)).at(2)


def test_a_folder_needs_to_know_the_sensor(tmp_path: Path) -> None:
    write_own(tmp_path / "own")
    with pytest.raises(DataError, match="width"):
        load(config("event-folder", tmp_path / "own"))


def test_a_disk_that_is_too_full_is_seen_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nmnist(tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"0\.0 GB free, but the frames of nmnist train take"):
        load(config("nmnist", tmp_path)).at(2)


# --- downloads ------------------------------------------------------------------------------------


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """SHD's archives in a folder whose server tonic takes for that of the set's authors."""
    from tonic.datasets import SHD

    server = tmp_path / "server"
    written = write_shd(tmp_path / "written")
    server.mkdir()
    handler = partial(QuietHandler, directory=str(server))
    web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    monkeypatch.setattr(SHD, "base_url", f"http://127.0.0.1:{web.server_port}/")
    for part in ("train", "test"):
        archive = server / f"shd_{part}.h5.zip"
        with ZipFile(archive, "w") as content:
            content.write(written / f"shd_{part}.h5", f"shd_{part}.h5")
        monkeypatch.setattr(SHD, f"{part}_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    thread = Thread(target=web.serve_forever, daemon=True)
    thread.start()
    yield server
    web.shutdown()
    web.server_close()
    thread.join()


def test_a_download_is_checked_unpacked_and_read(published: Path, tmp_path: Path) -> None:
    wanted = config("shd", tmp_path / "data", downsample=7)
    splits = load(wanted, download=True).at(1)
    assert len(splits.train) + len(splits.validation) == 60
    assert sorted(entry.name for entry in (tmp_path / "data").iterdir()) == ["SHD"]
    (published / "shd_train.h5.zip").unlink()
    load(wanted, download=True)  # it is there


def test_a_damaged_download_leaves_nothing(published: Path, tmp_path: Path) -> None:
    archive = published / "shd_test.h5.zip"
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(DataError, match="shd could not be downloaded"):
        load(config("shd", tmp_path / "data"), download=True)
    assert not list((tmp_path / "data").iterdir())


def test_what_is_there_in_part_is_not_overwritten(published: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "SHD").mkdir(parents=True)
    with pytest.raises(DataError, match="is there, but not whole; move it away"):
        load(config("shd", tmp_path / "data"), download=True)
