"""What is known, and where it is present."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from latsearch.config import DataConfig
from latsearch.data import catalogue, load
from tests.data.formats import unprivileged, write_cifar10, write_fashion


def test_every_data_set_of_the_configuration_is_listed() -> None:
    known = get_args(DataConfig.model_fields["name"].annotation)
    names = [info.name for info in catalogue()]
    assert names == [name for name in known if name in names]


def test_figures_are_those_of_the_data() -> None:
    info = catalogue()[0]
    whole = load(DataConfig(name="digits"))
    assert info.folder is not None
    assert (info.folder / "digits.csv.gz").is_file()
    assert len(whole.train) + len(whole.validation) == info.train
    assert len(whole.test) == info.test
    assert (whole.input_shape, whole.classes) == (info.shape, info.classes)


def test_present_and_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATSEARCH_DATA", str(tmp_path))
    folder = write_cifar10(tmp_path)
    raw = write_fashion(tmp_path / "FashionMNIST" / "raw")
    found = {info.name: info.folder for info in catalogue()}
    assert found["fashion-mnist"] == raw
    assert found["cifar10"] == folder
    assert found["cifar100"] is None
    (folder / "test_batch").unlink()
    assert {info.name: info.folder for info in catalogue()}["cifar10"] is None


def test_a_folder_without_permission_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forbid: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("LATSEARCH_DATA", str(tmp_path / "closed"))
    (tmp_path / "closed").mkdir()
    forbid(tmp_path / "closed")
    with unprivileged():
        assert {info.name: info.folder for info in catalogue()}["cifar10"] is None


def test_how_to_get_is_one_line() -> None:
    for info in catalogue():
        assert info.how_to_get
        assert "\n" not in info.how_to_get
