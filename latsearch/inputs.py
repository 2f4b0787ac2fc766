"""What a deployed network is shown: image files and arrays, checked before it sees them.

Nothing is scaled or recoloured unless the user asks for it: an input of another shape is refused
with its own shape and the expected one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from latsearch.data.pictures import SUFFIXES, read_header, read_picture
from latsearch.errors import UserError
from latsearch.snn.checkpoint import CheckpointInfo

ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
_NAMES = ("images", "x", "x_test", "x_train")  # of the images among several arrays of an npz
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as image libraries grey colours


class Unfit(ValueError):
    """An input whose shape is not the network's."""


@dataclass(frozen=True)
class InputShape:
    """What a network takes.

    Attributes:
        shape: ``(C, H, W)`` of an image, ``(T, P, H, W)`` of a recording's event frames.
    """

    shape: tuple[int, ...]

    @classmethod
    def of(cls, info: CheckpointInfo) -> InputShape:
        """That of the network in a checkpoint."""
        if info.duration_ms is None:
            return cls(info.input_shape)
        return cls((info.trial.network.timesteps, *info.input_shape))

    @property
    def events(self) -> bool:
        """Whether event frames are taken, not images."""
        return len(self.shape) == 4

    def __str__(self) -> str:
        names = "T, P, H, W" if self.events else "C, H, W"
        return f"[{names}] = {list(self.shape)}"


@dataclass(frozen=True, eq=False)
class Input:
    """One image or recording.

    Attributes:
        name: file that it comes from, with its index where that holds several.
        pixels: ``[C, H, W]`` or ``[T, P, H, W]``, uint8, or float32 on the scale 0..1.
    """

    name: str
    pixels: NDArray[Any]


def read_inputs(
    paths: Sequence[str | Path], wanted: InputShape, *, resize: bool = False
) -> Iterator[Input]:
    """The images in files and folders, in order, one at a time.

    Args:
        paths: image files, npy and npz files, and folders of them.
        wanted: what the network takes.
        resize: whether images of other sizes or channels are scaled: the middle part that has the
            right proportions.

    Raises:
        UserError: a file is not there, is no image, or does not fit.
    """
    for path in find_files(paths):
        try:
            if path.suffix.lower() in ARRAY_SUFFIXES:
                yield from _array(path, wanted, resize)
            else:
                yield Input(str(path), _picture(path, wanted, resize))
        except Unfit as error:
            hint = "" if wanted.events else "; --resize scales images to it"
            raise UserError(f"{error}{hint}") from None
        except ValueError as error:
            raise UserError(str(error)) from None


def find_files(paths: Sequence[str | Path]) -> list[Path]:
    """The files that are meant: those named, and everything readable below the folders named.

    Raises:
        UserError: one is not there, or a folder holds nothing that can be read.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            known = SUFFIXES | ARRAY_SUFFIXES
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in known and p.is_file())
            if not inside:
                raise UserError(f"{path}: holds no images (png, jpg, … or npy, npz)")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path}: there is no such file or folder")
    return files


def as_batch(
    array: NDArray[Any], wanted: InputShape, name: str, *, resize: bool = False
) -> tuple[bool, NDArray[Any]]:
    """An array of one image or of several as ``[N, ...]``, and whether it held several.

    Grey images may lack the axis of their channel; images may have their channels last.

    Raises:
        Unfit: it has too few or too many axes.
    """
    if not wanted.events and array.shape[-3:] == (*wanted.shape[1:], wanted.shape[0]):
        array = np.moveaxis(array, -1, -3)  # channels last
    depth = len(wanted.shape)
    grey = not wanted.events and wanted.shape[0] == 1
    if array.ndim == depth + 1:
        return True, array
    if grey and array.ndim == depth - 1:
        return False, array[None, None]
    if array.ndim == depth:
        several = grey and array.shape[0] != 1 and array.shape[1:] == wanted.shape[1:]
        if several or (grey and resize and array.shape[0] not in (1, 3)):
            return True, array[:, None]
        return False, array[None]
    raise _unfit(name, array.shape, wanted)


def checked(
    images: NDArray[Any], wanted: InputShape, name: str, *, resize: bool = False
) -> NDArray[Any]:
    """Images ``[N, ...]`` as a network takes them: uint8, or float32 on the scale 0..1.

    Args:
        images: of any shape and type.
        wanted: what the network takes.
        name: what they are called in messages.
        resize: whether images of other sizes or channels are scaled.

    Raises:
        Unfit: the shape is not the network's.
        ValueError: type or values do not fit; the message is one line.
    """
    if images.ndim != len(wanted.shape) + 1:
        raise _unfit(name, images.shape, wanted)
    if len(images) == 0:
        raise ValueError(f"{name}: holds no image")
    fits = images.shape[1:] == wanted.shape
    if not fits and (not resize or wanted.events):
        raise _unfit(name, images.shape[1:], wanted)
    values = _values(images, wanted, name)
    return values if fits else _fitted(values, wanted, name)


def _values(images: NDArray[Any], wanted: InputShape, name: str) -> NDArray[Any]:
    if images.dtype == np.uint8:
        return images
    kind = images.dtype.kind
    if kind not in "iuf":
        raise ValueError(f"{name}: holds {images.dtype}, no numbers; give uint8 or floats")
    if kind == "f" and not np.isfinite(images).all():
        raise ValueError(f"{name}: holds NaN or infinite values")
    low, high = float(images.min()), float(images.max())
    if kind in "iu" or wanted.events:
        if low < 0 or high > 255:
            raise ValueError(f"{name}: values from {low:g} to {high:g}; integers are 0 to 255")
        whole = images.astype(np.uint8)
        if not np.array_equal(whole, images):
            raise ValueError(f"{name}: event frames are counts, but not all values are whole")
        return whole
    if low < 0 or high > 1:
        hint = "; give 0 to 255 as integers" if high <= 255 and low >= 0 else ""
        raise ValueError(f"{name}: values from {low:g} to {high:g}; floats are 0 to 1{hint}")
    return images.astype(np.float32)


def _fitted(images: NDArray[Any], wanted: InputShape, name: str) -> NDArray[Any]:
    """Images ``[N, C, H, W]`` with the wanted channels, the middle part scaled to the size."""
    import torch
    import torch.nn.functional as F

    channels, height, width = wanted.shape
    if images.shape[1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"{name}: {images.shape[1]} channels are neither grey (1) nor RGB (3)")
    x = torch.from_numpy(np.ascontiguousarray(images)).float()
    if x.shape[1] == 3 and channels == 1:
        x = (x * torch.tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    elif x.shape[1] == 1 and channels == 3:
        x = x.repeat(1, 3, 1, 1)
    elif x.shape[1] != channels:
        raise _unfit(name, images.shape[1:], wanted)
    scale = min(x.shape[2] / height, x.shape[3] / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (x.shape[2] - rows) // 2, (x.shape[3] - columns) // 2
    x = x[:, :, top : top + rows, left : left + columns]
    if (rows, columns) != (height, width):
        x = F.interpolate(x, (height, width), mode="bilinear", antialias=True)
    whole = images.dtype == np.uint8
    x = x.round().clamp(0, 255).to(torch.uint8) if whole else x.clamp(0, 1)
    fitted: NDArray[Any] = x.numpy()
    return fitted


def picture_shape(file: Path) -> tuple[int, int, int]:
    """``(C, H, W)`` of an image file, read from its header.

    Raises:
        DataError: the file is no image, or cannot be read.
    """
    header = read_header(file)
    return (1 if header.grey else 3, header.height, header.width)


def _picture(file: Path, wanted: InputShape, resize: bool) -> NDArray[Any]:
    shape = picture_shape(file)
    if shape != wanted.shape and (not resize or wanted.events):
        raise _unfit(str(file), shape, wanted)
    pixels = read_picture(file, shape[0])
    one: NDArray[Any] = checked(pixels[None], wanted, str(file), resize=resize)[0]
    return one


def _array(file: Path, wanted: InputShape, resize: bool) -> Iterator[Input]:
    several, rows = as_batch(_opened(file), wanted, str(file), resize=resize)
    for index, pixels in enumerate(rows):
        name = f"{file}[{index}]" if several else str(file)
        yield Input(name, checked(pixels[None], wanted, name, resize=resize)[0])


def _unfit(name: str, shape: Sequence[int], wanted: InputShape) -> Unfit:
    return Unfit(f"{name}: {list(shape)}, but the network takes {wanted}")


def _opened(file: Path) -> NDArray[Any]:
    """The images in an npy or npz file; no pickle is read."""
    try:
        loaded: Any = np.load(file, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            whole: NDArray[Any] = loaded
            return whole
        with loaded as arrays:
            known = [name for name in _NAMES if name in arrays.files] or arrays.files
            if not known or (len(arrays.files) > 1 and known is arrays.files):
                raise UserError(
                    f"{file}: holds the arrays {', '.join(arrays.files) or '(none)'}; which are "
                    f"the images? Call them {_NAMES[0]}"
                )
            found: NDArray[Any] = arrays[known[0]]
            return found
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{file}: cannot be read: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
