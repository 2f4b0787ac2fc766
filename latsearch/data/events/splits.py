"""Splits of recordings, which become splits of frames once T is known."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from latsearch.data.events.binning import Events
from latsearch.data.events.corruptions import corrupt
from latsearch.data.events.frames import Part, Rows
from latsearch.data.splits import Progress, Samples, Splits
from latsearch.errors import DataError

_US_PER_MS = 1000
_LOGGER = logging.getLogger("latsearch")


@dataclass(frozen=True, eq=False)
class EventSplits:
    """Makes splits of event frames; small when pickled, since frames are mapped from files.

    Attributes:
        name: name of the data set.
        classes: number of classes.
        development: the recordings for training and validation.
        train: which of them are for training.
        validation: which of them are for validation.
        test: the recordings for the test; None where they were taken out.
    """

    name: str
    classes: int
    development: Part
    train: Rows
    validation: Rows
    test: Part | None

    def __call__(self, timesteps: int) -> Splits:
        """The splits with T frames a recording.

        Raises:
            DataError: a recording cannot be used, or frames cannot be written.
        """
        frames = self.development.frames(timesteps)
        train = frames.samples(self.development, timesteps, self.train)
        validation = frames.samples(self.development, timesteps, self.validation)
        test = None
        if self.test is not None:
            every = np.arange(len(self.test.rows))
            test = self.test.frames(timesteps).samples(self.test, timesteps, every)
        return self._splits(train, validation, test)

    def without_frames(self) -> Splits:
        """The splits before T is known: labels and shapes alone."""
        test = self.test
        return self._splits(
            _recorded(self.development, self.train),
            _recorded(self.development, self.validation),
            None if test is None else _recorded(test, np.arange(len(test.rows))),
        )

    def without_test(self) -> EventSplits:
        """The same, as a search may see them."""
        return replace(self, test=None)

    def prepare(self, timesteps: Collection[int], progress: Progress | None = None) -> None:
        """Make the frames of these T ready for every process of this machine.

        Says, as a warning, how many recordings are left out, where some are.

        Raises:
            DataError: a recording cannot be used, or frames cannot be written.
        """
        for part in (self.development, self.test):
            if part is not None:
                part.prepare(timesteps, progress)
        faults = self.faults(min(timesteps))
        if faults:
            count = len(self.development.rows) + (0 if self.test is None else len(self.test.rows))
            _LOGGER.warning(
                "%s: %d of %d recordings are left out, the first because %s",
                self.name,
                len(faults),
                count,
                faults[0],
            )

    def faults(self, timesteps: int) -> tuple[str, ...]:
        """What is wrong with each recording that is left out."""
        parts = [part for part in (self.development, self.test) if part is not None]
        return tuple(fault for part in parts for fault in part.frames(timesteps).faults)

    def corrupted(
        self, clean: Samples, *, corruption: str, severity: int, seed: int = 0
    ) -> Samples:
        """Test samples whose events went through a corruption, in memory.

        Args:
            clean: all or some of the test samples of one T.
            corruption: ``drop``, ``noise`` or ``jitter``.
            severity: 1, the mildest, to 5.
            seed: of the accidents; a recording has the same ones whatever the others are.

        Raises:
            DataError: a recording cannot be read any more, or the test part was taken out.
            ValueError: there is no such corruption or severity.
        """
        if self.test is None:
            raise DataError(f"the test part of {self.name} was taken out")
        timesteps = clean.sample_shape[0]
        frames = self.test.frames(timesteps)
        indices = frames.kept if clean.rows is None else frames.kept[clean.rows]
        reading = self.test.reading

        def change(index: int, events: Events) -> Events:
            return corrupt(
                events,
                reading.sensor,
                reading.duration,
                corruption=corruption,
                severity=severity,
                seed=(seed, int(indices[index]), severity),
            )

        return self.test.narrowed(indices).changed(timesteps, change)

    def _splits(self, train: Samples, validation: Samples, test: Samples | None) -> Splits:
        reading = self.development.reading
        kinds = reading.sensor.polarities
        return Splits(
            self.name,
            train,
            validation,
            test,
            self.classes,
            mean=(0.0,) * kinds,  # counts are taken as they are
            std=(1.0,) * kinds,
            binned=self,
            duration_ms=reading.duration / _US_PER_MS,
        )


def _recorded(part: Part, indices: Rows) -> Samples:
    """Recordings without frames: an array of none, of the frames' shape."""
    shape = part.reading.sensor.shape(part.reading.downsample)
    none = np.zeros((0, 1, *shape), dtype=np.uint8)
    return Samples(none, part.labels[indices], rows=indices)
