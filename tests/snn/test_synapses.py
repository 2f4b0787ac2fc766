from __future__ import annotations

import pytest
import torch

from latsearch.snn.synapses import leaky_sum, synapse_keep
from tests.snn import reference


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("timesteps", [1, 2, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_the_plain_loop(keep, timesteps, layout):
    torch.manual_seed(0)
    values = torch.randn(timesteps * 3, 4, 2, 5, dtype=torch.float64)
    fast = values.to(memory_format=layout, copy=True).requires_grad_()
    slow = values.clone().requires_grad_()
    got = leaky_sum(fast, timesteps, keep)
    expected = reference.leaky_sum(slow.view(timesteps, 3, 4, 2, 5), keep).flatten(0, 1)
    grad = torch.randn_like(values)
    got.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-12, atol=1e-12)


def test_step_synapses_count_early_spikes_more():
    spikes = torch.eye(4)  # neuron i spikes at timestep i + 1
    assert leaky_sum(spikes, 4, synapse_keep("step", 2.0)).sum(0).tolist() == [4, 3, 2, 1]
    assert leaky_sum(spikes, 4, synapse_keep("delta", 2.0)).sum(0).tolist() == [1, 1, 1, 1]
    assert leaky_sum(spikes, 4, synapse_keep("exp", 2.0))[:, 0].tolist() == [1, 0.5, 0.25, 0.125]
