"""What goes wrong with an event camera, at five severities: lost, added and late events.

The constants are ours: no published benchmark of corrupted event sets has constants that are in
general use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from latsearch.data.events.binning import Events, Sensor

SEVERITIES = 5
DROPPED = (0.1, 0.25, 0.5, 0.7, 0.9)
"""``drop``: share of the events that never arrive, each with the same probability."""
NOISE_HZ = (0.5, 1.0, 2.0, 5.0, 10.0)
"""``noise``: rate of the background events of each pixel and polarity."""
JITTER_MS = (2.0, 5.0, 10.0, 20.0, 50.0)
"""``jitter``: standard deviation of the normal error of each event's time."""

_US_PER_MS = 1000.0
_S_PER_US = 1e-6


def drop(
    events: Events, sensor: Sensor, duration: int, severity: int, random: np.random.Generator
) -> Events:
    """Each event is lost with the probability `DROPPED`."""
    return events.take(random.random(len(events)) >= DROPPED[severity - 1])


def noise(
    events: Events, sensor: Sensor, duration: int, severity: int, random: np.random.Generator
) -> Events:
    """Background events at the rate `NOISE_HZ`, a Poisson process in each pixel and polarity."""
    pixels = sensor.width * sensor.height * sensor.polarities
    count = random.poisson(NOISE_HZ[severity - 1] * pixels * duration * _S_PER_US)
    return Events(
        np.concatenate([events.t, random.integers(0, duration, count)]),
        np.concatenate([events.x, random.integers(0, sensor.width, count)]),
        np.concatenate([events.y, random.integers(0, sensor.height, count)]),
        np.concatenate([events.p, random.integers(0, sensor.polarities, count)]),
    )


def jitter(
    events: Events, sensor: Sensor, duration: int, severity: int, random: np.random.Generator
) -> Events:
    """Each event's time is wrong by `JITTER_MS`; none comes before the start of the recording."""
    error = random.normal(0.0, JITTER_MS[severity - 1] * _US_PER_MS, len(events))
    t = np.maximum(events.t + np.rint(error).astype(np.int64), 0)
    return Events(t, events.x, events.y, events.p)


Corruption = Callable[[Events, Sensor, int, int, np.random.Generator], Events]

EVENT_CORRUPTIONS: Mapping[str, Corruption] = {"drop": drop, "noise": noise, "jitter": jitter}


def corrupt(
    events: Events,
    sensor: Sensor,
    duration: int,
    *,
    corruption: str,
    severity: int,
    seed: tuple[int, ...],
) -> Events:
    """The events of a recording, corrupted.

    Args:
        events: of one recording; not changed.
        sensor: where they come from.
        duration: of the recording that is seen, in µs.
        corruption: a key of `EVENT_CORRUPTIONS`.
        severity: 1, the mildest, to 5.
        seed: of this recording's accidents.

    Raises:
        ValueError: there is no such corruption or severity.
    """
    if corruption not in EVENT_CORRUPTIONS:
        raise ValueError(f"{corruption} is none of {', '.join(EVENT_CORRUPTIONS)}")
    if not 1 <= severity <= SEVERITIES:
        raise ValueError(f"severity {severity} is not within 1..{SEVERITIES}")
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    return EVENT_CORRUPTIONS[corruption](events, sensor, duration, severity, random)
