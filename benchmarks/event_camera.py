"""Writes pictures seen by a simulated event camera, in N-MNIST's format.

    python benchmarks/event_camera.py fashion-events
    latsearch run benchmarks/fashion_events.yaml

Geometry and timing are N-MNIST's (Orchard et al. 2015, "Converting static image datasets to
spiking neuromorphic datasets using saccades", Frontiers in Neuroscience 9:437): a camera of 34x34
pixels makes three saccades, after each of which the picture stands elsewhere on the sensor. Its
path is the one that the authors' own code for removing this motion assumes, as tonic 1.7 has it
(`tonic.datasets.nmnist.stabilize`): 105 ms each, at constant speed, by (3.5, 7), (3.5, -7) and
(-7, 0) pixels. In the middle of the path's extent the picture of 28x28 pixels is in the middle of
the sensor.

The pixels are the usual model of an event camera (Rebecq et al. 2018, ESIM; Hu et al. 2021, v2e):
each remembers a log intensity and sends an event whenever the present one differs by its contrast
threshold, brighter (1) or darker (0); times are interpolated between steps of 1 ms. Thresholds
are 0.3 with a standard deviation of 0.03 between pixels, which is what v2e calls mismatch.
Intensity is the picture's grey value, bilinear between pixels, plus a tenth of its range as
background light. There is no noise: add it with latsearch's event corruptions.

These are simulated recordings of real pictures, not N-MNIST; accuracies do not compare with it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latsearch.config import DataConfig
from latsearch.data import Samples, load
from latsearch.data.splitting import stratified

SENSOR, PICTURE = 34, 28
SACCADE_MS = 105
TURNS = np.array([(0.0, 0.0), (3.5, 7.0), (7.0, 0.0), (0.0, 0.0)])  # x, y of the picture
START = (SENSOR - PICTURE) / 2 - 3.5  # both coordinates go up to 7
THRESHOLD, MISMATCH = 0.3, 0.03
BACKGROUND = 0.1
STEP_US = 1000
BATCH = 256

Floats = NDArray[np.float32]
Events = NDArray[np.int64]  # [N, 4]: t in µs, x, y, p


def offset(ms: float) -> tuple[float, float]:
    """Where the picture's corner is on the sensor, (x, y) in pixels."""
    times = SACCADE_MS * np.arange(len(TURNS))
    x, y = (START + float(np.interp(ms, times, TURNS[:, axis])) for axis in (0, 1))
    return x, y


def seen(pictures: Floats, ms: float) -> Floats:
    """Log intensity of every pixel ``[B, 34, 34]`` for the pictures ``[B, 28, 28]`` of 0..1."""
    x, y = offset(ms)
    margin = 2
    column, row = int(np.floor(x)), int(np.floor(y))
    right, down = x - column, y - row
    room = SENSOR - PICTURE
    before, after = (row, column), (room - row, room - column)
    wide = np.pad(
        pictures,
        [(0, 0), *((b + margin, a + margin) for b, a in zip(before, after, strict=True))],
    )

    def shifted(by_rows: int, by_columns: int) -> Floats:
        top, left = margin - by_rows, margin - by_columns
        return wide[:, top : top + SENSOR, left : left + SENSOR]

    intensity = (
        (1 - down) * (1 - right) * shifted(0, 0)
        + (1 - down) * right * shifted(0, 1)
        + down * (1 - right) * shifted(1, 0)
        + down * right * shifted(1, 1)
    )
    return np.log(intensity + BACKGROUND, dtype=np.float32)


def record(pictures: Floats, random: np.random.Generator) -> list[Events]:
    """The events of each picture, in order of time."""
    spread = random.normal(THRESHOLD, MISMATCH, (SENSOR, SENSOR)).clip(0.1)
    threshold = np.broadcast_to(spread.astype(np.float32), (len(pictures), SENSOR, SENSOR))
    now = seen(pictures, 0.0)
    memory = now.copy()
    found: list[Events] = [np.zeros((0, 5), dtype=np.int64)]
    for step in range(3 * SACCADE_MS):
        before, now = now, seen(pictures, step + 1.0)
        crossed = np.trunc((now - memory) / threshold)
        for count in range(1, int(np.abs(crossed).max()) + 1):
            which, y, x = np.nonzero(np.abs(crossed) >= count)
            sign = np.sign(crossed[which, y, x])
            level = memory[which, y, x] + sign * count * threshold[which, y, x]
            old, new = before[which, y, x], now[which, y, x]
            # a level that rounding has put beyond a standing intensity is reached at once
            part = np.divide(level - old, new - old, out=np.zeros_like(old), where=new != old)
            t = ((step + part.clip(0.0, 1.0)) * STEP_US).astype(np.int64)
            found.append(np.stack([which, t, x, y, sign > 0], axis=1))
        memory = memory + crossed * threshold
    events = np.concatenate(found)
    events = events[np.lexsort((events[:, 1], events[:, 0]))]
    ends = np.searchsorted(events[:, 0], np.arange(len(pictures) + 1))
    return [events[a:b, 1:] for a, b in itertools.pairwise(ends)]


def as_nmnist(events: Events) -> bytes:
    """N-MNIST's 5 bytes an event: x, y, then the polarity and 23 bits of time in µs."""
    t, x, y, p = events.T
    rows = np.stack([x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255], axis=1)
    return rows.astype(np.uint8).tobytes()


def write(samples: Samples, folder: Path, random: np.random.Generator) -> Iterator[Events]:
    """Write the recordings of the pictures below ``folder/<label>``; each one's events."""
    for label in np.unique(samples.labels):
        (folder / str(label)).mkdir(parents=True)
    for start in range(0, len(samples), BATCH):
        labels = samples.labels[start : start + BATCH]
        pictures = samples.images[start : start + BATCH, 0].astype(np.float32) / 255
        for index, events in enumerate(record(pictures, random)):
            file = folder / str(labels[index]) / f"{start + index:05d}.bin"
            file.write_bytes(as_nmnist(events))
            yield events


def main() -> None:
    """Write a data set and say what it is like."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to; N-MNIST's Train and Test go below it")
    parser.add_argument("--source", choices=["fashion-mnist", "mnist"], default="fashion-mnist")
    parser.add_argument("--root", help="folder of the pictures [default: the usual places]")
    parser.add_argument("--train", type=int, default=4000, help="training recordings")
    parser.add_argument("--test", type=int, default=1000, help="test recordings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="100 recordings of each part")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.train = arguments.test = 100
    target = arguments.folder / "NMNIST"
    if target.exists():
        parser.error(f"{target} is there already; remove it, or choose another folder")
    config = DataConfig(
        name=arguments.source, root=arguments.root, train_samples=arguments.train, validation=10
    )
    splits = load(config)
    assert splits.test is not None
    test = splits.test.take(stratified(splits.test.labels, arguments.test, (arguments.seed, 1)))
    start = time.perf_counter()
    random = np.random.default_rng(arguments.seed)
    aside = arguments.folder / ".NMNIST.part"
    shutil.rmtree(aside, ignore_errors=True)
    counts, brighter = [], 0
    for part, samples in (("Train", splits.train), ("Test", test)):
        for events in write(samples, aside / part, random):
            counts.append(len(events))
            brighter += int(events[:, 3].sum())
    aside.rename(target)
    figures = {
        "recordings": len(counts),
        "events_a_recording": float(np.mean(counts)),
        "fewest_events": int(np.min(counts)),
        "brighter_fraction": brighter / sum(counts),
        "seconds": time.perf_counter() - start,
    }
    for name, value in figures.items():
        print(f"{name:20} {value:,.4g}")
    print(f"{arguments.source} in three saccades of {SACCADE_MS} ms, in {target}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
