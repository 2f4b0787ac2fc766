"""What is tried first, and what is never trained: given points, known constraints, silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latsearch.config import StoppingConfig, Value, parse_study
from latsearch.errors import UserError
from latsearch.search.driver import Search
from latsearch.search.limits import Limits
from latsearch.search.models import MODELS
from latsearch.search.observations import Observation
from latsearch.search.sampler import OptunaSampler
from latsearch.search.storage import Study
from latsearch.search.trials import TrialState
from tests.search import studies

GIVEN = (
    {"network.family": "lenet", "network.timesteps": 3, "train.lr": 0.02},
    {"network.timesteps": 1},
    {"network.family": "mlp", "network.hidden": 40},
)


def new(folder: Path, refuse: object = None, **search: object) -> Search:
    study = Study.create(folder, studies.config(**{"sampler": "random", **search}), {})
    return with_refusal(study, refuse)


def with_refusal(study: Study, refuse: object) -> Search:
    settings = study.config
    sampler = OptunaSampler(settings.space, 3, settings.search.sampler, settings.search.seed)
    return Search(study, sampler, **({} if refuse is None else {"refuse": refuse}))  # type: ignore


def slow(values: Mapping[str, Value]) -> str | None:
    """Refuses three quarters of the space."""
    return "too many timesteps" if int(values["network.timesteps"] or 0) > 1 else None


# --- given points -------------------------------------------------------------------------------


def test_given_points_come_first_and_the_sampler_fills_what_they_leave_open(
    tmp_path: Path,
) -> None:
    search = new(tmp_path, enqueue=GIVEN)
    for _ in range(4):
        studies.train(search, search.ask())
    values = [record.values for record in search.records.values()]
    assert values[0] == GIVEN[0]
    assert values[1]["network.timesteps"] == 1
    assert set(values[1]) >= {"network.family", "train.lr"}
    assert (values[2]["network.family"], values[2]["network.hidden"]) == ("mlp", 40)
    for each in values:
        search._study.config.space.trial(each)


def test_given_points_are_tried_once_whenever_the_driver_dies(tmp_path: Path) -> None:
    whole = new(tmp_path / "whole", enqueue=GIVEN, trials=5)
    cut = new(tmp_path / "cut", enqueue=GIVEN, trials=5)
    for _ in range(5):
        studies.train(whole, whole.ask())
        studies.train(cut, cut.ask())
        cut = studies.new_search(Study.open(tmp_path / "cut", drive=True))
    assert [r.values for r in cut.records.values()] == [r.values for r in whole.records.values()]


def test_points_given_later_are_tried_next_and_tried_ones_are_not(tmp_path: Path) -> None:
    search = new(tmp_path, trials=6, enqueue=GIVEN[:1])
    for _ in range(3):
        studies.train(search, search.ask())
    study = Study.open(tmp_path, drive=True)
    study.adopt(studies.config(sampler="random", trials=6, enqueue=GIVEN[:1] + GIVEN[2:]))
    search = studies.new_search(study)
    assert search.records[search.ask().number].values["network.hidden"] == 40
    assert search.records[search.ask().number].values != GIVEN[0]


def test_whole_numbers_are_given_for_floats_too(tmp_path: Path) -> None:
    text = studies.CONFIG.replace("lr: {low: 1e-4, high: 1e-1, log: true}", "lr: {low: 1, high: 2}")
    text = text.replace("seed: 3", "seed: 3, enqueue: [{train.lr: 1}]")
    search = studies.new_search(studies.new_study(tmp_path, parse_study(text)))
    assert search.ask().trial.train.lr == 1.0
    assert type(search.records[0].values["train.lr"]) is float


# --- known constraints --------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MODELS))
def test_no_refused_point_is_trained_and_the_sampler_hears_of_it(tmp_path: Path, name: str) -> None:
    search = new(tmp_path, slow, sampler=name, trials=16)
    while not search.done:
        studies.train(search, search.ask())
    records = list(search.records.values())
    assert len(records) == 16
    assert all(record.values["network.timesteps"] == 1 for record in records)
    refused = [point for record in records for point in record.refused]
    assert refused
    assert all(slow(point) for point in refused)
    assert len({tuple(sorted(p.items())) for p in refused}) == len(refused)  # none twice


def test_models_learn_what_is_refused(tmp_path: Path) -> None:
    search = new(tmp_path, slow, sampler="tpe", trials=40)
    while not search.done:
        studies.train(search, search.ask())
    counts = [len(record.refused) for record in search.records.values()]
    assert sum(counts[-10:]) < sum(counts[:10]) / 2


def test_a_restart_proposes_what_an_uninterrupted_search_does(tmp_path: Path) -> None:
    whole = new(tmp_path / "whole", slow, sampler="tpe", trials=20)
    cut = new(tmp_path / "cut", slow, sampler="tpe", trials=20)
    for number in range(20):
        studies.train(whole, whole.ask())
        studies.train(cut, cut.ask())
        if number % 6 == 0:
            cut = with_refusal(Study.open(tmp_path / "cut", drive=True), slow)
    assert [r.values for r in cut.records.values()] == [r.values for r in whole.records.values()]
    assert [r.refused for r in cut.records.values()] == [r.refused for r in whole.records.values()]


def test_a_search_in_which_everything_is_refused_says_why(tmp_path: Path) -> None:
    search = new(tmp_path, lambda values: "macs = 9 is above constraints.macs.max = 1")
    with pytest.raises(UserError, match=r"^constraints: no configuration .* macs = 9 is above"):
        search.ask()
    given = new(tmp_path / "given", slow, enqueue=GIVEN)
    with pytest.raises(UserError, match=r"^search.enqueue.0: too many timesteps; take it out"):
        given.ask()


def test_refused_points_do_not_count_as_trained() -> None:
    refused = Observation({}, np.empty((0, 0)), violation=np.inf)
    assert (refused.trained, refused.measured) == (False, False)
    assert Observation({}, np.empty((0, 3))).trained
    assert not Observation({}, None).trained


LIMITED = """
version: 1
study: limited
data: {name: digits}
network: {family: mlp, timesteps: 2, hidden: {low: 4, high: 64}, width: 8}
constraints: {silent_fraction: {max: 0.1}, NAME: BOUND}
"""


@pytest.mark.parametrize("name", ["parameters", "macs", "energy_bound"])
def test_limits_are_those_of_the_network_that_would_be_trained(name: str) -> None:
    import torch

    from latsearch.config import PROFILES
    from latsearch.snn.energy import dense_energy, dense_operations
    from latsearch.snn.networks import build_network

    text = LIMITED.replace("NAME", name)
    space = parse_study(text.replace("BOUND", "{max: 1}")).space
    built = build_network(space.trial({"network.hidden": 16}).network, (1, 8, 8), 10)
    real = {
        "parameters": sum(p.numel() for p in built.parameters() if isinstance(p, torch.Tensor)),
        "macs": sum(dense_operations(built)),
        "energy_bound": dense_energy(built, PROFILES["horowitz-45nm-fp32"]),
    }[name]
    for bound, broken in (
        (f"{{max: {real}}}", None),
        (f"{{min: {real}}}", None),
        (f"{{max: {real * 0.999}}}", "above"),
        (f"{{min: {real * 1.001}}}", "below"),
    ):
        limits = Limits(parse_study(text.replace("BOUND", bound)), (1, 8, 8), 10)
        told = limits.broken({"network.hidden": 16})
        assert (told is None) == (broken is None)
        if broken:
            assert told is not None
            assert told.startswith(f"{name} = ")
            assert f"is {broken} constraints.{name}." in told


def test_a_study_without_such_constraints_refuses_nothing() -> None:
    limits = Limits(studies.config(), (1, 8, 8), 10)
    assert limits.broken({"network.family": "mlp"}) is None


def test_a_network_that_does_not_fit_the_images_is_left_to_its_trial() -> None:
    text = LIMITED.replace("family: mlp", "family: lenet").replace("NAME: BOUND", "macs: {max: 1}")
    assert Limits(parse_study(text), (1, 1, 1), 10).broken({"network.hidden": 16}) is None


# --- silence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["halving", "median", "none"])
def test_silent_networks_end_at_their_first_report_where_a_rule_may_stop_trials(
    tmp_path: Path, rule: str
) -> None:
    stopping = StoppingConfig(rule=rule, min_epochs=2)  # type: ignore[arg-type]
    search = new(tmp_path, trials=3, stopping=stopping)
    spoken = studies.curve()
    dead = replace(spoken, silent_fraction=np.ones(3))
    partly = replace(spoken, silent_fraction=np.array([0.9, 1.0, 1.0]))
    for curve, expected in ((dead, rule == "none"), (partly, True)):
        number = search.ask().number
        goes_on = search.report(number, replace(studies.report(GIVEN[0], 1), curve=curve))
        assert goes_on == expected
    silent = search.records[0]
    if rule != "none":
        assert silent.state is TrialState.FAILED
        assert str(silent.reason).startswith("silent after epoch 1: no sample makes an output")
    # only the first report counts: who spoke once may fall silent for an epoch
    late = replace(studies.report(GIVEN[0], 2), curve=dead)
    assert search.report(1, late) or search.records[1].state is not TrialState.FAILED


def test_a_readout_row_does_not_speak_for_a_silent_network(tmp_path: Path) -> None:
    search = new(tmp_path, stopping=StoppingConfig(min_epochs=2))
    search.ask()
    dead = replace(studies.curve(), silent_fraction=np.array([1.0, 1.0, 0.0]))
    assert not search.report(0, replace(studies.report(GIVEN[0], 1), curve=dead))
