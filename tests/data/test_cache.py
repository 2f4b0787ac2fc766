"""The cache of decoded data: whole or absent, built once, keyed by contents, shared."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from latsearch.config import DataConfig
from latsearch.data import Splits, load
from latsearch.data.cache import Builder, cache_root, cached
from latsearch.errors import DataError
from tests.data.formats import numbers, unprivileged, write_class_folders, write_fashion

KEY = "0" * 64


def fill(builder: Builder) -> None:
    builder.append("numbers", np.arange(5))
    builder.append("numbers", np.arange(5, 9))
    builder.meta["note"] = "nine"


def test_an_entry_gives_what_was_written() -> None:
    entry = cached("set", KEY, fill)
    assert entry.array("numbers").tolist() == list(range(9))
    assert not entry.array("numbers").flags.writeable
    assert entry.meta == {"note": "nine"}
    assert entry.nbytes() == 72
    assert entry.damaged() == []


def test_an_entry_is_built_once() -> None:
    cached("set", KEY, fill)
    cached("set", KEY, lambda builder: pytest.fail("built again"))


def test_damage_is_found_and_a_cut_file_is_rebuilt() -> None:
    file = cached("set", KEY, fill).folder / "numbers.bin"
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert cached("set", KEY, fill).damaged() == ["numbers"]
    file.write_bytes(content[:-1])
    assert cached("set", KEY, fill).damaged() == []


def test_a_build_that_fails_leaves_nothing() -> None:
    def fail(builder: Builder) -> None:
        builder.append("numbers", np.arange(5))
        raise DataError("the source is damaged")

    with pytest.raises(DataError, match="the source is damaged"):
        cached("set", KEY, fail)
    assert [path.suffix for path in cache_root().iterdir()] == [".lock"]
    assert cached("set", KEY, fill).array("numbers").tolist() == list(range(9))


def test_a_build_that_is_killed_is_built_anew(tmp_path: Path) -> None:
    code = (
        "import numpy as np, time\n"
        "from latsearch.data.cache import cached\n"
        "def fill(builder):\n"
        "    builder.append('numbers', np.arange(5))\n"
        "    print('half', flush=True)\n"
        "    time.sleep(60)\n"
        f"cached('set', {KEY!r}, fill)\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"half\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    assert [path.name for path in cache_root().glob("*.building")] == [f"set-{KEY[:24]}.building"]
    cached("other", KEY, fill)  # clears up behind the dead one
    assert list(cache_root().glob("*.building")) == []
    assert cached("set", KEY, fill).array("numbers").tolist() == list(range(9))


def _slowly(builder: Builder) -> None:
    with (cache_root() / "builds").open("a") as log:
        log.write("one\n")
    time.sleep(0.3)
    fill(builder)


def _open(_: int) -> list[int]:
    return cached("set", KEY, _slowly).array("numbers").tolist()


def test_processes_that_come_together_build_once() -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(_open, range(4)) == [list(range(9))] * 4
    assert (cache_root() / "builds").read_text() == "one\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user whom permissions do not stop")
def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATSEARCH_CACHE", str(tmp_path / "closed"))
    (tmp_path / "closed").mkdir(mode=0o700)
    with unprivileged(), pytest.raises(DataError) as caught:
        cached("set", KEY, fill)
    assert str(caught.value).startswith("the cache of decoded data cannot be written: ")
    assert str(caught.value).endswith("point LATSEARCH_CACHE at a folder with room")


# --- data sets in it ----------------------------------------------------------------------------


def entries() -> list[str]:
    return sorted(path.name for path in cache_root().glob("*-*") if path.is_dir())


def test_the_key_is_the_contents(tmp_path: Path) -> None:
    def build(root: Path, **settings: object) -> None:
        load(DataConfig(name="image-folder", root=str(root), **settings))

    first = write_class_folders(tmp_path / "first")
    build(first)
    assert len(entries()) == 1
    os.utime(first / "cat" / "000.png")  # touched, copied and moved, it is still the same
    build(first)
    shutil.copytree(first, tmp_path / "copy")
    build(tmp_path / "copy")
    assert len(entries()) == 1
    build(first, size=4)  # other options, other pixels
    assert len(entries()) == 2
    changed = tmp_path / "copy" / "cat" / "000.png"
    times = (changed.stat().st_atime_ns, changed.stat().st_mtime_ns)
    changed.write_bytes((first / "dog" / "000.png").read_bytes())
    os.utime(changed, ns=times)  # a copying tool that keeps times does not hide the change
    build(tmp_path / "copy")
    assert len(entries()) == 3


def test_progress_is_told(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "set")
    told: list[tuple[str, int, int]] = []
    config = DataConfig(name="image-folder", root=str(tmp_path / "set"))
    load(config, progress=lambda *one: told.append(one))
    assert told[-1] == ("image-folder: decoding", 20, 20)
    told.clear()
    load(config, progress=lambda *one: told.append(one))
    assert told == []


def _shown(splits: Splits) -> tuple[list[int], list[int], bool]:
    return numbers(splits.train.images), splits.train.labels.tolist(), splits.test is None


def test_splits_travel_as_the_name_of_a_file(tmp_path: Path) -> None:
    write_fashion(tmp_path, train=2000)
    whole = load(DataConfig(name="fashion-mnist", root=str(tmp_path))).without_test()
    pickled = pickle.dumps(whole)
    assert len(pickled) < 60_000 < whole.train.images.nbytes
    assert isinstance(pickle.loads(pickled).train.pixels, np.memmap)
    assert _shown(pickle.loads(pickled)) == _shown(whole)


def test_a_machine_without_the_cache_makes_its_own(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    whole = load(DataConfig(name="fashion-mnist", root=str(tmp_path))).without_test()
    pickled, shown = pickle.dumps(whole), _shown(whole)
    shutil.rmtree(cache_root())
    assert _shown(pickle.loads(pickled)) == shown


def test_splits_in_memory_travel_whole() -> None:
    whole = load(DataConfig(name="digits")).without_test()
    again = pickle.loads(pickle.dumps(whole))
    assert (again.train.images == whole.train.images).all()
    assert again.test is None
