from __future__ import annotations

import pytest

from latsearch.config.energy import PROFILES, LayerMemory, Prices

KB = 1024


@pytest.mark.parametrize(
    ("size", "price"),
    [
        (4, 10.0),
        (8 * KB, 10.0),
        (20 * KB, 15.0),
        (32 * KB, 20.0),
        (528 * KB, 60.0),
        (1024 * KB, 100.0),
        (10**9, 100.0),
    ],
)
def test_an_access_costs_by_the_size_of_its_memory(size, price):
    assert PROFILES["memory-45nm-fp32"].access(size) == pytest.approx(price)


def test_memory_prices_add_to_arithmetic():
    memory = LayerMemory(weights=32 * KB, potentials=8 * KB, inputs=20 * KB)
    assert PROFILES["memory-45nm-fp32"].prices(memory) == Prices(
        mac=4.6 + 20 + 2 * 10 + 15, ac=0.9 + 20 + 2 * 10, neuron=0.9 + 2 * 10
    )
    assert PROFILES["horowitz-45nm-fp32"].prices(memory) == Prices(4.6, 0.9, 0.9)


@pytest.mark.parametrize(("name", "price"), [("loihi", 23.6), ("spinnaker2", 10), ("seneca", 2.8)])
def test_chips_price_synaptic_operations_and_leave_the_stem_to_the_host(name, price):
    profile = PROFILES[name]
    assert (profile.ac, profile.neuron, profile.mac) == (price, 0.0, 4.6)
    assert profile.host_mac
    assert "PMC10326429" in profile.source
