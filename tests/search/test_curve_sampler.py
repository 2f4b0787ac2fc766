"""The sampler of curves: what it proposes, what it learns from, that it is a pure function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from latsearch.config import Parameter, Value, parse_study
from latsearch.errors import UserError
from latsearch.search.curve_sampler import STARTUP_TRIALS, CurveSampler
from latsearch.search.driver import Search
from latsearch.search.observations import Observation, Stage, stages
from latsearch.search.points import _coordinates, identity, place_of, random_point, value_at
from latsearch.search.sampler import sampler_for
from latsearch.search.simulate import Simulation, memory_study
from tests.search import studies

CONFIG = studies.config(sampler="curves")
OBJECTIVES = tuple(CONFIG.objectives)
REFERENCE = studies.REFERENCE


def sampler(seed: int = 0) -> CurveSampler:
    search = CONFIG.search.model_copy(update={"seed": seed})
    made = sampler_for(CONFIG.model_copy(update={"search": search}), REFERENCE)
    assert isinstance(made, CurveSampler)
    return made


def observation(values: dict[str, Value], epochs: int = 3, budget: int = 3) -> Observation:
    log = {e: studies.report(values, e).to_json() for e in range(1, epochs + 1)}
    seen = stages(log, budget, OBJECTIVES, CONFIG.constraints)
    losses = seen[-1].losses if epochs == budget else np.empty((0, 3))
    return Observation(values, losses, 0.0, seen)


def history(count: int, epochs: int = 3) -> list[Observation]:
    random = np.random.default_rng(7)
    points = [random_point(CONFIG.space, random) for _ in range(count)]
    return [observation(values, epochs) for values in points]


def test_the_same_history_gives_the_same_proposal():
    seen = history(8)
    assert sampler().propose(seen, 8) == sampler().propose(seen, 8)
    assert sampler().propose(seen, 8) != sampler().propose(seen, 8, attempt=1)


def test_proposals_are_new_points_of_the_space():
    seen = history(12)
    known = {identity(one.values) for one in seen}
    for number in range(12, 20):
        values = sampler(number).propose(seen, number)
        CONFIG.space.trial(values)
        assert identity(values) not in known


def test_it_computes_with_one_thread_for_the_others_train():
    def threads() -> list[int]:
        blas = (one for one in threadpool_info() if one["user_api"] == "blas")
        return [library["num_threads"] for library in blas]

    def cost(values: dict[str, Value]) -> float:
        seen.append(threads())
        return 1.0

    before, seen = threads(), list[list[int]]()
    made = sampler_for(CONFIG, REFERENCE, cost)
    made.propose(history(8), 8)
    assert seen
    assert all(count == 1 for counts in seen for count in counts)
    assert threads() == before


def test_it_starts_without_a_model():
    few = history(STARTUP_TRIALS - 1)
    assert sampler().propose(few, 12) == sampler().propose([], 12)


def started(count: int, cost: Callable[[dict[str, Value]], float]) -> list[dict[str, Value]]:
    """What so many workers are given that start together."""
    made = sampler_for(CONFIG, REFERENCE, cost)
    shown: list[Observation] = []
    for number in range(count):
        shown.append(Observation(made.propose(shown, number), None))
    return [dict(seen.values) for seen in shown]


def test_what_starts_beside_others_without_a_model_is_cheap():
    def steps(values: dict[str, Value]) -> float:
        return float(values["network.timesteps"])

    cheap, any_cost = started(24, steps), started(24, lambda values: 1.0)
    assert cheap[0] == any_cost[0]  # nothing runs yet
    assert np.mean([steps(values) for values in cheap]) < 2
    assert np.mean([steps(values) for values in any_cost]) > 2
    assert len({identity(values) for values in cheap}) == 24


def test_a_network_that_cannot_be_built_has_no_cost():
    def cost(values: dict[str, Value]) -> float:
        if values["network.family"] == "lenet":
            raise UserError("no image is that small")
        return 1.0

    later = started(12, cost)[1:]
    assert sum(values["network.family"] == "mlp" for values in later) > 8


def test_running_trials_are_not_proposed_in_another_dress():
    seen = history(10)
    proposed: list[Observation] = []
    for number in range(10, 16):
        values = sampler().propose([*seen, *proposed], number)
        proposed.append(Observation(values, None))
    assert len({identity(one.values) for one in proposed}) == 6


def test_it_learns_from_stopped_trials():
    full, stopped = history(8), history(8, epochs=1)
    assert all(not one.measured and one.stages for one in stopped)
    values = sampler().propose(stopped, 8)
    assert values == sampler().propose(stopped, 8)
    assert identity(values) not in {identity(one.values) for one in full}


def test_trials_that_all_break_the_constraints_are_no_obstacle():
    rows = np.array([[-0.5, 2.0, 1.0]])
    broken = [
        Observation(one.values, rows, 0.2, (Stage(1.0, 3.0, rows, 0.2),)) for one in history(6)
    ]
    assert sampler().propose(broken, 6)


def test_one_objective_is_enough():
    config = CONFIG.model_copy(update={"objectives": {"accuracy": "maximize"}})
    study = memory_study(config, {"accuracy": 0.1})
    search = Search(study, sampler_for(config, {"accuracy": 0.1}))
    Simulation(search, lambda a: _outcome(a.trial)).run()
    assert len(study.trials()) == config.search.trials


def _outcome(trial):
    values = {"train.lr": trial.train.lr, "network.timesteps": trial.network.timesteps}
    return [studies.report(values, epoch) for epoch in (1, 2, 3)]


def best_hypervolume(name: str, seed: int) -> float:
    """Mean share of the final hypervolume over the first trials of a search."""
    from latsearch.search.driver import study_hypervolume

    config = studies.config(sampler=name, seed=seed, trials=20)
    study = memory_study(config, REFERENCE)
    Simulation(Search(study, sampler_for(config, REFERENCE)), lambda a: _outcome(a.trial)).run()
    return study_hypervolume(study, study.trials())


def test_it_finds_more_than_random_search():
    seeds = range(3)
    ours = [best_hypervolume("curves", seed) for seed in seeds]
    random = [best_hypervolume("random", seed) for seed in seeds]
    assert np.mean(ours) > np.mean(random)


def test_stages_are_halves_of_the_budget_and_the_last_epoch():
    values = history(1)[0].values
    log = {e: studies.report(dict(values), e).to_json() for e in range(1, 12)}
    found = stages(log, 16, OBJECTIVES, CONFIG.constraints)
    assert [stage.share for stage in found] == [2 / 16, 4 / 16, 8 / 16, 11 / 16]
    assert [stage.seconds for stage in found] == [1.0, 2.0, 4.0, 5.5]
    assert all(len(stage.losses) == 2 for stage in found)  # the third row is silent too often


def test_names_have_no_order_and_unused_fields_lie_in_the_middle():
    synapse = Parameter("network.synapse", "categorical", choices=("delta", "step", "exp"))
    neuron = Parameter("network.neuron", "categorical", choices=("if", "lif"))
    width = Parameter("network.width", "categorical", choices=(4, 8, 16))
    assert _coordinates(synapse, "step") == [0.0, 1.0, 0.0]
    assert _coordinates(neuron, "lif") == [1.0]
    assert _coordinates(width, 8) == [0.5]
    assert _coordinates(width, None) == [0.5]
    assert _coordinates(synapse, None) == [0.0, 0.0, 0.0]


def test_places_undo_values():
    text = """
version: 1
study: places
data: {name: digits}
network: {width: {low: 4, high: 32, log: true}, synapse: {choices: [delta, step, exp]}}
train: {lr: {low: 1e-4, high: 1e-1, log: true}}
"""
    for parameter in parse_study(text).space.parameters:
        ends = [value_at(parameter, 0.0), value_at(parameter, 1 - 1e-12)]
        assert [place_of(parameter, end) for end in ends] == pytest.approx([0.0, 1.0])
    lr = next(p for p in parse_study(text).space.parameters if p.name == "train.lr")
    assert place_of(lr, value_at(lr, 0.3)) == pytest.approx(0.3)
