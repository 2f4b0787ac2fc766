"""Images and labels of a data set, split for training, validation and the final test."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Samples:
    """Images with their labels, in memory.

    Attributes:
        images: ``[N, C, H, W]`` uint8.
        labels: ``[N]`` int64, 0..classes - 1.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(
                f"images must be [N, C, H, W] uint8, got {self.images.shape} {self.images.dtype}"
            )
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"{len(self.images)} images, but labels of shape {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.labels)


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
    """

    name: str
    train: Samples
    validation: Samples
    test: Samples | None
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def without_test(self) -> Splits:
        """The same splits as a search may see them."""
        return replace(self, test=None)
