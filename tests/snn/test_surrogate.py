from __future__ import annotations

import pytest
import torch

from latsearch.snn.surrogate import SURROGATES
from tests.snn.reference import DERIVATIVES


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
def test_unit_area_and_peak(name, width):
    x = torch.linspace(-3000 * width, 3000 * width, 6_000_001, dtype=torch.float64)
    before = x.clone()
    slope = SURROGATES[name](x, width)
    assert torch.equal(x, before)
    assert torch.trapezoid(slope, x).item() == pytest.approx(1.0, abs=1e-3)
    assert slope.max().item() == pytest.approx(1 / width)
    torch.testing.assert_close(slope, slope.flip(0))


@pytest.mark.parametrize("name", SURROGATES)
def test_formula(name):
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(SURROGATES[name](x, 1.7), DERIVATIVES[name](x, 1.7))


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_spent_neuron_has_no_slope(name, dtype):
    spent = torch.tensor([-1e30, -6.4e31], dtype=dtype)
    assert (SURROGATES[name](spent, 1.0) == 0).all()
