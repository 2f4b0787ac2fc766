"""What every sampler must do, and that TPE learns."""

from __future__ import annotations

import numpy as np
import pytest

from latsearch.config import Space
from latsearch.search.sampler import Observation, OptunaSampler, observe
from tests.search import studies

SPACE: Space = studies.config().space
OBJECTIVES = ("accuracy", "latency", "energy")


@pytest.fixture(params=["tpe", "random"])
def sampler(request: pytest.FixtureRequest) -> OptunaSampler:
    return OptunaSampler(SPACE, 3, request.param, seed=5)


def history(count: int) -> list[Observation]:
    """A past with every kind of trial in it."""
    source = OptunaSampler(SPACE, 3, "random", seed=99)
    seen = []
    for number in range(count):
        values = source.propose([], number)
        kind = number % 5
        if kind == 3:
            seen.append(Observation(values, None))  # running
        elif kind == 4:
            seen.append(observe(values, None, OBJECTIVES, {}))  # failed
        else:
            curve = studies.made_up_curve(values, 3)
            limits = studies.config().constraints if kind else {}
            seen.append(observe(values, curve, OBJECTIVES, limits))
    return seen


@pytest.mark.parametrize("count", [0, 1, 9, 40])
def test_proposals_are_in_the_space(sampler: OptunaSampler, count: int) -> None:
    values = sampler.propose(history(count), count)
    assert 1 <= int(values["network.timesteps"]) <= 4
    assert 1e-4 <= float(values["train.lr"]) <= 1e-1
    assert ("network.hidden" in values) == (values["network.family"] == "mlp")
    SPACE.trial(values)


def test_proposals_depend_on_history_number_and_seed_alone(sampler: OptunaSampler) -> None:
    past = history(20)
    first = sampler.propose(past, 20)
    sampler.propose(past[:7], 7)
    assert sampler.propose(past, 20) == first
    assert sampler.propose(past, 21) != first


def test_history_is_not_changed(sampler: OptunaSampler) -> None:
    past = history(20)
    copies = [None if seen.losses is None else seen.losses.copy() for seen in past]
    sampler.propose(past, 20)
    for seen, copy in zip(past, copies, strict=True):
        assert (seen.losses is None) == (copy is None)
        if copy is not None:
            assert np.array_equal(seen.losses, copy)


def test_infeasible_curves_are_observed_by_their_least_violating_row() -> None:
    limits = studies.parse_study(
        studies.CONFIG.replace("{silent_fraction: {max: 0.1}}", "{latency: {max: 0.5}}")
    ).constraints
    seen = observe({}, studies.curve(latency=2.0), OBJECTIVES, limits)
    assert seen.losses is not None
    assert seen.losses.shape == (1, 3)
    assert seen.violation == pytest.approx(2.0 * 0.8 - 0.5)


def test_tpe_finds_the_better_learning_rates() -> None:
    """The made-up trainings are best at lr = 0.01; uniform draws are a decade off in the mean."""
    sampler = OptunaSampler(SPACE, 3, "tpe", seed=1)
    past: list[Observation] = []
    for number in range(40):
        values = sampler.propose(past, number)
        past.append(observe(values, studies.made_up_curve(values, 3), OBJECTIVES, {}))
    decades = [abs(np.log10(float(seen.values["train.lr"])) + 2) for seen in past]
    assert np.mean(decades[20:]) < 0.6 * np.mean(decades[:10])
