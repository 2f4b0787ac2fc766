"""Event corruptions do what they say, the same every time, and leave their input alone."""

from __future__ import annotations

import numpy as np
import pytest

from latsearch.data.events import EVENT_CORRUPTIONS, SEVERITIES, Events, Sensor
from latsearch.data.events.corruptions import DROPPED, JITTER_MS, NOISE_HZ, corrupt
from tests.data.events.formats import events

SENSOR = Sensor(34, 34)
DURATION = 300_000
MANY = 20_000


def recording(seed: int = 0, count: int = MANY) -> Events:
    found = Events(*events(seed, count, end=DURATION).T)
    for column in (found.t, found.x, found.y, found.p):
        column.flags.writeable = False
    return found


def corrupted(name: str, severity: int, seed: int = 0) -> Events:
    return corrupt(
        recording(), SENSOR, DURATION, corruption=name, severity=severity, seed=(seed, severity)
    )


@pytest.mark.parametrize("severity", range(1, SEVERITIES + 1))
def test_drop_loses_its_share(severity: int) -> None:
    lost = 1 - len(corrupted("drop", severity)) / MANY
    share = DROPPED[severity - 1]
    assert abs(lost - share) < 5 * np.sqrt(share * (1 - share) / MANY)


@pytest.mark.parametrize("severity", range(1, SEVERITIES + 1))
def test_noise_adds_events_at_its_rate_and_keeps_the_true_ones(severity: int) -> None:
    noisy, clean = corrupted("noise", severity), recording()
    added = len(noisy) - MANY
    expected = NOISE_HZ[severity - 1] * 34 * 34 * 2 * DURATION / 1e6
    assert abs(added - expected) < 5 * np.sqrt(expected)
    assert (noisy.t[:MANY] == clean.t).all()
    assert noisy.t[MANY:].min() >= 0
    assert noisy.t[MANY:].max() < DURATION
    assert set(noisy.p[MANY:].tolist()) == {0, 1}


@pytest.mark.parametrize("severity", range(1, SEVERITIES + 1))
def test_jitter_moves_times_alone(severity: int) -> None:
    late, clean = corrupted("jitter", severity), recording()
    inner = clean.t > 250_000  # no start of the recording within reach
    spread = (late.t - clean.t)[inner].std() / 1000
    assert spread == pytest.approx(JITTER_MS[severity - 1], rel=0.06)
    assert late.t.min() >= 0
    assert (late.x == clean.x).all()


@pytest.mark.parametrize("name", EVENT_CORRUPTIONS)
def test_a_seed_gives_the_same_accidents(name: str) -> None:
    one, again, other = corrupted(name, 3), corrupted(name, 3), corrupted(name, 3, seed=1)
    assert np.array_equal(one.t, again.t)
    assert not np.array_equal(one.t, other.t)


@pytest.mark.parametrize(("name", "severity"), [("fog", 1), ("drop", 0), ("drop", 6)])
def test_what_is_not_there_is_refused(name: str, severity: int) -> None:
    with pytest.raises(ValueError, match=r"is none of|is not within"):
        corrupted(name, severity)
