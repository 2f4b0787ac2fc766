from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latsearch.snn import kernels
from latsearch.snn.layout import is_channels_last
from latsearch.snn.neurons import FiringRule, SpikingNeuron, fire
from tests.snn import reference

SWITCHES = list(
    itertools.product(
        [0.0, 0.5, 1.0],
        [False, True],
        [False, True],
        ["triangle", "rectangle", "sigmoid", "arctan"],
    )
)


def run_reference(current: torch.Tensor, rule: FiringRule) -> torch.Tensor:
    return reference.fire(
        current,
        keep=rule.keep,
        firing_threshold=rule.firing_threshold,
        soft_reset=rule.soft_reset,
        strict=rule.strict,
        surrogate=rule.surrogate,
        surrogate_width=rule.surrogate_width,
    )


@pytest.mark.parametrize(("keep", "soft_reset", "strict", "surrogate"), SWITCHES)
@pytest.mark.parametrize("timesteps", [1, 2, 5])
def test_equals_the_plain_loop(keep, soft_reset, strict, surrogate, timesteps):
    rule = FiringRule(
        keep=keep,
        firing_threshold=0.8,
        soft_reset=soft_reset,
        strict=strict,
        surrogate=surrogate,
        surrogate_width=1.3,
    )
    torch.manual_seed(0)
    values = torch.randn(timesteps, 7, 11, dtype=torch.float64)
    fast, slow = values.clone().requires_grad_(), values.clone().requires_grad_()
    got = fire(fast.flatten(0, 1), timesteps, rule).view_as(fast)
    expected = run_reference(slow, rule)
    assert torch.equal(got, expected)
    grad = torch.randn_like(values)
    got.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("soft_reset", "strict"), list(itertools.product([False, True], repeat=2)))
def test_a_learned_leak_has_the_plain_loops_gradient(soft_reset, strict):
    rule = FiringRule(keep=0.7, soft_reset=soft_reset, strict=strict, surrogate="arctan")
    torch.manual_seed(0)
    values, grad = torch.randn(5, 7, 11, dtype=torch.float64), torch.randn(5, 7, 11).double()
    grads = []
    for run in ("fast", "slow"):
        keep = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        x = values.clone().requires_grad_()
        if run == "fast":
            spikes = fire(x.flatten(0, 1), 5, rule, keep=keep).view_as(x)
        else:
            spikes = run_reference(x, dataclasses.replace(rule, keep=keep))
        spikes.backward(grad)
        grads.append((spikes.detach(), x.grad, keep.grad))
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-12)


def test_a_learned_leak_starts_at_the_rules():
    neuron = SpikingNeuron(4, FiringRule(keep=0.5), learn_keep=True)
    assert neuron.keep().item() == pytest.approx(0.5)
    current = torch.randn(8, 3)
    assert torch.equal(neuron(current), fire(current, 4, FiringRule(keep=neuron.keep().item())))


def test_a_known_train_of_spikes():
    current = torch.full((6, 1), 0.5)
    rule = FiringRule(firing_threshold=0.9)
    assert fire(current, 6, rule).flatten().tolist() == [0, 1, 0, 1, 0, 1]
    soft = FiringRule(firing_threshold=0.9, soft_reset=True)  # h: .5 1. .6 1.1 .7 1.2
    assert fire(current, 6, soft).flatten().tolist() == [0, 1, 0, 1, 0, 1]
    strict = FiringRule(firing_threshold=0.9, strict=True)
    assert fire(current, 6, strict).flatten().tolist() == [0, 1, 0, 0, 0, 0]


def test_the_firing_threshold_itself_is_not_enough():
    assert fire(torch.tensor([[1.0]]), 1, FiringRule()).item() == 0


@given(
    hnp.arrays(np.float64, (6, 4), elements=st.floats(-5, 5)),
    st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    st.booleans(),
)
def test_strict_spikes_once_where_relaxed_spikes_first(current, keep, soft_reset):
    x = torch.from_numpy(current)
    relaxed = fire(x, 6, FiringRule(keep=keep, soft_reset=soft_reset))
    strict = fire(x, 6, FiringRule(keep=keep, soft_reset=soft_reset, strict=True))
    assert torch.equal(strict, relaxed * (relaxed.cumsum(0) == 1))


def test_strict_survives_the_largest_currents():
    current = torch.full((64, 3), 1e6)
    spikes = fire(current, 64, FiringRule(strict=True))
    assert spikes.sum(0).tolist() == [1, 1, 1]


@pytest.mark.parametrize("shape", [(6, 5), (6, 2, 3, 4)])
def test_scaling_current_and_firing_threshold_together_changes_nothing(shape):
    current = torch.randn(*shape, dtype=torch.float64)
    for strict, soft in itertools.product([False, True], [False, True]):
        grads = []
        for scale in (1.0, 4.0):  # a power of two scales without rounding
            x = current.clone().requires_grad_()
            rule = FiringRule(firing_threshold=scale, strict=strict, soft_reset=soft, keep=0.5)
            spikes = fire(x * scale, 3, rule)
            spikes.sum().backward()
            grads.append((spikes, x.grad))
        assert torch.equal(grads[0][0], grads[1][0])
        torch.testing.assert_close(grads[0][1], grads[1][1], rtol=1e-12, atol=1e-12)


def test_memory_formats_agree():
    current = torch.randn(8, 3, 4, 5)
    grad = torch.randn(8, 3, 4, 5)
    outcome = []
    for layout in (torch.contiguous_format, torch.channels_last):
        x = current.to(memory_format=layout, copy=True).requires_grad_()
        spikes = SpikingNeuron(4, FiringRule(keep=0.5))(x)
        spikes.backward(grad)
        outcome.append((spikes, x.grad))
        assert is_channels_last(spikes) == (layout is torch.channels_last)
    assert torch.equal(outcome[0][0], outcome[1][0])
    assert torch.equal(outcome[0][1], outcome[1][1])


def test_a_layer_without_a_compiler_stays_eager(monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: broken)
    kernels._compiled.cache_clear()
    try:
        current = torch.randn(4, 3)
        rule = FiringRule()
        assert torch.equal(fire(current, 2, rule, compiled=True), fire(current, 2, rule))
        assert "no C++ compiler" in caplog.text
    finally:
        kernels._compiled.cache_clear()


@pytest.mark.slow
def test_compiled_kernels_equal_eager_ones():
    torch.manual_seed(0)
    for strict, soft, timesteps in ((False, False, 3), (True, True, 2)):
        rule = FiringRule(keep=0.5, strict=strict, soft_reset=soft, surrogate="arctan")
        current, grad = torch.randn(timesteps * 4, 9), torch.randn(timesteps * 4, 9)
        outcome = []
        for compiled in (False, True):
            x = current.clone().requires_grad_()
            spikes = fire(x, timesteps, rule, compiled=compiled)
            spikes.backward(grad)
            outcome.append((spikes, x.grad))
        torch.testing.assert_close(outcome[0], outcome[1])
