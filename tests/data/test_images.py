"""Every loader on small files in the true formats, whole, missing and damaged."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from latsearch.config import DataConfig
from latsearch.data import load
from latsearch.errors import DataError
from tests.data.formats import (
    numbers,
    unprivileged,
    write_cifar10,
    write_cifar100,
    write_fashion,
    write_idx,
)

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
HOW = "`latsearch datasets {} --download`"
HOW_FASHION = f"{HOW.format('fashion-mnist')} (on Debian also `apt install dataset-fashion-mnist`)"


def config(name: str, root: Path | str | None = None, **settings: float) -> DataConfig:
    return DataConfig(name=name, root=None if root is None else str(root), **settings)


def fault(config: DataConfig, **options: bool) -> str:
    with pytest.raises(DataError) as caught:
        load(config, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- whole sets ---------------------------------------------------------------------------------


def test_digits() -> None:
    whole = load(config("digits", validation=0.25))
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [1078, 360, 359]
    assert (whole.input_shape, whole.classes) == ((1, 8, 8), 10)
    assert whole.train.images.max() == 240
    pixels = [
        image.tobytes()
        for part in (whole.train, whole.validation, whole.test)
        for image in part.images
    ]
    assert len(set(pixels)) == 1797
    assert np.bincount(whole.test.labels).min() >= 35


def test_the_test_split_of_digits_is_always_the_same() -> None:
    first = load(config("digits")).test
    other = load(config("digits", validation=100.0, split_seed=3, train_samples=50)).test
    assert (first.images == other.images).all()
    assert (first.labels == other.labels).all()
    assert zlib.crc32(first.images.tobytes()) == 1698005634  # for everybody, for ever


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("folder", ["FashionMNIST/raw", "."])
def test_fashion_mnist(tmp_path: Path, folder: str, gz: bool) -> None:
    write_fashion(tmp_path / folder, gz)
    whole = load(config("fashion-mnist", tmp_path, validation=50.0))
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [150, 50, 50]
    assert whole.input_shape == (1, 28, 28)
    assert sorted(numbers(whole.train.images) + numbers(whole.validation.images)) == list(
        range(200)
    )
    assert numbers(whole.test.images) == list(range(10_000, 10_050))
    assert (whole.test.labels == np.arange(50) % 10).all()
    assert not whole.test.images.flags.writeable  # it is shared with other processes


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not here")
def test_the_real_fashion_mnist() -> None:
    whole = load(config("fashion-mnist", validation=5000))
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [
        55_000,
        5_000,
        10_000,
    ]
    assert (np.bincount(whole.test.labels) == 1000).all()
    assert (np.bincount(whole.validation.labels) == 500).all()
    assert whole.mean == pytest.approx((0.2860,), abs=1e-3)  # the set's published statistics
    assert whole.std == pytest.approx((0.3530,), abs=1e-3)


@pytest.mark.parametrize("inside", [False, True])
def test_cifar10(tmp_path: Path, inside: bool) -> None:
    folder = write_cifar10(tmp_path)
    whole = load(config("cifar10", folder if inside else tmp_path, validation=20.0), verify=False)
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [80, 20, 20]
    assert (whole.input_shape, whole.classes) == ((3, 32, 32), 10)
    assert whole.train.images.flags.c_contiguous
    shown = numbers(whole.train.images) + numbers(whole.validation.images)
    assert sorted(shown) == [1000 * batch + n for batch in range(5) for n in range(20)]
    assert numbers(whole.test.images) == list(range(5000, 5020))
    assert (whole.train.labels == np.array(numbers(whole.train.images)) % 1000 % 10).all()


def test_cifar100(tmp_path: Path) -> None:
    write_cifar100(tmp_path)
    whole = load(config("cifar100", tmp_path, validation=100.0), verify=False)
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [200, 100, 100]
    assert (whole.input_shape, whole.classes) == ((3, 32, 32), 100)
    assert (whole.train.labels == np.array(numbers(whole.train.images)) % 100).all()
    assert numbers(whole.test.images) == list(range(10_000, 10_100))


def test_loading_repeats(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    first, second = (load(config("fashion-mnist", tmp_path)) for _ in range(2))
    assert numbers(first.train.images) == numbers(second.train.images)
    assert numbers(first.validation.images) == numbers(second.validation.images)


# --- where they are looked for ------------------------------------------------------------------


def test_the_variable_goes_before_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fashion(tmp_path / "home" / "data", train=100)
    write_fashion(tmp_path / "store", train=200)
    assert len(load(config("fashion-mnist")).train) == 80
    monkeypatch.setenv("LATSEARCH_DATA", str(tmp_path / "store"))
    assert len(load(config("fashion-mnist")).train) == 160
    assert len(load(config("fashion-mnist", "~/data")).train) == 80


def test_an_incomplete_set_does_not_hide_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (write_fashion(tmp_path / "store") / "train-labels-idx1-ubyte").unlink()
    write_fashion(tmp_path / "home" / "data")
    monkeypatch.setenv("LATSEARCH_DATA", str(tmp_path / "store"))
    assert len(load(config("fashion-mnist")).train) == 160


def test_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fault(config("fashion-mnist", tmp_path)) == (
        f"fashion-mnist is not in {tmp_path}; get it with {HOW_FASHION}, or point data.root at it"
    )
    monkeypatch.setenv("LATSEARCH_DATA", str(tmp_path / "store"))
    assert fault(config("cifar10")) == (
        f"cifar10 is not in {tmp_path}/store or {tmp_path}/home/data; get it with "
        f"{HOW.format('cifar10')}, or point data.root at it"
    )


def test_incomplete(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    (folder / "data_batch_3").unlink()
    assert fault(config("cifar10", tmp_path)) == (
        f"cifar10 in {folder} lacks data_batch_3; get it with {HOW.format('cifar10')}"
    )


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    assert fault(config("cifar100", file)) == (
        f"{file} is a file, but the root of cifar100 is a folder"
    )


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10"])
def test_a_root_without_permission(
    tmp_path: Path, forbid: Callable[[Path], None], name: str
) -> None:
    root = tmp_path / "closed"
    write_fashion(root)
    forbid(root)
    with unprivileged():
        message = fault(config(name, root))
    assert message.startswith(f"{root}/")
    assert message.endswith(" cannot be read: Permission denied")


def test_a_file_without_permission(tmp_path: Path, forbid: Callable[[Path], None]) -> None:
    file = write_fashion(tmp_path) / "t10k-labels-idx1-ubyte"
    forbid(file)
    with unprivileged():
        assert fault(config("fashion-mnist", tmp_path)) == (
            f"{file} cannot be read: Permission denied"
        )


def test_a_cifar_file_without_permission(tmp_path: Path, forbid: Callable[[Path], None]) -> None:
    file = write_cifar100(tmp_path) / "test"
    forbid(file)
    with unprivileged():
        message = fault(config("cifar100", tmp_path), verify=False)
    assert message == f"{file} cannot be read: Permission denied"


# --- damaged files ------------------------------------------------------------------------------


def test_truncated_idx(tmp_path: Path) -> None:
    file = write_fashion(tmp_path) / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    assert fault(config("fashion-mnist", tmp_path)) == (
        f"{file} has 156815 bytes, but its header says 156816; it is damaged: replace it"
    )
    file.write_bytes(file.read_bytes()[:9])
    assert fault(config("fashion-mnist", tmp_path)) == (
        f"{file} ends within its header; it is damaged: replace it"
    )


@pytest.mark.parametrize(
    ("content", "start"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>", "starts with 3c21444f"),
        (b"\x00\x00\x08\x01" + bytes(100), "starts with 00000801"),
        (b"\x00\x00\x0d\x03" + bytes(100), "starts with 00000d03"),
    ],
)
def test_wrong_magic_numbers(tmp_path: Path, content: bytes, start: str) -> None:
    file = write_fashion(tmp_path) / "t10k-images-idx3-ubyte"
    file.write_bytes(content)
    assert fault(config("fashion-mnist", tmp_path)) == (
        f"{file} {start}, not with 00000803, so it is no idx file of 3-dimensional bytes; "
        "replace it"
    )


def test_sizes_that_would_not_fit_into_memory(tmp_path: Path) -> None:
    file = write_fashion(tmp_path) / "t10k-images-idx3-ubyte"
    file.write_bytes(b"\x00\x00\x08\x03" + b"\xff" * 12 + bytes(100))
    assert f"{file} says that it holds 79228162458924105728.0 GB" in fault(
        config("fashion-mnist", tmp_path)
    )


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 0xFF for byte in content[middle:])


@pytest.mark.parametrize("damage", [_cut, _flip, lambda _: b"", lambda _: b"no gzip file"])
def test_damaged_gzip(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = write_fashion(tmp_path, gz=True) / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    message = fault(config("fashion-mnist", tmp_path))
    assert message.startswith(f"{file} is ")
    assert message.endswith("replace it")


def test_contents_that_do_not_fit(tmp_path: Path) -> None:
    labels = write_fashion(tmp_path) / "train-labels-idx1-ubyte"
    write_idx(labels, np.zeros(199, dtype=np.uint8))
    assert fault(config("fashion-mnist", tmp_path)) == (
        f"{labels} has 199 labels for the 200 images of train-images-idx3-ubyte; replace both"
    )
    write_idx(labels, np.full(200, 10, dtype=np.uint8))
    assert fault(config("fashion-mnist", tmp_path)) == (
        f"{tmp_path} holds the label 10, not one of 0..9; replace its files"
    )
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((200, 14, 14), dtype=np.uint8))
    assert fault(config("fashion-mnist", tmp_path)) == (
        f"{tmp_path} holds images of shape (1, 14, 14), not (1, 28, 28); replace its files"
    )
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((0, 28, 28), dtype=np.uint8))
    write_idx(labels, np.zeros(0, dtype=np.uint8))
    assert fault(config("fashion-mnist", tmp_path)) == (
        f"{tmp_path} holds no samples; replace its files"
    )


def test_checksums_are_checked_unless_a_caller_says_so(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    assert fault(config("cifar10", tmp_path)) == (
        f"{folder}/data_batch_1 is damaged: its MD5 is not c99cafc152244af753f735de768cd75f; "
        "replace it, or delete it and use `--download`"
    )


@pytest.mark.parametrize("damage", [_cut, _flip, lambda _: b"", lambda _: b"no pickle"])
@pytest.mark.parametrize("file", ["train", "test"])
def test_damaged_pickles(tmp_path: Path, file: str, damage: Callable[[bytes], bytes]) -> None:
    folder = write_cifar100(tmp_path)
    (folder / file).write_bytes(damage((folder / file).read_bytes()))
    message = fault(config("cifar100", tmp_path), verify=False)
    assert message.startswith(f"{folder / file} is damaged (")
    assert message.endswith("; replace it")


# --- downloads ----------------------------------------------------------------------------------


def test_a_download_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("the network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    root = tmp_path / "new"
    for name in ("fashion-mnist", "cifar10", "cifar100"):
        message = fault(config(name, root), download=True)
        assert message.startswith(f"{name} could not be downloaded: ")
    assert list(root.iterdir()) == []


def test_a_download_that_is_cut_short_is_not_taken_as_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(self: object, *_: object, root: str = "", **__: object) -> None:
        write_fashion(Path(root or str(_[0])) / "FashionMNIST" / "raw")
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST.__init__", half)
    assert fault(config("fashion-mnist", tmp_path), download=True) == (
        "fashion-mnist could not be downloaded: File not found or corrupted."
    )
    assert f"fashion-mnist is not in {tmp_path}" in fault(config("fashion-mnist", tmp_path))


def test_a_download_replaces_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(self: object, root: str, download: bool) -> None:
        assert download
        write_fashion(Path(root) / "FashionMNIST" / "raw")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST.__init__", fetched)
    folder = write_fashion(tmp_path / "FashionMNIST" / "raw")
    (folder / "train-images-idx3-ubyte").write_bytes(b"")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    assert len(load(config("fashion-mnist", tmp_path), download=True).train) == 160
    assert sorted(path.name for path in tmp_path.iterdir()) == ["FashionMNIST", "home"]


def test_what_is_there_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr("latsearch.data.image_sets.fetch", refuse)
    write_fashion(tmp_path)
    load(config("fashion-mnist", tmp_path), download=True)
    load(config("digits"), download=True)


def test_a_root_that_cannot_be_written_to(tmp_path: Path, forbid: Callable[[Path], None]) -> None:
    root = tmp_path / "closed"
    root.mkdir()
    forbid(root)
    with unprivileged():
        message = fault(config("cifar10", root / "deep"), download=True)
    assert message == f"cifar10 cannot be stored: {root}/deep: Permission denied"


# --- imports ------------------------------------------------------------------------------------


def test_torch_is_not_imported_without_need(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    code = (
        "import sys; from latsearch.config import DataConfig; from latsearch.data import *\n"
        "catalogue()\n"
        "assert 'sklearn' not in sys.modules\n"
        f"load(DataConfig(name='fashion-mnist', root={str(tmp_path)!r}))\n"
        "assert not {'torch', 'torchvision', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})


def test_gzip_is_really_read(tmp_path: Path) -> None:
    folder = write_fashion(tmp_path, gz=True)
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as stream:
        assert stream.read(4) == b"\x00\x00\x08\x03"
