"""MNIST, SVHN, Tiny-ImageNet and the user's own arrays, in their true formats."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest

from latsearch.config import DataConfig
from latsearch.data import load
from latsearch.errors import DataError
from tests.data.formats import (
    images,
    numbers,
    write_fashion,
    write_svhn,
    write_tiny_imagenet,
)


def fault(config: DataConfig, **options: bool) -> str:
    with pytest.raises(DataError) as caught:
        load(config, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_mnist(tmp_path: Path) -> None:
    write_fashion(tmp_path / "MNIST" / "raw", gz=True)
    whole = load(DataConfig(name="mnist", root=str(tmp_path), validation=50.0))
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [150, 50, 50]
    assert (whole.input_shape, whole.classes) == ((1, 28, 28), 10)
    assert (whole.train.labels == np.array(numbers(whole.train.images)) % 10).all()


# --- SVHN ---------------------------------------------------------------------------------------


def test_svhn(tmp_path: Path) -> None:
    write_svhn(tmp_path)
    whole = load(DataConfig(name="svhn", root=str(tmp_path), validation=50.0), verify=False)
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [150, 50, 50]
    assert (whole.input_shape, whole.classes) == ((3, 32, 32), 10)
    assert (whole.train.labels == np.array(numbers(whole.train.images)) % 10).all()
    assert numbers(whole.test.images) == list(range(10_000, 10_050))


def test_damaged_svhn(tmp_path: Path) -> None:
    file = write_svhn(tmp_path) / "test_32x32.mat"
    config = DataConfig(name="svhn", root=str(tmp_path))
    assert "train_32x32.mat is damaged: its MD5 is not e26dedcc" in fault(config)
    file.write_bytes(file.read_bytes()[:400])
    assert fault(config, verify=False).startswith(f"{file} is damaged (")


# --- Tiny-ImageNet ------------------------------------------------------------------------------


def test_tiny_imagenet(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    config = DataConfig(name="tiny-imagenet", root=str(tmp_path), validation=200.0)
    whole = load(config)
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [200, 200, 200]
    assert (whole.input_shape, whole.classes) == ((3, 64, 64), 200)
    for part in (whole.train, whole.validation, whole.test):  # each image shows its class
        shown = part.images.reshape(len(part), -1).mean(1)
        assert np.abs(shown - part.labels).max() <= 1
    assert sorted(whole.test.labels.tolist()) == list(range(200))


def test_damaged_tiny_imagenet(tmp_path: Path) -> None:
    folder = write_tiny_imagenet(tmp_path)
    config = DataConfig(name="tiny-imagenet", root=str(tmp_path))
    listed = folder / "val" / "val_annotations.txt"
    text = listed.read_text()
    listed.write_text(text.replace("n00000199", "n99999999"))
    assert fault(config) == (
        f"{listed} has the class 'n99999999' in line 1, which is not in wnids.txt; replace both"
    )
    listed.write_text("")
    assert fault(config) == f"{listed} lists no images; replace it"
    listed.write_text(text.replace("val_7.", "val_x."))
    assert fault(config) == (
        f"{folder}/val/images/val_x.JPEG cannot be read: No such file or directory"
    )
    listed.unlink()
    assert fault(config) == f"{listed} cannot be read: No such file or directory"
    for image in (folder / "train" / "n00000003" / "images").iterdir():
        image.unlink()
    assert fault(config) == (
        f"{folder}/train/n00000003/images holds no .JPEG images; replace the folder"
    )


# --- npz ----------------------------------------------------------------------------------------


def npz(tmp_path: Path, **arrays: np.ndarray) -> DataConfig:
    file = tmp_path / "own.npz"
    np.savez(file, **arrays)
    return DataConfig(name="numpy", root=str(file), validation=0.25)


X, Y = images(40, (1, 6, 6)), np.arange(40) % 4


@pytest.mark.parametrize(
    "x",
    [X, X[:, 0], X.transpose(0, 2, 3, 1), X.astype(np.int64), X / 255],
    ids=["channels first", "no channels", "channels last", "wide integers", "floats"],
)
def test_npz(tmp_path: Path, x: np.ndarray) -> None:
    whole = load(npz(tmp_path, x=x, y=Y, x_test=x[:8], y_test=Y[:8]))
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [30, 10, 8]
    assert (whole.input_shape, whole.classes) == ((1, 6, 6), 4)
    found = sorted(numbers(whole.train.images) + numbers(whole.validation.images))
    assert found == list(range(40))
    assert (whole.test.images == X[:8]).all()


def test_npz_without_a_test_split_gives_a_fifth_of_it(tmp_path: Path) -> None:
    config = npz(tmp_path, x=np.repeat(X, 3, axis=1), y=Y[:, None])
    whole = load(config)
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [24, 8, 8]
    assert np.bincount(whole.test.labels).tolist() == [2, 2, 2, 2]
    assert (load(config).test.images == whole.test.images).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": Y}, "has no array x, but y; it needs x and y"),
        ({"x": X}, "has no array y, but x; it needs x and y"),
        ({"x": X, "y": Y[:9]}, ": y has 9 labels for 40 images"),
        ({"x": X, "y": Y + 1}, ": y has labels up to 4, but none is 0; number the classes"),
        ({"x": X, "y": Y - 1}, ": y has the label -1; give integers 0..classes - 1"),
        ({"x": X, "y": Y * 1.0}, ": y is float64; give integers 0..classes - 1"),
        ({"x": X, "y": np.eye(4)[Y]}, ": y has the shape (40, 4); give one class number a sample"),
        ({"x": X, "y": Y * 0}, ": y has the label 0 alone; two classes are needed"),
        ({"x": X * 300.0, "y": Y}, ": x is float64 with values from 0 to 76500; give integers"),
        ({"x": X / 255 - 0.5, "y": Y}, ": x is float64 with values from -0.5 to"),
        ({"x": np.full((40, 6, 6), np.nan), "y": Y}, ": x is float64 with values from nan to nan"),
        ({"x": X.reshape(40, 36), "y": Y}, ": x has the shape (40, 36); give [N, H, W]"),
        ({"x": np.zeros((40, 3, 9, 3)), "y": Y}, "channels first or last? pad the images"),
        ({"x": np.zeros((40, 5, 9, 5)), "y": Y}, "but an image has 1 or 3 channels"),
        ({"x": X, "y": Y, "x_test": X}, "has one of x_test and y_test; give both or neither"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y + 1}, "y_test has the label 4, which y has not"),
        ({"x": np.array([{}] * 40), "y": Y}, "cannot be read: x.npy holds Python objects"),
        ({"x": X[:0], "y": Y[:0]}, ": y is empty"),
    ],
)
def test_wrong_npz(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    found = fault(npz(tmp_path, **arrays))
    assert str(tmp_path / "own.npz") in found
    assert message in found


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    file = tmp_path / "own.npz"
    config = DataConfig(name="numpy", root=str(file))
    assert fault(config) == f"{file} is no file; point data.root at an npz file with x and y"
    np.savez(file, x=X, y=Y)
    file.write_bytes(file.read_bytes()[:300])
    assert str(file) in fault(config)
    assert "data.root is missing" in fault(DataConfig(name="numpy"))


# --- the user's own code ------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    code = """
        import numpy as np
        from pathlib import Path

        def bars(root):
            Path("ran").touch()
            y = np.arange(40) % 4
            return {"x": np.repeat(y * 50, 36).reshape(40, 6, 6).astype("uint8"), "y": y}

        def broken(root):
            raise KeyError("no such thing")

        def wrong(root):
            return 3
    """
    (tmp_path / "own_data_module.py").write_text(textwrap.dedent(code))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def custom(function: str) -> DataConfig:
    return DataConfig(name="custom", function=function)


def test_own_code_runs_only_where_it_is_allowed(own: Path) -> None:
    assert fault(custom("own_data_module:bars")) == (
        "data.function is Python code (own_data_module:bars); if you trust it, allow it with "
        "--allow-code"
    )
    assert not (own / "ran").exists()
    whole = load(custom("own_data_module:bars"), allow_code=True)
    assert (own / "ran").exists()
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [26, 6, 8]
    assert (whole.train.images[:, 0, 0, 0] == whole.train.labels * 50).all()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("own_data_module:none", "own_data_module has no none"),
        ("nowhere_at_all:bars", "No module named 'nowhere_at_all'; start from the folder"),
        ("own_data_module:broken", "failed: KeyError: 'no such thing'"),
        ("own_data_module:wrong", "returned int, not a mapping of x, y, x_test, y_test"),
    ],
)
def test_own_code_that_fails(own: Path, function: str, message: str) -> None:
    assert message in fault(custom(function), allow_code=True)
