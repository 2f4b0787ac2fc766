"""A warm start: what is taken from an earlier study, what is refused, what a restart shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from latsearch.config import StudyConfig, parse_study
from latsearch.errors import StudyError, UserError
from latsearch.runs import find_study
from latsearch.search.driver import Search
from latsearch.search.observations import Observation
from latsearch.search.sampler import OptunaSampler
from latsearch.search.storage import Study
from latsearch.search.warm_start import warm_start
from tests.search import studies


def earlier(folder: Path, trials: int = 12, text: str = studies.CONFIG) -> Study:
    settings = parse_study(text)
    settings = settings.model_copy(
        update={
            "search": settings.search.model_copy(update={"trials": trials, "sampler": "random"})
        }
    )
    study = studies.new_study(folder, settings)
    search = studies.new_search(study)
    while not search.done:
        assignment = search.ask()
        if assignment.number == 1:
            search.fail(1, "ValueError: no")
        else:
            studies.train(search, assignment)
    return study


def started(
    tmp_path: Path, text: str = studies.CONFIG, name: str = "earlier"
) -> tuple[Study, list[Observation], list[str]]:
    """A study that starts from the earlier one: itself, what it is shown, what was told."""
    settings = parse_study(text.replace("seed: 3", f"seed: 4, warm_start: {name}"))
    folder = tmp_path / "later"
    study = Study.open(folder, drive=True) if Study.exists(folder) else new(folder, settings)
    told: list[str] = []
    seen = warm_start(study, lambda run: find_study(run, tmp_path), told.append)
    return study, list(seen), told


def new(folder: Path, settings: StudyConfig) -> Study:
    return studies.new_study(folder, settings)


def test_trials_become_observations_and_never_trials(tmp_path: Path) -> None:
    before = earlier(tmp_path / "earlier")
    study, seen, told = started(tmp_path)
    assert told == ["warm start from earlier: 11 of 12 trials; skipped: 1 failed"]
    assert [s.values for s in seen] == [r.values for r in before.trials() if r.number != 1]
    assert all(s.measured and s.stages for s in seen)
    sampler = OptunaSampler(study.config.space, 3, "tpe", 4)
    search = Search(study, sampler, before=seen)
    studies.train(search, search.ask())
    assert len(search.history) == 12
    assert len(Study.open(tmp_path / "later").trials()) == 1
    assert len(Study.open(tmp_path / "earlier").trials()) == 12


def test_the_model_is_fitted_from_the_first_trial_on(tmp_path: Path) -> None:
    earlier(tmp_path / "earlier", 40)
    study, seen, _ = started(tmp_path)
    sampler = OptunaSampler(study.config.space, 3, "tpe", 4)
    warm = [sampler.propose(seen, number) for number in range(20)]
    cold = [sampler.propose([], number) for number in range(20)]

    def decades(points: list[dict[str, object]]) -> float:
        return float(np.mean([abs(np.log10(float(str(p["train.lr"]))) + 2) for p in points]))

    assert decades(warm) < decades(cold)  # the made-up trainings are best at lr = 0.01


def test_a_restart_shows_the_same_also_without_the_earlier_study(tmp_path: Path) -> None:
    earlier(tmp_path / "earlier")
    _, seen, _ = started(tmp_path)
    shutil.rmtree(tmp_path / "earlier")
    _, again, told = started(tmp_path)
    assert told == []
    for one, other in zip(seen, again, strict=True):
        assert one.values == other.values
        assert np.array_equal(np.asarray(one.losses), np.asarray(other.losses))
        assert one.violation == other.violation
        for a, b in zip(one.stages, other.stages, strict=True):
            assert (a.share, a.seconds, a.violation) == (b.share, b.seconds, b.violation)
            assert np.array_equal(a.losses, b.losses)


def test_a_narrower_space_takes_what_lies_in_it(tmp_path: Path) -> None:
    before = earlier(tmp_path / "earlier", 30)
    narrow = studies.CONFIG.replace("timesteps: {low: 1, high: 4}", "timesteps: {low: 1, high: 2}")
    _, seen, (line,) = started(tmp_path, narrow)
    inside = [
        r for r in before.trials() if r.number != 1 and int(r.values["network.timesteps"] or 0) < 3
    ]
    assert [s.values for s in seen] == [r.values for r in inside]
    outside = 29 - len(inside)
    assert f"{outside} outside the space in network.timesteps" in line


def test_a_field_fixed_there_and_searched_here_is_taken(tmp_path: Path) -> None:
    fixed = studies.CONFIG.replace("timesteps: {low: 1, high: 4}", "timesteps: 3")
    settings = parse_study(fixed)
    study = studies.new_study(tmp_path / "earlier", settings)
    search = studies.new_search(study)
    number = search.ask().number
    values = {**search.records[number].values, "network.timesteps": 3}
    search.report(number, studies.report(values, 3))
    search.complete(number)
    _, (seen,), _ = started(tmp_path)
    assert seen.values == values


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: digits", "name: cifar10", r"another data.name \(digits, this study cifar10\)"),
        ("name: digits", "name: digits, split_seed: 1", r"another data.split_seed \(0, this"),
        ("epochs: 3", "epochs: 9", r"nothing to learn from: .* outside the space in train.epochs"),
    ],
)
def test_studies_that_say_nothing_about_this_one_are_refused(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    earlier(tmp_path / "earlier", 4)
    with pytest.raises(UserError, match=told) as caught:
        started(tmp_path, studies.CONFIG.replace(old, new))
    assert str(caught.value).startswith("search.warm_start: ")
    assert "leave it out" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_objectives_or_prices_are_refused(tmp_path: Path) -> None:
    earlier(tmp_path / "earlier", 4)
    two = studies.CONFIG + "objectives: {accuracy: maximize, latency: minimize}\n"
    with pytest.raises(UserError, match="has another objectives"):
        started(tmp_path, two)


def test_a_study_cannot_start_from_itself_or_from_none(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="missing: no such study"):
        started(tmp_path, name="missing")
    shutil.rmtree(tmp_path / "later")
    with pytest.raises(UserError, match="later is this study itself"):
        started(tmp_path, name="later")


def test_no_warm_start_is_nothing(tmp_path: Path) -> None:
    study = studies.new_study(tmp_path)
    assert list(warm_start(study, Path, print)) == []
