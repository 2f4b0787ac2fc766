"""Verdicts: the answers and the figures that they rest on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latsearch.config import PROFILES
from latsearch.objectives import FIRST_SPIKE, OperatingPoint
from latsearch.report import Content, gather
from latsearch.report.content import Recommendation
from latsearch.report.verdicts import NO, OPEN, YES, Verdict, verdicts
from latsearch.search.results import METRICS
from tests.report.conftest import NewStudy, filled


@pytest.fixture
def content(new_study: NewStudy) -> Content:
    return gather(filled(new_study()).study)


def point(trial: int, accuracy: float, energy: float, timesteps: int) -> OperatingPoint:
    figures = dict.fromkeys(METRICS, 0.0) | {"accuracy": accuracy, "energy": energy}
    params = {"network.timesteps": timesteps}
    return OperatingPoint(trial, 0, 3, "complete", 0.5, FIRST_SPIKE, figures, params)


def with_points(content: Content, *points: OperatingPoint) -> Content:
    return replace(
        content,
        front=points,
        points=(),
        recommended=[Recommendation(("knee",), points[0], 0.01, True)],
    )


def about(content: Content, words: str) -> Verdict:
    [found] = [verdict for verdict in verdicts(content) if words in verdict.question]
    return found


@pytest.mark.parametrize(
    ("single", "energy", "answer"),
    [
        (0.80, 90.0, YES),  # 0.96 against it
        (0.99, 90.0, NO),
        (0.95, 90.0, OPEN),  # within two standard errors of 360 samples
        (0.99, 110.0, OPEN),  # it takes more energy
    ],
)
def test_do_timesteps_help(content: Content, single: float, energy: float, answer: str) -> None:
    points = (point(0, 0.96, 100.0, 4), point(1, single, energy, 1))
    assert about(with_points(content, *points), "more timesteps than one").answer == answer


@pytest.mark.parametrize("timesteps", [1, 4])
def test_one_kind_of_network_alone_tells_nothing(content: Content, timesteps: int) -> None:
    found = about(with_points(content, point(0, 0.9, 50.0, timesteps)), "more timesteps than one")
    assert found.answer == OPEN
    assert ("more than one timestep" in found.words) == (timesteps == 1)


@pytest.mark.parametrize(("times", "answer"), [((190, 170), YES), ((18, 342), NO)])
def test_do_easy_samples_decide_earlier(
    content: Content, times: tuple[int, int], answer: str
) -> None:
    shown = next(p for p in content.front if p.params["network.timesteps"] > 1)
    record = content.record(shown.trial)
    assert record.last is not None
    entry = replace(record.last, decision_times=(times,) * len(record.last.curve)).to_json()
    changed = replace(
        record, log={**record.log, record.epoch: {**record.log[record.epoch], **entry}}
    )
    records = [changed if r.number == record.number else r for r in content.records]
    found = about(replace(content, front=[shown], records=records), "decide earlier")
    assert found.answer == answer
    assert f"{times[1] / 360:.1%} at t = 2" in found.words


def test_trials_without_decision_times(content: Content) -> None:
    records = [
        replace(r, log={e: {**entry, "decision_times": None} for e, entry in r.log.items()})
        for r in content.records
    ]
    assert about(replace(content, records=records), "decide earlier").answer == OPEN


def test_ordinary_networks_of_the_same_shape(content: Content) -> None:
    shown = content.recommended[0].point
    for profile in (PROFILES["horowitz-45nm-fp32"], PROFILES["horowitz-45nm-int8"]):
        found = about(content, profile.name)
        macs = float(found.words.split(" MACs")[0].split()[-1].replace(",", ""))
        assert found.answer == (YES if shown.metrics["energy"] < 1e-3 * macs * profile.mac else NO)


@pytest.mark.parametrize(("profile", "asked"), [("loihi", 2), ("memory-45nm-fp32", 1)])
def test_profiles_that_an_ordinary_network_cannot_be_priced_by(
    content: Content, profile: str, asked: int
) -> None:
    energy = content.config.energy.model_copy(update={"profile": profile})
    priced = replace(content, config=content.config.model_copy(update={"energy": energy}))
    found = [v for v in verdicts(priced) if "ordinary network" in v.question]
    assert len(found) == asked
    assert all((v.answer == OPEN) == (profile == "loihi") for v in found)


def test_a_quantised_network_of_the_same_shape(content: Content) -> None:
    """An answer where operations are stored: none with very many, yes with very few."""
    question = "quantised network"
    trial = content.recommended[0].point.trial
    record = content.record(trial)
    assert about(content, question).answer == OPEN  # the made-up study stores no operations
    for operations, answer in ((1e12, NO), (1.0, YES)):
        entry = dict(record.log[record.epoch])
        entry["metrics"] = {**entry["metrics"], "synaptic_operations": operations}
        changed = replace(record, log={**record.log, record.epoch: entry})
        records = [changed if r.number == trial else r for r in content.records]
        found = about(replace(content, records=records), question)
        assert found.answer == answer
        assert "Dampfhoffer" in found.words


def test_macs_of_an_ordinary_network_by_hand(new_study: NewStudy) -> None:
    made = new_study()
    number = made.study.new_trial(
        {
            **made._values(),
            "network.family": "mlp",
            "network.timesteps": 2,
        }
    )
    made._quality[number] = 0.5
    made.report(number, 1)
    made.complete(number)
    config = made.config.space.trial(made.study.trials()[0].values).network
    shown = about(gather(made.study), "horowitz-45nm-fp32")
    kernel, width = 9, config.width  # 3x3, borders are exact: 4 corners of 4, 24 edges of 6 taps
    taps = 36 * kernel + 24 * 6 + 4 * 4
    macs = taps * width + 64 * width * config.hidden + config.hidden * 10
    assert f"{macs:,} MACs" in shown.words


def test_nothing_to_judge(new_study: NewStudy) -> None:
    assert verdicts(gather(new_study().study)) == []
