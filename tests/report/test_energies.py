"""Energies under other profiles against the counts that they stand for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latsearch.config import PROFILES
from latsearch.config.energy import EnergyProfile
from latsearch.objectives import DecisionCurve, EpochReport
from latsearch.report.energies import energies, repriced, stored_energy
from latsearch.search.results import operating_points
from latsearch.search.trials import TrialRecord, TrialState

FP32 = PROFILES["horowitz-45nm-fp32"]


def energy(macs: float, accumulates: float, updates: float, profile: EnergyProfile) -> float:
    """In nJ."""
    return (macs * profile.mac + accumulates * profile.ac + updates * profile.neuron) / 1000


def record(share: float) -> TrialRecord:
    """A trial of 1,000 MACs that decides after 2,000 operations, or at T after 5,000."""
    at = np.array([energy(1000, 1800, 200, FP32), energy(1000, 4600, 400, FP32)])
    flat = np.array([0.5, 0.6])
    curve = DecisionCurve(
        np.array([0.5, math.inf]), ("first_spike", "readout"), flat, flat, np.array([1.0, 2.0]),
        flat, at, flat * 0, flat * 0,
    )  # fmt: skip
    updates = energy(0, 0, 400, FP32) / float(at[1])
    shares = {"energy_share_encoder": share, "energy_share_neurons": updates}
    report = EpochReport(1, curve, shares, 1.0)
    return TrialRecord(0, TrialState.COMPLETE, {}, {1: report.to_json()})


SHARE = energy(1000, 0, 0, FP32) / energy(1000, 4600, 400, FP32)
counts = st.floats(0, 1e9)


FOLLOWING = [
    name for name, profile in PROFILES.items() if not profile.sram and not profile.pooled_mac
]


@given(counts, counts, counts, st.sampled_from(FOLLOWING), st.sampled_from(FOLLOWING))
def test_counts_at_other_prices(macs: float, acs: float, updates: float, a: str, b: str) -> None:
    one, other = PROFILES[a], PROFILES[b]
    whole, encoder, neurons = (
        energy(*parts, one) for parts in ((macs, acs, updates), (macs, 0, 0), (0, 0, updates))
    )
    found = repriced(whole, encoder, neurons, one, other)
    if one.neuron == 0 and other.neuron > 0:
        assert found is None
        return
    assert found == pytest.approx(energy(macs, acs, updates, other), rel=1e-6, abs=1e-6)


def test_other_conventions_do_not_follow() -> None:
    for name in PROFILES.keys() - set(FOLLOWING):
        assert repriced(10.0, 1.0, 1.0, FP32, PROFILES[name]) is None
        assert repriced(10.0, 1.0, 1.0, PROFILES[name], FP32) is None


def test_the_encoder_by_its_share_at_the_last_timestep() -> None:
    found = stored_energy(record(SHARE), "encoder")
    assert found == pytest.approx(energy(1000, 0, 0, FP32), rel=1e-5)
    assert stored_energy(record(math.nan), "encoder") is None
    assert stored_energy(TrialRecord(0, TrialState.FAILED, {}), "encoder") is None


def test_a_point_under_every_profile() -> None:
    first = operating_points([record(SHARE)], ("latency", "energy"), {})[0]
    found = energies(first, record(SHARE), FP32)
    wanted = {name: energy(1000, 1800, 200, PROFILES[name]) for name in FOLLOWING}
    assert {name: found[name] for name in FOLLOWING} == pytest.approx(wanted, rel=1e-5)
    assert {name for name, figure in found.items() if figure is None} == PROFILES.keys() - set(
        FOLLOWING
    )


def test_what_is_not_stored_is_not_invented() -> None:
    first = operating_points([record(math.nan)], ("latency", "energy"), {})[0]
    found = energies(first, record(math.nan), FP32)
    assert {name for name, figure in found.items() if figure is not None} == {FP32.name}
