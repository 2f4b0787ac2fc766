"""Front, ranks and progress, compared with what the whole study says at once."""

from __future__ import annotations

import numpy as np
import pytest

from latsearch.objectives import FloatArray
from latsearch.reporting import study_front
from latsearch.search.driver import study_hypervolume
from latsearch.search.results import operating_points, point_losses
from latsearch.tracking.findings import MOST_POINTS, Findings
from tests.tracking.synthetic import SyntheticStudy


def slow_ranks(losses: FloatArray) -> list[int]:
    """Peel off one front after the other, with nothing but comparisons."""
    ranks = np.zeros(len(losses), dtype=int)
    rank = 0
    while (ranks == 0).any():
        rank += 1
        left = np.flatnonzero(ranks == 0)
        front = [
            i
            for i in left
            if not any(
                (losses[j] <= losses[i]).all() and (losses[j] < losses[i]).any() for j in left
            )
        ]
        ranks[front] = rank
    return [int(rank) for rank in ranks]


def test_taken_up_trial_by_trial_it_is_the_same(synthetic: SyntheticStudy) -> None:
    study = synthetic.study
    findings = Findings(study.config, study.reference)
    for _ in range(8):
        synthetic.trial()
        records = study.trials()
        findings.take(records, 0)
        assert findings.front == study_front(study, records)
        assert findings.progress[-1].hypervolume == study_hypervolume(study, records)
        assert findings.progress[-1].front_size == len(findings.front)
        objectives = tuple(study.config.objectives)
        points = operating_points(records, objectives, study.config.constraints)
        expected = slow_ranks(point_losses(points, objectives))
        assert [findings.ranks[p.trial, p.row] for p in points] == expected
    assert [entry.step for entry in findings.progress] == list(range(1, 9))
    whole = Findings(study.config, study.reference)
    whole.take(study.trials(), 0)
    assert whole.progress == findings.progress


def test_of_equal_points_the_first_alone_is_on_the_front(
    synthetic: SyntheticStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = synthetic.start(), synthetic.start()
    curve = synthetic._curve(first, 1)
    monkeypatch.setattr(synthetic, "_curve", lambda number, epoch: curve)
    study = synthetic.study
    findings = Findings(study.config, study.reference)
    for number in (second, first):  # the later one ends first
        synthetic.report(number, 1)
        synthetic.complete(number)
        findings.take(study.trials(), 0)
    assert {point.trial for point in findings.front} == {first}
    assert findings.front == study_front(study, study.trials())
    assert {key for key, rank in findings.ranks.items() if rank == 1} == {
        (point.trial, point.row) for point in findings.front
    }


def test_at_most_sixteen_points_of_a_trial(synthetic: SyntheticStudy) -> None:
    synthetic.rows = 60
    synthetic.trial()
    [record] = synthetic.study.trials()
    findings = Findings(synthetic.config, synthetic.study.reference)
    findings.take([record], 0)
    points = findings.published(record)
    assert len(points) == MOST_POINTS
    assert len(findings.front) > MOST_POINTS
    assert {p.row for p in points} <= {p.row for p in findings.front}


def test_what_is_on_the_front_is_published_first(synthetic: SyntheticStudy) -> None:
    synthetic.rows = 40
    findings = Findings(synthetic.config, synthetic.study.reference)
    for _ in range(6):
        synthetic.trial()
        record = synthetic.study.trials()[-1]
        findings.take([record], 0)
        published = {point.row for point in findings.published(record)}
        on_front = {point.row for point in findings.front if point.trial == record.number}
        assert len(published) <= MOST_POINTS
        assert on_front <= published or published <= on_front


def test_failed_and_running_trials(synthetic: SyntheticStudy) -> None:
    failed = synthetic.start()
    synthetic.fail(failed)
    synthetic.report(synthetic.start(), 1)
    findings = Findings(synthetic.config, synthetic.study.reference)
    findings.take(synthetic.study.trials(), 10.0)
    assert findings.front == []
    assert [(entry.step, entry.front_size) for entry in findings.progress] == [(1, 0)]
    values, trials = findings.dominated()
    assert values.shape == (0, 3)
    assert trials == []


def test_dominated_points_come_by_rank(synthetic: SyntheticStudy) -> None:
    for _ in range(6):
        synthetic.trial()
    findings = Findings(synthetic.config, synthetic.study.reference)
    findings.take(synthetic.study.trials(), 0)
    values, trials = findings.dominated()
    assert len(values) == len(trials) == sum(rank > 1 for rank in findings.ranks.values())
    losses = np.stack([-values[:, 0], values[:, 1], np.log10(values[:, 2])], axis=1)
    front = point_losses(findings.front, tuple(synthetic.config.objectives))
    for row in losses:
        assert any((member <= row + 1e-12).all() for member in front)
