from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latsearch.config.trial import NetworkConfig
from latsearch.snn.encoding import (
    LatencyEncoder,
    RateEncoder,
    build_encoder,
    latency_spikes,
    levels,
)
from latsearch.snn.encoding.encoders import CODE_SCALE, CODE_SHIFT
from latsearch.snn.encoding.rate import rate_spikes
from latsearch.snn.families import Conv
from latsearch.snn.layout import is_channels_last
from tests.snn import reference

strengths = hnp.arrays(np.float64, (2, 5), elements=st.floats(-2, 3))
steps = st.integers(1, 8)


def spike_time(spikes: torch.Tensor) -> torch.Tensor:
    """The timestep of each neuron's spike; inf for none."""
    timesteps = len(spikes)
    time = torch.arange(1, timesteps + 1).view(-1, *[1] * (spikes.ndim - 1)).expand_as(spikes)
    return torch.where(spikes > 0, time.double(), math.inf).min(0).values


def test_spike_times_of_known_strengths():
    z = torch.tensor([[1.5, 0.75, 0.74, 0.5, 0.25, 0.01, 0.0, -1.0]])
    time = spike_time(latency_spikes(z, 4, 1.0))[0]
    assert time.tolist() == [1, 2, 2, 3, 4, 4, math.inf, math.inf]


def test_one_timestep_still_carries_a_bit():
    z = torch.tensor([[-0.5, 0.0, 0.5]], requires_grad=True)
    spikes = latency_spikes(z, 1, 1.0)
    assert spikes[0, 0].tolist() == [0, 0, 1]
    spikes.sum().backward()
    assert z.grad.tolist() == [[0.5, 1.0, 0.5]]


@given(strengths, steps, st.floats(0.1, 3), st.sampled_from(["linear", "log"]))
def test_equals_the_plain_loop(z, timesteps, width, spacing):
    torch.manual_seed(0)
    fast = torch.from_numpy(z).requires_grad_()
    slow = torch.from_numpy(z).requires_grad_()
    got = latency_spikes(fast, timesteps, width, spacing)
    expected = reference.latency_spikes(slow, timesteps, width, spacing)
    assert torch.equal(got, expected)
    grad = torch.randn_like(got)
    got.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-12, atol=1e-12)


@given(strengths, steps)
def test_at_most_one_spike(z, timesteps):
    spikes = latency_spikes(torch.from_numpy(z), timesteps, 1.0)
    assert ((spikes == 0) | (spikes == 1)).all()
    assert (spikes.sum(0) <= 1).all()


@given(strengths, strengths, steps)
def test_stronger_is_never_later(a, b, timesteps):
    weak, strong = np.minimum(a, b), np.maximum(a, b)
    early = spike_time(latency_spikes(torch.from_numpy(strong), timesteps, 1.0))
    late = spike_time(latency_spikes(torch.from_numpy(weak), timesteps, 1.0))
    assert (early <= late).all()


def test_keeps_the_memory_format_and_its_input():
    z = torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last)
    before = z.clone()
    spikes = latency_spikes(z, 3, 1.0)
    assert is_channels_last(spikes.flatten(0, 1))
    assert torch.equal(spikes, latency_spikes(z.contiguous(), 3, 1.0))
    assert torch.equal(z, before)


def test_gradient_is_the_same_in_both_memory_formats():
    z = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    grad = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        x = z.to(memory_format=layout, copy=True).requires_grad_()
        latency_spikes(x, 2, 0.7).backward(grad)
        results.append(x.grad)
    assert torch.equal(*results)


@pytest.mark.parametrize("timesteps", [1, 2, 4])
def test_every_code_occurs_in_a_fresh_encoder(timesteps):
    torch.manual_seed(0)
    encoder = LatencyEncoder((1, 8, 8), Conv(8), timesteps, NetworkConfig())
    images = torch.randn(16, 1, 8, 8)
    z = encoder.strength(images)
    assert z.mean().item() == pytest.approx(CODE_SHIFT, abs=1e-3)
    assert z.std().item() == pytest.approx(CODE_SCALE, rel=1e-2)
    time = spike_time(encoder(images))
    assert set(time.unique().tolist()) == {*range(1, timesteps + 1), math.inf}


def test_a_strided_encoder_keeps_its_parameters_few():
    encoder = LatencyEncoder((3, 9, 9), Conv(8, 5, 2), 2, NetworkConfig())
    assert encoder(torch.randn(2, 3, 9, 9)).shape == (2, 2, 8, 5, 5)
    assert sum(p.numel() for p in encoder.parameters()) == 8 * 3 * 25 + 8 + 8


@pytest.mark.parametrize("spacing", ["linear", "log"])
@given(timesteps=st.integers(1, 64))
def test_levels_fall_from_below_one_to_zero(spacing, timesteps):
    level = levels(
        timesteps, device=torch.device("cpu"), dtype=torch.float64, spacing=spacing
    ).tolist()
    assert level[-1] == 0
    assert level[0] < 1
    assert level == sorted(set(level), reverse=True)


def test_log_levels_halve():
    level = levels(3, device=torch.device("cpu"), dtype=torch.float64, spacing="log")
    assert level.tolist() == pytest.approx([3 / 7, 1 / 7, 0])


def test_a_rate_is_the_mean_of_its_spikes():
    z = torch.tensor([[-0.2, 0.0, 0.3, 0.8, 1.0, 1.7]])
    torch.manual_seed(0)
    spikes = rate_spikes(z, torch.rand(4000, 1, 6))
    assert spikes.mean((0, 1)).tolist() == pytest.approx([0, 0, 0.3, 0.8, 1, 1], abs=0.03)


def test_a_rates_gradient_is_straight_through():
    z = torch.tensor([[-0.5, 0.5, 1.5]], requires_grad=True)
    rate_spikes(z, torch.rand(3, 1, 3)).backward(
        torch.tensor([[[1.0]], [[2.0]], [[4.0]]]).expand(3, 1, 3)
    )
    assert z.grad.tolist() == [[0, 7, 0]]


def test_rate_coded_predictions_do_not_depend_on_the_batch():
    encoder = RateEncoder((1, 8, 8), Conv(4), 5, NetworkConfig()).eval()
    images = torch.randn(6, 1, 8, 8)
    whole = encoder(images)
    assert torch.equal(whole[:, 2:3], encoder(images[2:3]))
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(encoder.train()(images), encoder(images))


def test_frames_are_taken_as_they_are():
    config = NetworkConfig(encoder="frames", synapse="delta", neuron="lif", tau_mem=1.0)
    encoder = build_encoder((2, 6, 6), Conv(3), 4, config).eval()
    frames = torch.randint(0, 3, (5, 4, 2, 6, 6)).float()
    spikes = encoder(frames)
    assert spikes.shape == (4, 5, 3, 6, 6)
    for t in range(4):  # without memory a frame's spikes are its own
        alone = build_encoder((2, 6, 6), Conv(3), 1, config).eval()
        alone.load_state_dict(encoder.state_dict())
        assert torch.equal(spikes[t], alone(frames[:, t : t + 1])[0])


def test_direct_coding_repeats_the_same_current():
    config = NetworkConfig(encoder="direct", reset="soft")
    encoder = build_encoder((1, 6, 6), Conv(3), 3, config).eval()
    images = torch.randn(4, 1, 6, 6)
    current, v, expected = encoder.strength(images), torch.zeros(4, 3, 6, 6), []
    for _ in range(3):
        v = v + current
        expected.append((v > 1).float())
        v = v - expected[-1]
    assert torch.equal(encoder(images), torch.stack(expected))
