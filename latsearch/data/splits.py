"""Images or event frames with their labels, split for training, validation and the final test."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from latsearch.errors import DataError

Progress = Callable[[str, int, int], None]
"""Told what is being prepared, and how much of it is done, out of how much."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Images or event frames with their labels.

    Attributes:
        pixels: images ``[M, C, H, W]`` or event frames ``[M, T, P, H, W]`` (counts, at most 255),
            uint8; often a file mapped into memory, which every process of a machine shares.
        labels: ``[N]`` int64, 0..classes - 1.
        rows: ``[N]``, which of the pixels these samples are, in order; None: all of them.
        bin_ends: ``[N, T]`` float32, end of each frame's bin in ms of recording; None for images.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: NDArray[np.intp] | None = None
    bin_ends: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim not in (4, 5) or self.pixels.dtype != np.uint8:
            raise ValueError(
                "images must be [N, C, H, W] uint8, event frames [N, T, P, H, W] uint8, "
                f"got {self.pixels.shape} {self.pixels.dtype}"
            )
        count = len(self.pixels) if self.rows is None else len(self.rows)
        if self.labels.shape != (count,):
            raise ValueError(f"{count} images, but labels of shape {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> NDArray[np.uint8]:
        """The samples' pixels ``[N, ...]``: a copy where they are rows of a larger array.

        Raises:
            DataError: these are recordings that were not binned to frames yet.
        """
        if len(self) and not len(self.pixels):
            raise DataError("recordings have no frames before `splits.at(timesteps)`")
        return self.pixels if self.rows is None else self.pixels[self.rows]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample's pixels."""
        return self.pixels.shape[1:]

    def times(self, decision_time: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Decision times ``[N]`` in timesteps, or of recordings in ms: the end of that bin."""
        if self.bin_ends is None:
            return decision_time.astype(np.float64)
        ends: NDArray[np.floating[Any]] = self.bin_ends[np.arange(len(self)), decision_time - 1]
        return ends.astype(np.float64)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with the name of the file that its pixels are in, not with the pixels."""
        others = (self.labels, self.rows, self.bin_ends)
        if not isinstance(self.pixels, np.memmap) or self.pixels.filename is None:
            return Samples, (self.pixels, *others)
        file, pixels = str(self.pixels.filename), self.pixels
        return _mapped, (file, pixels.offset, pixels.dtype.str, pixels.shape, *others)

    def take(self, indices: NDArray[np.intp]) -> Samples:
        """The samples at ``indices``; their pixels are not copied."""
        rows = indices if self.rows is None else self.rows[indices]
        ends = None if self.bin_ends is None else self.bin_ends[indices]
        return Samples(self.pixels, self.labels[indices], rows, ends)


class Binned(Protocol):
    """Makes splits of event frames."""

    def __call__(self, timesteps: int) -> Splits:
        """The splits with T frames a recording."""

    def without_test(self) -> Binned:
        """The same, of splits as a search may see them."""

    def prepare(self, timesteps: Collection[int], progress: Progress | None = None) -> None:
        """Make the frames of these T ready for every process of this machine."""

    def corrupted(self, clean: Samples, *, corruption: str, severity: int) -> Samples:
        """Test samples whose events went through a corruption."""


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set's disjoint splits.

    Attributes:
        name: name of the data set.
        train: what networks are trained on.
        validation: what the search measures its trials on.
        test: untouched by the search; None where it was taken out.
        classes: number of classes.
        mean: mean of the training pixels by channel, on the scale 0..1.
        std: their standard deviation by channel, on the scale 0..1.
        binned: makes the splits with T frames a recording, for event data; None for images.
        recipe: makes these splits anew on a machine that does not have the files they are in.
        duration_ms: milliseconds of a recording that the frames cover; None for images.
        class_names: names of the classes; empty where they have numbers alone.
    """

    name: str
    train: Samples
    validation: Samples
    test: Samples | None
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    binned: Binned | None = None
    recipe: Callable[[], Splits] | None = None
    duration_ms: float | None = None
    class_names: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled so that another machine can open or make the files that the pixels are in."""
        values = tuple(getattr(self, known.name) for known in fields(self))
        if self.recipe is None:
            return Splits, values
        return _reopened, (values, self.recipe)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of an image, ``(P, H, W)`` of an event frame."""
        channels, height, width = self.train.sample_shape[-3:]
        return channels, height, width

    @property
    def events(self) -> bool:
        """Whether the samples are recordings of an event camera, not images."""
        return len(self.train.sample_shape) == 4

    def at(self, timesteps: int) -> Splits:
        """The splits for networks of T timesteps: event data binned to T frames."""
        return self if self.binned is None else self.binned(timesteps)

    def without_test(self) -> Splits:
        """The same splits as a search may see them."""
        return replace(
            self,
            test=None,
            binned=self.binned and self.binned.without_test(),
            recipe=self.recipe and partial(_made_without_test, self.recipe),
        )


@dataclass(frozen=True)
class _Elsewhere:
    """Stands for samples whose file is not on this machine."""

    reason: str


def _mapped(
    file: str,
    offset: int,
    dtype: str,
    shape: tuple[int, ...],
    labels: NDArray[np.int64],
    rows: NDArray[np.intp] | None,
    bin_ends: NDArray[np.float32] | None,
) -> Samples | _Elsewhere:
    try:
        pixels = np.memmap(file, dtype, "r", offset, shape)
    except (OSError, ValueError) as error:
        return _Elsewhere(f"{file}: {error}")
    return Samples(pixels, labels, rows, bin_ends)


def _reopened(values: tuple[Any, ...], recipe: Callable[[], Splits]) -> Splits:
    return recipe() if any(isinstance(each, _Elsewhere) for each in values) else Splits(*values)


def _made_without_test(recipe: Callable[[], Splits]) -> Splits:
    return recipe().without_test()
