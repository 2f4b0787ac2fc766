"""`latsearch datasets`: the list, one data set checked, and looked at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from latsearch.cli import cli
from latsearch.config import DataConfig
from latsearch.data import Samples, Splits, load
from latsearch.datasets import check, write_preview
from latsearch.errors import LatsearchError
from tests.data.formats import write_class_folders, write_fashion


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, ["datasets", *map(str, words)], catch_exceptions=False)


def fault(*words: object) -> str:
    with pytest.raises(LatsearchError) as caught:
        run(*words)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_list() -> None:
    listed = run()
    assert listed.exit_code == 0
    for name in ("digits", "tiny-imagenet", "image-folder", "nmnist", "event-folder"):
        assert name in listed.stdout
    rows = {row["name"]: row for row in json.loads(run("--json").stdout)}
    assert rows["digits"]["bytes"] > 50_000
    assert rows["image-folder"]["bytes"] is None


def test_what_is_as_it_should_be() -> None:
    checked = run("digits", "--check")
    assert checked.exit_code == 0
    assert "ok   training samples                     1,438" in checked.stdout
    assert "LOOK" not in checked.stdout


def test_what_is_not_as_it_should_be(tmp_path: Path) -> None:
    write_fashion(tmp_path, gz=True)
    checked = run("fashion-mnist", "--root", tmp_path, "--check")
    assert checked.exit_code == 1
    assert "LOOK training samples                     200, not 60,000" in checked.stdout
    assert "train-images-idx3-ubyte.gz is damaged: unpacked, its MD5 is not" in checked.stdout


def test_a_class_without_test_samples_is_remarked() -> None:
    images = np.zeros((8, 1, 4, 4), np.uint8)
    part = Samples(images, np.arange(8) % 2)
    bare = Samples(images[:4], np.zeros(4, np.int64))
    splits = Splits("own", part, part, bare, 2, (0.0,), (0.0,))
    remarks = {(one.what, one.found): one.good for one in check(DataConfig(name="numpy"), splits)}
    assert remarks["training samples", "8 a class"]
    assert not remarks["test samples", "0 to 4 a class"]


def test_previews_of_the_users_own_folder(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "set", ("cat", "dog", "cow"))
    (tmp_path / "own.yaml").write_text(
        "version: 1\nstudy: own\nsearch: {trials: 1}\n"
        f"data: {{name: image-folder, root: '{tmp_path}/set', size: 6, validation: 0.25}}\n"
    )
    for words in (
        ("image-folder", "--root", tmp_path / "set"),
        ("--study", tmp_path / "own.yaml"),
    ):
        png = tmp_path / "preview.png"
        shown = run(*words, "--preview", png)
        assert shown.exit_code == 0
        assert shown.stdout.splitlines() == [
            "image-folder: 30 samples of 3 classes",
            str(png),
        ]
        assert Image.open(png).size[0] > 300
        png.unlink()


def test_a_preview_of_events_is_a_strip_of_frames(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frames = random.poisson(0.3, (6, 5, 2, 10, 10)).astype(np.uint8)
    part = Samples(frames, np.arange(6) % 3)
    splits = Splits("recordings", part, part, part, 3, (0.0, 0.0), (1.0, 1.0))
    png = tmp_path / "events.png"
    write_preview(splits, (), png)
    pixels = np.asarray(Image.open(png).convert("RGB")).astype(int)
    red = (pixels[..., 0] > 200) & (pixels[..., 2] < 60)
    blue = (pixels[..., 2] > 200) & (pixels[..., 0] < 60)
    assert red.sum() > 100
    assert blue.sum() > 100


def test_mistakes(tmp_path: Path) -> None:
    assert fault("cifar-10").startswith("cifar-10 is no data set; known are digits, mnist, ")
    assert fault("--check") == "name a data set; `latsearch datasets` lists them"
    assert fault("custom") == (
        "custom data are made by a function: name the YAML file with --study FILE"
    )
    assert "data.root is missing" in fault("numpy")
    assert fault("digits", "--preview", tmp_path / "no" / "where.png") == (
        f"{tmp_path}/no/where.png: cannot be written: No such file or directory"
    )


def test_what_is_left_out_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_class_folders(tmp_path / "set")
    (tmp_path / "set" / "cat" / "004.png").write_text("no picture")
    (tmp_path / "set" / "cow").mkdir()
    load(DataConfig(name="image-folder", root=str(tmp_path / "set"), unreadable="skip"))
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{tmp_path}/set: 2 left out, the first because {tmp_path}/set/cow is a")
