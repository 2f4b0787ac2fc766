"""latbench as a table: what every training of a grid reported, looked up by its configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from latsearch.config import StudyConfig, TrialConfig, Value, parse_study
from latsearch.objectives import FIRST_SPIKE, READOUT, DecisionCurve, EpochReport
from latsearch.search.trials import SCREENED

FORMAT = 1
VALIDATION, TEST = 0, 1


class Table:
    """Every epoch's curves of every configuration and seed of a grid.

    Args:
        file: a parquet file that `record.py` packed.
        screenings: another one of the same grid with its screenings; None: there are none.

    Attributes:
        about: what the file says of itself: grid, axes, seeds, samples, commit, versions.
        axes: values of each searched field by its dotted name.
        size: number of configurations.
        seeds: trainings of each.
        epochs: of a full training.
    """

    def __init__(self, file: Path, screenings: Path | None = None):
        self.screenings = None if screenings is None else Table(screenings)
        table = pq.read_table(file)
        self.about: Mapping[str, Any] = json.loads(table.schema.metadata[b"latbench"])
        if self.about["version"] != FORMAT:
            raise SystemExit(f"{file}: format {self.about['version']}, this reads {FORMAT}")
        self.axes: Mapping[str, tuple[Value, ...]] = {
            name: tuple(values) for name, values in self.about["axes"].items()
        }
        self.size = math.prod(len(values) for values in self.axes.values())
        self.seeds = int(self.about["seeds"])
        columns = {name: table[name].to_numpy() for name in table.column_names}
        self.epochs = int(columns["epoch"].max())
        self._columns = columns
        self._starts, self._ends = self._index()
        self._samples = [self.about["samples"]["validation"], self.about["samples"]["test"]]
        self.curve = lru_cache(maxsize=None)(self._curve)

    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last row of each curve, ``[seeds, size, epochs + 1, 2]``; 0, 0: no such."""
        shape = (self.seeds, self.size, self.epochs + 1, 2)
        names = ("seed", "configuration", "epoch", "split")
        place = np.ravel_multi_index([self._columns[n].astype(np.intp) for n in names], shape)
        changes = np.flatnonzero(np.diff(place)) + 1
        first, last = np.concatenate([[0], changes]), np.concatenate([changes, [len(place)]])
        starts, ends = np.zeros(shape, dtype=np.intp), np.zeros(shape, dtype=np.intp)
        starts.flat[place[first]], ends.flat[place[first]] = first, last
        return starts, ends

    @cached_property
    def study(self) -> StudyConfig:
        """The grid as a study."""
        return parse_study(self.about["grid"], "latbench")

    @cached_property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.about["classes"])

    @cached_property
    def seconds(self) -> np.ndarray:
        """Processor time of each epoch, ``[seeds, size, epochs]``; 0 where a training diverged."""
        there = self._ends[:, :, 1:, VALIDATION] > 0
        times = self._columns["seconds"][self._starts[:, :, 1:, VALIDATION]]
        return np.where(there, times, 0.0).astype(np.float64)

    @cached_property
    def screening_seconds(self) -> np.ndarray:
        """Processor time of each screening, ``[seeds, size]``, of a table of screenings."""
        return self._columns["seconds"][self._starts[:, :, SCREENED, VALIDATION]]

    def number(self, values: Mapping[str, Value]) -> int:
        """The configuration with these values.

        Raises:
            ValueError: a value is not on its axis.
        """
        places = [axis.index(values[name]) for name, axis in self.axes.items()]
        return int(np.ravel_multi_index(places, [len(axis) for axis in self.axes.values()]))

    def values(self, configuration: int) -> dict[str, Value]:
        """The values of a configuration."""
        places = np.unravel_index(configuration, [len(axis) for axis in self.axes.values()])
        return {
            name: axis[place] for (name, axis), place in zip(self.axes.items(), places, strict=True)
        }

    def number_of(self, trial: TrialConfig) -> int:
        """The configuration that a trial has."""
        found = {}
        for name in self.axes:
            section, field = name.split(".")
            found[name] = getattr(getattr(trial, section), field)
        return self.number(found)

    def epochs_of(self, configuration: int, seed: int) -> int:
        """Epochs that were trained: fewer than all where the training diverged."""
        return int((self._ends[seed, configuration, :, VALIDATION] > 0).sum())

    def reports(self, configuration: int, seed: int) -> list[EpochReport]:
        """What the training reported, from the first epoch on, or from its screening on."""
        seconds = self.seconds[seed, configuration]
        times = dict(enumerate(seconds[: self.epochs_of(configuration, seed)], start=1))
        if self.screenings is not None:
            times = {SCREENED: self.screenings.screening_seconds[seed, configuration], **times}
        return [
            EpochReport(
                epoch=epoch,
                curve=self.curve(configuration, seed, epoch, VALIDATION),
                metrics={},
                seconds=float(time),
            )
            for epoch, time in times.items()
        ]

    def _curve(self, configuration: int, seed: int, epoch: int, split: int) -> DecisionCurve:
        """The decision curve of a training after an epoch, on a split."""
        if epoch == SCREENED and self.screenings is not None:
            return self.screenings.curve(configuration, seed, epoch, split)
        place = (seed, configuration, epoch, split)
        rows = slice(self._starts[place], self._ends[place])
        samples = self._samples[split]

        def column(name: str, divisor: int = 1) -> np.ndarray:
            return self._columns[name][rows].astype(np.float64) / divisor

        threshold = column("decision_threshold")
        return DecisionCurve(
            decision_threshold=threshold,
            kind=tuple(READOUT if math.isinf(value) else FIRST_SPIKE for value in threshold),
            accuracy=column("correct", samples),
            accuracy_silent_wrong=column("correct_not_silent", samples),
            latency=column("decision_times", samples),
            latency_p95=column("latency_p95"),
            energy=column("energy"),
            silent_fraction=column("silent", samples),
            tie_fraction=column("ties", samples),
        )
