"""A user's folder of class folders, with everything that such folders hold."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latsearch.config import DataConfig
from latsearch.data import Splits, load
from latsearch.data.cache import cache_root
from latsearch.data.pictures import read_picture
from latsearch.errors import DataError
from tests.data.formats import unprivileged, write_class_folders, write_picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def config(root: Path, **settings: object) -> DataConfig:
    return DataConfig(name="image-folder", root=str(root), validation=0.25, **settings)


def fault(root: Path, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        load(config(root, **settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def shades(splits: Splits) -> list[int]:
    parts = (splits.train, splits.validation, splits.test)
    assert all((part.images[:, 0, 0, 0] // 100 == part.labels).all() for part in parts)
    return sorted(int(shade) for part in parts for shade in part.images[:, 0, 0, 0])


ALL = [*range(10), *range(100, 110)]


def test_class_folders(root: Path) -> None:
    whole = load(config(write_class_folders(root)))
    assert (whole.input_shape, whole.classes) == ((3, 8, 8), 2)
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [12, 4, 4]
    assert shades(whole) == ALL


def test_hidden_files_nested_folders_and_other_suffixes(root: Path) -> None:
    write_class_folders(root)
    (root / "cat" / "deep").mkdir()
    (root / "cat" / "003.png").rename(root / "cat" / "deep" / "3.PNG")
    (root / "cat" / ".DS_Store").write_bytes(b"\0")
    (root / "cat" / "notes.txt").write_text("not a picture")
    (root / ".ipynb_checkpoints").mkdir()
    (root / "__MACOSX").mkdir()
    (root / "readme.md").write_text("# pictures")
    assert shades(load(config(root))) == ALL


def test_a_link_that_leads_back_is_followed_once(root: Path) -> None:
    write_class_folders(root)
    (root / "cat" / "again").symlink_to(root / "cat", target_is_directory=True)
    assert shades(load(config(root))) == ALL


def test_the_users_own_test_split(root: Path) -> None:
    write_class_folders(root / "train")
    write_picture(root / "val" / "dog" / "a.png", 150, size=8)
    whole = load(config(root))
    assert whole.test.images[:, 0, 0, 0].tolist() == [150]
    assert len(whole.train) + len(whole.validation) == 20
    write_picture(root / "test" / "cat" / "b.png", 50, size=8)
    whole = load(config(root))  # `val` now belongs to the samples that validation is taken from
    assert whole.test.images[:, 0, 0, 0].tolist() == [50]
    assert len(whole.train) + len(whole.validation) == 21
    write_picture(root / "test" / "cow" / "c.png", 0, size=8)
    assert fault(root) == (f"{root}/test/cow is a class without training images in {root}/train")


# --- pixels -------------------------------------------------------------------------------------


def test_grey_and_colour_together_become_rgb(root: Path) -> None:
    write_class_folders(root)
    write_picture(root / "cat" / "003.png", 3, size=8, grey=True)
    whole = load(config(root))
    assert whole.input_shape == (3, 8, 8)
    assert shades(whole) == ALL
    assert load(config(root, channels=1)).input_shape == (1, 8, 8)


def test_grey_alone_stays_grey(root: Path) -> None:
    for label, name in enumerate(("cat", "dog")):
        for index in range(10):
            write_picture(root / name / f"{index}.png", 100 * label + index, 8, grey=True)
    assert load(config(root)).input_shape == (1, 8, 8)


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_16_bit_grey_keeps_its_range(root: Path) -> None:
    file = root / "deep.png"
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(file)
    assert (read_picture(file, 1)[0] == RAMP).all()
    assert (read_picture(file, 3) == RAMP).all()


def test_palettes_are_looked_up(root: Path) -> None:
    file = root / "indexed.png"
    image = Image.fromarray(RAMP).convert("P")
    image.putpalette([255 - value // 3 for value in range(768)])
    image.save(file)
    assert np.abs(read_picture(file, 3).astype(int) - (255 - RAMP.astype(int))).max() <= 1


def test_transparent_pixels_lie_on_white(root: Path) -> None:
    file = root / "logo.png"
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(file)
    found = read_picture(file, 3)
    assert found[:, 0, 0].tolist() == [10, 20, 30]
    assert (found[:, 1:] == 255).all()


def test_black_and_white(root: Path) -> None:
    file = root / "bits.png"
    Image.fromarray(RAMP > 127).save(file)
    assert (read_picture(file, 1)[0] == np.where(RAMP > 127, 255, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_orientation(root: Path, orientation: int) -> None:
    upright = np.arange(8 * 16, dtype=np.uint8).reshape(8, 16)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).T,
        8: np.rot90(upright, -1),
    }[orientation]
    file = root / "phone.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(file, exif=exif)
    assert (read_picture(file, 1)[0] == upright).all()


def test_lying_and_standing_pictures_of_one_camera_fit_together(root: Path) -> None:
    write_class_folders(root)
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder in ("cat", "dog"):
        for file in (root / folder).iterdir():
            Image.open(file).resize((8, 6)).save(file)
    lying = Image.open(root / "cat" / "000.png").resize((6, 8))
    lying.save(root / "cat" / "000.png", exif=exif)
    assert load(config(root)).input_shape == (3, 6, 8)


def test_sizes_that_differ(root: Path) -> None:
    write_class_folders(root)
    write_picture(root / "dog" / "big.png", 120, size=20)
    assert fault(root) == (
        f"{root}/dog/big.png has 20x20 pixels, but {root}/cat/000.png has 8x8; set "
        "data.size, to which all are scaled, e.g. 32"
    )
    whole = load(config(root, size=12))
    assert whole.input_shape == (3, 12, 12)
    assert shades(whole) == [*ALL, 120]


def test_floating_point_pixels_are_refused(root: Path) -> None:
    write_class_folders(root)
    Image.fromarray(np.zeros((8, 8), np.float32)).save(root / "cat" / "float.tiff")
    assert f"{root}/cat/float.tiff has floating-point pixels" in fault(root)


# --- what is wrong ------------------------------------------------------------------------------


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def _text(file: Path) -> None:
    file.write_text("this is no picture")


def _empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _text, _empty])
@pytest.mark.parametrize("size", [None, 8])
def test_unreadable_files(root: Path, damage: Callable[[Path], None], size: int | None) -> None:
    write_class_folders(root)
    bad = root / "dog" / "004.png"
    damage(bad)
    message = fault(root, size=size)
    assert message.startswith(f"{bad} is ")
    assert message.endswith(", or set data.unreadable to skip")
    assert shades(load(config(root, size=size, unreadable="skip"))) == [
        shade for shade in ALL if shade != 104
    ]


@pytest.mark.parametrize("settings", [{}, {"size": 8, "channels": 3}], ids=["sizes", "pixels"])
def test_no_thread_is_left_to_the_garbage_collector(root: Path, settings: dict[str, int]) -> None:
    """One that ends there may wait for its threads in the middle of another one's start."""
    write_class_folders(root)
    _text(root / "dog" / "004.png")
    gc.disable()
    try:
        with pytest.raises(DataError) as held:
            load(config(root, **settings))
        assert held.traceback
        assert not [t.name for t in threading.enumerate() if t.name.startswith("decode")]
    finally:
        gc.enable()


def test_a_file_without_permission(root: Path, forbid: Callable[[Path], None]) -> None:
    write_class_folders(root / "set")
    bad = root / "set" / "dog" / "004.png"
    cache_root().mkdir(parents=True)
    cache_root().chmod(0o777)
    forbid(bad)
    with unprivileged():
        assert fault(root / "set") == f"{bad} cannot be read: Permission denied"


def test_a_class_folder_without_images(root: Path) -> None:
    write_class_folders(root)
    (root / "cow").mkdir()
    (root / "cow" / "notes.txt").write_text("to do")
    message = fault(root)
    assert message.startswith(f"{root}/cow is a class folder without images (.bmp, ")
    assert message.endswith("fill it, remove it, or set data.unreadable to skip")
    whole = load(config(root, unreadable="skip"))
    assert whole.classes == 2


def test_folders_of_another_structure(root: Path) -> None:
    assert fault(root / "none") == (
        f"{root}/none is no folder; point data.root at the folder of class folders"
    )
    write_picture(root / "set" / "a.png", 0)
    assert fault(root / "set") == (
        f"{root}/set holds 0 class folders with images, but two are needed: one folder a "
        "class, with its images in it"
    )
    with pytest.raises(DataError, match=r"data.root is missing"):
        load(DataConfig(name="image-folder"))
