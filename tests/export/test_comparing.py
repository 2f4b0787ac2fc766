"""What counts as a difference, and what float32 explains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latsearch.export.comparing import Tally
from latsearch.export.report import Check
from latsearch.export.traces import TOLERANCE, Reference, Trace
from latsearch.snn.decoding import decide

T, B, K = 3, 4, 2
NEAR, FAR = 0.5 * TOLERANCE, 2 * TOLERANCE


class Case:
    """A network of two layers of five neurons that never spike, and a copy of it."""

    def __init__(self) -> None:
        self.ours = [torch.zeros(T, B, 5, dtype=torch.bool) for _ in range(2)]
        self.theirs = [layer.clone() for layer in self.ours]
        self.distances = [torch.ones(T, B, 5) for _ in range(2)]
        self.potentials = torch.zeros(T, B, K)
        self.potentials[..., 0] = torch.tensor([0.5, 1.5, 2.5])[:, None]
        self.copied = self.potentials.clone()

    def flip(self, layer: int, t: int, sample: int, neuron: int, distance: float) -> None:
        self.theirs[layer][t, sample, neuron] ^= True
        self.distances[layer][t, sample, neuron] = distance

    def check(self, *, counts: bool = False, threshold: float = 1.0) -> Check:
        reference = Reference(
            self.ours, self.potentials, decide(self.potentials, threshold), self.distances
        )
        theirs = [layer.sum(2) if counts else layer for layer in self.theirs]
        trace = Trace(theirs, self.copied, decide(self.copied, threshold))
        tally = Tally(["encoder", "layer1"], threshold, "first_spike")
        tally.add(reference, trace)
        return tally.check("nir", "other 1.0")


@pytest.fixture
def case() -> Case:
    return Case()


def test_equal_traces(case: Case) -> None:
    found = case.check()
    assert found.equal
    assert (found.samples, found.differing, found.near_threshold) == (B, 0, 0)
    assert found.largest_potential_difference == 0


@pytest.mark.parametrize("counts", [False, True])
def test_a_spike_far_from_its_threshold_is_a_difference(case: Case, counts: bool) -> None:
    case.flip(1, 2, 3, 0, FAR)
    found = case.check(counts=counts)
    assert not found.equal
    assert dict(found.spikes) == {"encoder": 0, "layer1": 1}
    assert (found.differing, found.near_threshold) == (1, 0)


@pytest.mark.parametrize("counts", [False, True])
def test_a_spike_near_its_threshold_is_explained(case: Case, counts: bool) -> None:
    case.flip(1, 2, 3, 0, NEAR)
    found = case.check(counts=counts)
    assert found.equal
    assert (found.differing, found.near_threshold, dict(found.spikes)["layer1"]) == (0, 1, 0)


def test_what_follows_an_explained_spike_is_explained(case: Case) -> None:
    case.flip(0, 1, 2, 0, NEAR)
    case.flip(1, 1, 2, 4, 1.0)  # a later layer in the same timestep
    case.flip(0, 2, 2, 3, 1.0)  # and the next timestep
    case.copied[2, 2] = torch.tensor([0.0, 9.0])
    found = case.check()
    assert (found.equal, found.near_threshold) == (True, 1)


def test_what_comes_before_is_not(case: Case) -> None:
    case.flip(0, 1, 2, 0, NEAR)
    case.flip(1, 0, 2, 4, FAR)  # an earlier timestep
    found = case.check()
    assert (found.differing, found.near_threshold) == (1, 0)


def test_a_neuron_of_the_layer_that_is_near_excuses_no_other(case: Case) -> None:
    case.flip(0, 0, 0, 0, FAR)
    case.distances[0][0, 0, 1] = NEAR
    assert not case.check().equal


def test_more_counts_than_near_neurons_are_a_difference(case: Case) -> None:
    case.flip(0, 0, 0, 0, NEAR)
    case.flip(0, 0, 0, 1, FAR)
    assert not case.check(counts=True).equal


def test_another_decision_of_equal_spikes(case: Case) -> None:
    case.copied[:, 1] = torch.tensor([0.0, 9.0])
    found = case.check()
    assert (found.predictions, found.decision_times, found.differing) == (1, 1, 1)


@pytest.mark.parametrize(("gap", "equal"), [(NEAR, True), (1.0, False)])
def test_a_decision_near_the_threshold_is_explained(case: Case, gap: float, equal: bool) -> None:
    case.potentials[0, 1, 0] = 1.0 + gap
    case.copied[0, 1, 0] = 1.0 - gap
    found = case.check()
    assert found.equal is equal
    assert found.near_threshold + found.differing == 1


def test_a_tie_within_rounding_is_explained(case: Case) -> None:
    case.potentials[1, 0] = torch.tensor([1.5, 1.5 - NEAR])
    case.copied[1, 0] = torch.tensor([1.5 - NEAR, 1.5])
    found = case.check()
    assert (found.equal, found.near_threshold) == (True, 1)


def test_the_gap_is_that_of_equal_samples(case: Case) -> None:
    case.copied[2, 0, 1] = 0.25
    case.copied[2, 1] = torch.tensor([-9.0, 0.0])
    case.flip(0, 0, 1, 0, FAR)
    assert case.check().largest_potential_difference == pytest.approx(0.25)


def test_batches_add_up(case: Case) -> None:
    case.flip(1, 2, 3, 0, FAR)
    reference = Reference(
        case.ours, case.potentials, decide(case.potentials, np.inf), case.distances
    )
    trace = Trace(case.theirs, case.copied, decide(case.copied, np.inf))
    tally = Tally(["encoder", "layer1"], np.inf, "first_spike")
    for _ in range(3):
        tally.add(reference, trace)
    found = tally.check("nir", "other")
    assert (found.samples, found.differing, found.spikes["layer1"]) == (3 * B, 3, 3)
