from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latsearch.snn.encoding import latency_spikes
from latsearch.snn.meaning import (
    at_latency,
    earliest_correct_point,
    fixed_time_points,
    reversed_times,
    shuffled_times,
)

# T = 2, three samples, two classes; the labels are 0, 0, 1
POTENTIALS = np.array([[[1.0, 0], [0, 1], [1, 0]], [[1, 0], [1, 0], [1, 0]]])
LABELS = np.array([0, 0, 1])
ENERGY = np.array([[1.0, 2, 3], [4, 6, 8]])


def test_deciding_at_a_fixed_time():
    first, second = fixed_time_points(POTENTIALS, LABELS, ENERGY)
    assert first == {"accuracy": pytest.approx(1 / 3), "latency": 1, "energy": 2}
    assert second == {"accuracy": pytest.approx(2 / 3), "latency": 2, "energy": 6}


def test_the_oracle_decides_when_it_is_right_for_the_first_time():
    assert earliest_correct_point(POTENTIALS, LABELS, ENERGY) == {
        "accuracy": pytest.approx(2 / 3),
        "latency": pytest.approx((1 + 2 + 2) / 3),
        "energy": pytest.approx((1 + 6 + 8) / 3),
    }


def test_between_two_fixed_times_lies_deciding_at_random():
    rows = fixed_time_points(POTENTIALS, LABELS, ENERGY)
    assert at_latency(rows, 1.5) == pytest.approx(0.5)
    assert at_latency(rows, 0.5) == pytest.approx(1 / 3)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_shuffled_times_keep_who_spikes_and_how_many_do_when(timesteps, seed):
    torch.manual_seed(seed)
    spikes = latency_spikes(torch.rand(3, 2, 5, 5) * 1.4 - 0.2, timesteps, 1.0)
    shuffled = shuffled_times(spikes, torch.Generator().manual_seed(seed))
    assert torch.equal(shuffled.sum(0), spikes.sum(0))
    assert torch.equal(shuffled.flatten(2).sum(2), spikes.flatten(2).sum(2))


def test_times_are_really_shuffled_and_reversed():
    spikes = latency_spikes(torch.rand(2, 40), 4, 1.0)
    shuffled = shuffled_times(spikes, torch.Generator().manual_seed(0))
    assert not torch.equal(shuffled, spikes)
    backwards = reversed_times(spikes)
    assert torch.equal(backwards[0], spikes[3])
    assert torch.equal(backwards.sum(0), spikes.sum(0))
