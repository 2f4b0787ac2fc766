"""What clients send, as arrays: pictures, npy files, JSON. Nothing is trusted.

Sizes are read from headers before anything is decoded, so that a small body cannot become a large
array.
"""

from __future__ import annotations

import json
import math
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latsearch.data.pictures import read_header, read_picture
from latsearch.errors import DataError
from latsearch.inputs import InputShape, as_batch, checked

NPY_MAGIC = b"\x93NUMPY"


class BadInput(Exception):
    """A body that cannot be an input, and why, in one line.

    Args:
        status: HTTP status.
        reason: in one line.
    """

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Bodies:
    """Makes inputs of bodies.

    Args:
        wanted: what the network takes.
        resize: scale pictures and arrays of other sizes.
        max_pixels: pixels of a picture at most.
        max_images: images of a request at most.
    """

    def __init__(self, wanted: InputShape, *, resize: bool, max_pixels: int, max_images: int):
        self.wanted = wanted
        self._resize = resize
        self._max_pixels = max_pixels
        self.max_images = max_images

    def upload(self, content: bytes, name: str) -> NDArray[Any]:
        """Images ``[N, ...]`` of an uploaded picture or npy file.

        Raises:
            BadInput: it is neither, is too large, or does not fit.
        """
        if not content:
            raise BadInput(400, f"{name}: is empty")
        if content.startswith(NPY_MAGIC):
            return self._array(self._npy(content, name), name)
        try:
            size = read_header(BytesIO(content), name)
            self._check_size(size.height, size.width, name)
            shape = (1 if size.grey else 3, size.height, size.width)
            if shape != self.wanted.shape and (not self._resize or self.wanted.events):
                raise BadInput(422, f"{name}: {list(shape)}, but the network takes {self.wanted}")
            pixels = read_picture(BytesIO(content), shape[0], name=name)
        except DataError as error:
            raise BadInput(400, str(error)) from None
        return self._checked(pixels[None], name)

    def from_json(self, content: bytes, field: str) -> NDArray[Any]:
        """Images ``[N, ...]`` of the JSON object ``{"image": …}`` or ``{"images": […]}``.

        Raises:
            BadInput: it is no such object, or its values do not fit.
        """
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadInput(400, f"the body is no JSON: {reason}") from None
        if not isinstance(found, dict) or field not in found:
            raise BadInput(422, f'the body must be an object {{"{field}": [...]}}')
        unknown = sorted(set(found) - {field})
        if unknown:
            raise BadInput(422, f"unknown field {unknown[0]!r}; the body has {field!r} alone")
        try:
            array = np.asarray(found[field])
        except (ValueError, TypeError, OverflowError):
            raise BadInput(
                422, f"{field}: rows of different lengths, or values that are no numbers"
            ) from None
        if array.dtype.kind not in "iuf":
            raise BadInput(422, f"{field}: values must be numbers, got {array.dtype}")
        if field == "images" and array.ndim == len(self.wanted.shape) and not self._grey(array):
            raise BadInput(
                422, f"{field}: {list(array.shape)}, but a batch is [N, …] of {self.wanted}"
            )
        return self._array(array, field)

    def _grey(self, array: NDArray[Any]) -> bool:
        """Whether it is a batch of grey images without the axis of their channel."""
        shape = self.wanted.shape
        return not self.wanted.events and shape[0] == 1 and array.shape[1:] == shape[1:]

    def _array(self, array: NDArray[Any], name: str) -> NDArray[Any]:
        try:
            _, images = as_batch(array, self.wanted, name, resize=self._resize)
        except ValueError as error:
            raise BadInput(422, str(error)) from None
        if len(images) > self.max_images:
            raise BadInput(
                413, f"{name}: {len(images)} images, a request may have {self.max_images}"
            )
        if images.ndim == 4:
            self._check_size(images.shape[2], images.shape[3], name)
        return self._checked(images, name)

    def _checked(self, images: NDArray[Any], name: str) -> NDArray[Any]:
        try:
            return checked(images, self.wanted, name, resize=self._resize)
        except ValueError as error:
            raise BadInput(422, str(error)) from None

    def _check_size(self, height: int, width: int, name: str) -> None:
        if height * width > self._max_pixels:
            raise BadInput(
                413,
                f"{name}: {height} x {width} pixels, an image may have {self._max_pixels:,}",
            )

    def _npy(self, content: bytes, name: str) -> NDArray[Any]:
        """The array of an npy file, which must be as long as its header says."""
        stream = BytesIO(content)
        try:
            version = np.lib.format.read_magic(stream)
            read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                version, np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(stream)
        except Exception as error:  # numpy raises what it likes at damaged headers
            reason = " ".join(str(error).split())[:200]
            raise BadInput(400, f"{name}: damaged npy header: {reason}") from None
        if dtype.hasobject or dtype.kind not in "iuf":
            raise BadInput(422, f"{name}: holds {dtype}, no numbers; give uint8 or floats")
        left = len(content) - stream.tell()
        if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != left:
            raise BadInput(400, f"{name}: {list(shape)} {dtype} takes another length than {left}")
        array = np.frombuffer(content, dtype, offset=stream.tell())
        return array.reshape(shape, order="F" if fortran else "C")
