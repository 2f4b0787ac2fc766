"""What every sampler must do, and that those with a model learn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial

from latsearch.config import Bound, Space, parse_study
from latsearch.search.models import MODELS
from latsearch.search.observations import Observation, best_and_newest, observe
from latsearch.search.points import identity
from latsearch.search.sampler import OptunaSampler
from tests.search import studies

SPACE: Space = studies.config().space
OBJECTIVES = ("accuracy", "latency", "energy")
DISCRETE: Space = parse_study(
    studies.CONFIG.replace("lr: {low: 1e-4, high: 1e-1, log: true}", "lr: 1e-2")
).space


@pytest.fixture(params=sorted(MODELS))
def sampler(request: pytest.FixtureRequest) -> OptunaSampler:
    return OptunaSampler(SPACE, 3, request.param, seed=5)


def past_of(count: int, kind: Callable[[int], str]) -> list[Observation]:
    """A past with trials of the given kinds."""
    source = OptunaSampler(SPACE, 3, "random", seed=99)
    seen = []
    for number in range(count):
        values = source.propose([], number)
        made_up = studies.made_up_curve(values, 3)
        if kind(number) == "running":
            seen.append(Observation(values, None))
        elif kind(number) == "failed":
            seen.append(observe(values, None, OBJECTIVES, {}))
        elif kind(number) == "infeasible":
            limits = {"latency": Bound(max=0.5)}
            seen.append(observe(values, made_up, OBJECTIVES, limits))
        else:
            seen.append(observe(values, made_up, OBJECTIVES, studies.config().constraints))
    return seen


def history(count: int) -> list[Observation]:
    """A past with every kind of trial in it."""
    kinds = ("complete", "complete", "infeasible", "running", "failed")
    return past_of(count, lambda number: kinds[number % 5])


# --- the contract -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 9, 40, 90])
def test_proposals_are_in_the_space(sampler: OptunaSampler, count: int) -> None:
    past = history(count)
    for number in range(count, count + 3):
        values = sampler.propose(past, number)
        active = [parameter for parameter in SPACE.parameters if parameter.name in values]
        assert all(parameter.searches(values[parameter.name]) for parameter in active)
        assert ("network.hidden" in values) == (values["network.family"] == "mlp")
        assert len(values) == len(SPACE.parameters) - ("network.hidden" not in values)
        SPACE.trial(values)


@pytest.mark.parametrize("kind", ["running", "failed", "infeasible", "complete"])
@pytest.mark.parametrize("count", [1, 12, 50])
def test_a_past_of_one_kind(sampler: OptunaSampler, kind: str, count: int) -> None:
    SPACE.trial(sampler.propose(past_of(count, lambda number: kind), count))


def test_equal_figures_everywhere(sampler: OptunaSampler) -> None:
    past = [
        Observation(seen.values, np.ones((2, 3))) for seen in past_of(50, lambda number: "complete")
    ]
    SPACE.trial(sampler.propose(past, 50))


def test_proposals_depend_on_history_number_and_seed_alone(sampler: OptunaSampler) -> None:
    past = history(30)
    first = sampler.propose(past, 30)
    sampler.propose(past[:7], 7)
    assert sampler.propose(past, 30) == first
    assert OptunaSampler(SPACE, 3, sampler._name, seed=5).propose(past, 30) == first
    assert sampler.propose(past, 31) != first
    assert sampler.propose(past, 30, attempt=1) != first


def test_another_seed_is_another_search(sampler: OptunaSampler) -> None:
    other = OptunaSampler(SPACE, 3, sampler._name, seed=6)
    assert [other.propose([], i) for i in range(3)] != [sampler.propose([], i) for i in range(3)]


def test_history_is_not_changed(sampler: OptunaSampler) -> None:
    past = history(50)
    copies = [np.array(seen.losses) for seen in past]
    sampler.propose(past, 50)
    for seen, copy in zip(past, copies, strict=True):
        assert np.array_equal(np.array(seen.losses), copy)


@pytest.mark.parametrize("objectives", [1, 2])
def test_any_number_of_objectives(sampler: OptunaSampler, objectives: int) -> None:
    generator = np.random.default_rng(0)
    past = [
        Observation(seen.values, generator.random((2, objectives)))
        for seen in past_of(45, lambda number: "complete")
    ]
    SPACE.trial(OptunaSampler(SPACE, objectives, sampler._name, 5).propose(past, 45))


def test_discrete_spaces(sampler: OptunaSampler) -> None:
    own = OptunaSampler(DISCRETE, 3, sampler._name, seed=5)
    past: list[Observation] = []
    for number in range(15):
        values = own.propose(past, number)
        DISCRETE.trial(values)
        curve = studies.made_up_curve({**values, "train.lr": 1e-2}, 3)
        past.append(observe(values, curve, OBJECTIVES, {}))


# --- observations -------------------------------------------------------------------------------


def test_infeasible_curves_are_observed_by_their_least_violating_row() -> None:
    limits = {"latency": Bound(max=0.5)}
    seen = observe({}, studies.curve(latency=2.0), OBJECTIVES, limits)
    assert seen.losses is not None
    assert seen.losses.shape == (1, 3)
    assert seen.violation == pytest.approx(2.0 * 0.8 - 0.5)


def test_long_histories_keep_the_best_and_the_newest() -> None:
    generator = np.random.default_rng(3)
    losses = generator.uniform(1, 2, (100, 1, 2))
    losses[[4, 40]] = [[[0.0, 0.5]], [[0.5, 0.0]]]
    past = [Observation({"x": i}, each) for i, each in enumerate(losses)]
    past[7] = Observation({"x": 7}, np.zeros((1, 2)), violation=1.0)  # breaks a constraint
    kept = [int(seen.values["x"] or 0) for seen in best_and_newest(past, 10)]
    assert kept == sorted(kept)
    assert len(kept) == 10
    assert {4, 40, 95, 96, 97, 98, 99} <= set(kept)
    assert 7 not in kept
    assert best_and_newest(past, 100) == past
    empty = [Observation({"x": i}, None) for i in range(100)]
    assert len(best_and_newest(empty, 10)) == 5


# --- each for itself ----------------------------------------------------------------------------


def lr_decades(past: Sequence[Observation]) -> list[float]:
    """Decades that the trials' learning rates are off the best one, 0.01."""
    return [abs(np.log10(float(seen.values["train.lr"] or 0)) + 2) for seen in past]


@pytest.mark.parametrize(
    ("name", "trials"), [("tpe", 40), ("nsgaii", 80), ("nsgaiii", 80), ("gp", 20)]
)
def test_models_find_the_better_learning_rates(name: str, trials: int) -> None:
    """The made-up trainings are best at lr = 0.01; uniform draws are a decade off in the mean."""
    sampler = OptunaSampler(SPACE, 3, name, seed=1)
    past: list[Observation] = []
    for number in range(trials):
        values = sampler.propose(past, number)
        past.append(observe(values, studies.made_up_curve(values, 3), OBJECTIVES, {}))
    decades = lr_decades(past)
    assert np.mean(decades[-8:]) < 0.6 * np.mean(decades[:10])


@pytest.mark.parametrize("name", ["nsgaii", "nsgaiii"])
def test_genes_of_conditional_parameters_are_inherited(name: str) -> None:
    """Hidden layers of parents have 40 neurons; drawn at random, hardly any child's would."""
    parents = [
        Observation(
            {
                "network.family": "mlp",
                "network.timesteps": 2,
                "network.hidden": 40,
                "train.lr": 0.01,
            },
            np.array([[i / 100, 1 - i / 100, 0.5]]),
        )
        for i in range(60)
    ]
    sampler = OptunaSampler(SPACE, 3, name, seed=1)
    children = [sampler.propose(parents, number) for number in range(60, 90)]
    hidden = [child["network.hidden"] for child in children if "network.hidden" in child]
    assert hidden.count(40) > len(hidden) / 2


def test_parents_stay_the_same_within_a_generation() -> None:
    """40 rows are a generation; the 41st to 79th trial of one row change no proposal."""
    generator = np.random.default_rng(0)
    past = [
        Observation(seen.values, generator.random((1, 3)))
        for seen in past_of(81, lambda number: "complete")
    ]
    sampler = OptunaSampler(SPACE, 3, "nsgaii", seed=1)
    assert sampler.propose(past[:40], 90) == sampler.propose(past[:79], 90)
    proposals = [sampler.propose(past[:end], 90) for end in (39, 40, 80)]
    assert len({identity(values) for values in proposals}) > 1


def test_qmc_fills_the_space_evenly() -> None:
    """Of 2^k points each of 2^k equal intervals of a parameter has exactly one."""
    sampler = OptunaSampler(SPACE, 3, "qmc", seed=11)
    points = [sampler.propose([], number) for number in range(64)]
    assert sampler.propose(history(20), 3) == points[3]  # the same sequence after a restart
    units = [(np.log10(float(values["train.lr"] or 0)) + 4) / 3 for values in points]
    assert sorted(int(unit * 64) for unit in units) == list(range(64))
    counts = [sum(values["network.timesteps"] == t for values in points) for t in (1, 2, 3, 4)]
    assert counts == [16] * 4
    assert sum(values["network.family"] == "mlp" for values in points) == 32


def test_torch_and_scipy_wait_until_they_are_needed() -> None:
    code = (
        "import sys, latsearch.search.sampler; "
        "print(*sorted({'torch', 'scipy', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", ["tpe", "nsgaii", "gp"])
def test_a_study_made_without_copies_proposes_what_one_with_copies_would(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_copies(
        trials: Sequence[FrozenTrial], objectives: int, sampler: optuna.samplers.BaseSampler
    ) -> optuna.Study:
        study = optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)
        study.add_trials(trials)
        return study

    past = history(60)
    ours = [OptunaSampler(SPACE, 3, name, seed=5).propose(past, 60, attempt=i) for i in range(2)]
    monkeypatch.setattr("latsearch.search.sampler.study_with", with_copies)
    plain = [OptunaSampler(SPACE, 3, name, seed=5).propose(past, 60, attempt=i) for i in range(2)]
    assert ours == plain
