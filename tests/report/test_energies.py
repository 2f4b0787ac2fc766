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
from latsearch.report.energies import encoder_energy, energies, repriced
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
        np.array([0.5, math.inf]), ("first_spike", "readout"), flat, flat, flat, flat, at,
        flat * 0, flat * 0,
    )  # fmt: skip
    report = EpochReport(1, curve, {"energy_share_encoder": share}, 1.0)
    return TrialRecord(0, TrialState.COMPLETE, {}, {1: report.to_json()})


SHARE = energy(1000, 0, 0, FP32) / energy(1000, 4600, 400, FP32)
counts = st.floats(0, 1e9)


@given(counts, counts, counts, st.sampled_from(list(PROFILES)), st.sampled_from(list(PROFILES)))
def test_counts_at_other_prices(macs: float, acs: float, updates: float, a: str, b: str) -> None:
    one, other = PROFILES[a], PROFILES[b]
    found = repriced(energy(macs, acs, updates, one), energy(macs, 0, 0, one), one, other)
    assert found == pytest.approx(energy(macs, acs, updates, other), rel=1e-6, abs=1e-9)


def test_a_profile_that_prices_updates_otherwise_does_not_follow() -> None:
    dear = EnergyProfile("dear", 4.6, 0.9, 9.0, "made up")
    assert repriced(10.0, 1.0, FP32, dear) is None


def test_the_encoder_by_its_share_at_the_last_timestep() -> None:
    assert encoder_energy(record(SHARE)) == pytest.approx(energy(1000, 0, 0, FP32), rel=1e-5)
    assert encoder_energy(record(math.nan)) is None
    assert encoder_energy(TrialRecord(0, TrialState.FAILED, {})) is None


def test_a_point_under_every_profile() -> None:
    first = operating_points([record(SHARE)], ("latency", "energy"), {})[0]
    found = energies(first, record(SHARE), FP32)
    wanted = {name: energy(1000, 1800, 200, profile) for name, profile in PROFILES.items()}
    assert found == pytest.approx(wanted, rel=1e-5)


def test_what_is_not_stored_is_not_invented() -> None:
    first = operating_points([record(math.nan)], ("latency", "energy"), {})[0]
    found = energies(first, record(math.nan), FP32)
    assert {name for name, figure in found.items() if figure is not None} == {FP32.name}
