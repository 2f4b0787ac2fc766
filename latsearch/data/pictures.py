"""Image files to pixels: whatever Pillow reads, 8 bits a channel, grey or RGB, upright."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from latsearch.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_ORIENTATION = 0x0112  # EXIF's tag
_LYING = frozenset({5, 6, 7, 8})  # orientations that exchange width and height
_GREY = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N"})
_WIDE = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_MOST_PIXELS = 2**26  # of an image: a small file can say that it holds any number of them
_THREADS = 8
_AHEAD = 4 * _THREADS


@dataclass(frozen=True)
class Header:
    """What an image's header says.

    Attributes:
        height: of the upright image.
        width: of the upright image.
        grey: whether it has no colours.
    """

    height: int
    width: int
    grey: bool


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be read, and why."""

    reason: str


def read_header(file: Path | BinaryIO, name: str | None = None) -> Header:
    """Size and kind of an image, without decoding it.

    Args:
        file: the image, or what was uploaded of it.
        name: what it is called in messages; None: as the file.

    Raises:
        DataError: the file is no image, or cannot be read.
    """
    with _opened(file, name) as image:
        width, height = image.size
        if image.getexif().get(_ORIENTATION) in _LYING:
            width, height = height, width
        return Header(height, width, _is_grey(image))


def read_picture(
    file: Path | BinaryIO, channels: int, size: int | None = None, name: str | None = None
) -> NDArray[np.uint8]:
    """The pixels of an image, ``[C, H, W]``.

    Palettes are looked up, 16-bit grey is scaled to 8 bits, transparent pixels lie on white, and
    the camera's orientation is applied. With `size`, the middle square is scaled to it.

    Args:
        file: the image.
        channels: 1 for grey, 3 for RGB.
        size: pixels along each axis; None: as it is.
        name: what it is called in messages; None: as the file.

    Raises:
        DataError: the file is no image, is damaged, or has values of an unknown range.
    """
    from PIL import Image, ImageOps

    called = name or str(file)
    with _opened(file, name) as image:
        if image.mode == "F":
            raise DataError(
                f"{called} has floating-point pixels, whose range is unknown; save it with 8 bits"
            )
        image.load()
        upright = ImageOps.exif_transpose(image)
        plain = _eight_bits(upright, called) if image.mode in _WIDE else _on_white(upright)
        wanted = plain.convert("L" if channels == 1 else "RGB")
        if size is not None:
            wanted = ImageOps.fit(wanted, (size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(wanted, dtype=np.uint8)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_all(
    files: Sequence[Path], channels: int, size: int | None
) -> Generator[NDArray[np.uint8] | Unreadable, None, None]:
    """The pixels of many images, in order, decoded by several threads; to be closed."""

    def read(file: Path) -> NDArray[np.uint8] | Unreadable:
        try:
            return read_picture(file, channels, size)
        except DataError as error:
            return Unreadable(str(error))

    yield from in_order(read, files)


def in_order(function: Any, items: Iterable[Any]) -> Generator[Any, None, None]:
    """``map`` on several threads, a few items ahead of the consumer, who has to close it.

    Left to the garbage collector it would wait for its threads wherever that happens to run: in a
    thread that is just starting, with the interpreter's lock of threads held, that is for ever.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="decode") as pool:
        rest = iter(items)
        waiting = [pool.submit(function, item) for item in islice(rest, _AHEAD)]
        while waiting:
            yield waiting.pop(0).result()
            waiting.extend(pool.submit(function, item) for item in islice(rest, 1))


@contextmanager
def _opened(file: Path | BinaryIO, name: str | None = None) -> Iterator[Image]:
    """The image, opened but not decoded; every fault names the file."""
    from PIL import Image, UnidentifiedImageError

    called = name or str(file)
    try:
        # only formats that no other program is called for, whatever the file is called
        with Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise DataError(
                    f"{called} has {image.width}x{image.height} pixels, more than "
                    f"{_MOST_PIXELS / 1e6:.0f} million; scale it down"
                )
            yield image
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{called} is no image that can be read; replace or remove it") from None
    except Exception as error:  # decoders raise what they like at damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{called} cannot be read: {error.strerror}") from None
        raise DataError(f"{called} is damaged ({reason}); replace or remove it") from None


def _is_grey(image: Image) -> bool:
    if image.mode != "P":
        return image.mode in _GREY
    colours = image.getpalette() or []
    return colours[0::3] == colours[1::3] == colours[2::3]


def _eight_bits(image: Image, file: str) -> Image:
    """A 16-bit grey image in 8 bits; Pillow's own conversion would cut off all above 255."""
    from PIL import Image as Images

    values = np.asarray(image).astype(np.int64)
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise DataError(f"{file} has 32-bit pixels, whose range is unknown; save it with 8 bits")
    return Images.fromarray(((values + 128) // 257).astype(np.uint8))


def _on_white(image: Image) -> Image:
    """An image without transparency: it lies on white."""
    from PIL import Image as Images

    if not image.has_transparency_data:
        return image
    layers = image.convert("RGBA")
    below = Images.new("RGBA", layers.size, "white")
    return Images.alpha_composite(below, layers)
