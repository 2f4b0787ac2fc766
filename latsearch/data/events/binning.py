"""Events of one recording, and how they become frames of equal duration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_A_PIXEL = 255  # counts are bytes; what goes beyond is not counted

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Events:
    """The events of a recording, in any order.

    Attributes:
        t: ``[N]`` int64 time in µs since the start of the recording.
        x: ``[N]`` int64 column.
        y: ``[N]`` int64 row.
        p: ``[N]`` int64 polarity: 1 brighter, 0 darker; 0 alone where there is one polarity.
    """

    t: Integers
    x: Integers
    y: Integers
    p: Integers

    def __len__(self) -> int:
        return len(self.t)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Events:
        """The events at the indices, or where the mask is true."""
        return Events(self.t[chosen], self.x[chosen], self.y[chosen], self.p[chosen])


@dataclass(frozen=True, slots=True)
class Sensor:
    """The pixels of a sensor: ``width`` × ``height``, each of ``polarities`` kinds of events."""

    width: int
    height: int
    polarities: int = 2

    def shape(self, downsample: int) -> tuple[int, int, int]:
        """``(P, H, W)`` of a frame whose pixels each take ``downsample``² of the sensor's."""
        return self.polarities, -(-self.height // downsample), -(-self.width // downsample)


@dataclass(frozen=True, slots=True)
class Grid:
    """How events are counted.

    T bins of equal duration cover the recording's first ``duration`` µs; later events are not
    seen. An event belongs to the bin ``[start, end)`` that its time lies in, one at the very end
    of the duration to the last bin.

    Attributes:
        sensor: where the events come from.
        duration: of the T bins together, in µs.
        timesteps: T.
        downsample: side of the square of the sensor's pixels that is one of the frame's.
    """

    sensor: Sensor
    duration: int
    timesteps: int
    downsample: int = 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(T, P, H, W)`` of a recording's frames."""
        return self.timesteps, *self.sensor.shape(self.downsample)

    def frames(self, events: Events) -> NDArray[np.uint8]:
        """Number of events in each bin and pixel, ``[T, P, H, W]``, at most 255.

        Example:
            >>> two = Events(*(np.array(each) for each in ([0, 10], [1, 1], [0, 0], [0, 0])))
            >>> Grid(Sensor(2, 1, 1), 10, 2).frames(two)[:, 0, 0].tolist()
            [[0, 1], [0, 1]]
        """
        seen = events.t <= self.duration
        if not seen.all():
            events = events.take(seen)
        steps, polarities, height, width = self.shape
        step = np.minimum(events.t * steps // self.duration, steps - 1)
        row, column = events.y // self.downsample, events.x // self.downsample
        pixel = ((step * polarities + events.p) * height + row) * width + column
        counts = np.bincount(pixel, minlength=steps * polarities * height * width)
        return np.minimum(counts, MOST_A_PIXEL).astype(np.uint8).reshape(self.shape)

    def bin_ends(self) -> NDArray[np.float32]:
        """``[T]``: end of each bin in milliseconds of recording."""
        steps = np.arange(1, self.timesteps + 1)
        return (steps * self.duration / (1000 * self.timesteps)).astype(np.float32)
