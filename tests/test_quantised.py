from __future__ import annotations

import pytest

from latsearch.quantised import activation_bits, quantised_rival


@pytest.mark.parametrize(("timesteps", "bits"), [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4)])
def test_bits_hold_one_code_more_than_timesteps(timesteps, bits):
    assert activation_bits(timesteps) == bits
    assert 2 ** (bits - 1) < timesteps + 1 <= 2**bits


@pytest.mark.parametrize(("per_synapse", "cheaper"), [(0.1, True), (0.5, None), (1.5, False)])
def test_the_verdict_follows_the_published_limits(per_synapse, cheaper):
    found = quantised_rival(4, operations=per_synapse * 2000, synapses=2000)
    assert found.cheaper is cheaper
    assert found.spikes_per_synapse == pytest.approx(per_synapse)
    assert found.spiking == pytest.approx(per_synapse * 2000 * 0.03e-3)
    assert found.quantised == pytest.approx(2000 * (0.2 * 3 / 8 + 0.03) * 1e-3)
    assert "3-bit" in found.words()


def test_one_timestep_breaks_even_where_arithmetic_does():
    """T = 1 against a 1-bit network: 0.055 pJ a MAC, 0.03 an accumulate."""
    assert quantised_rival(1, 1.0, 1.0).break_even == pytest.approx(0.055 / 0.03)
    at_even = quantised_rival(1, 0.055 / 0.03, 1.0)
    assert at_even.spiking == pytest.approx(at_even.quantised)


def test_a_network_without_synapses_is_refused():
    with pytest.raises(ValueError, match="has synapses"):
        quantised_rival(4, 1.0, 0.0)
