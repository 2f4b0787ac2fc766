"""Studies in which everything fails: when they stop, and what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from latsearch.errors import StudyFailed
from latsearch.search.outlook import HANDFUL, Outlook, cause
from latsearch.search.storage import Study
from latsearch.search.trials import TrialState
from tests.search import studies

NAN = "TrainingError: the loss is not finite in epoch {}: try a lower train.lr than 0.0{}"


def outlook(*states: TrialState) -> Outlook:
    return Outlook(states)


def test_reasons_of_one_cause_differ_in_numbers_alone() -> None:
    assert cause(NAN.format(1, 3)) == cause(NAN.format(12, 17))
    assert cause(NAN.format(1, 3)) != cause("MemoryError")


def test_a_handful_alike_is_hopeless() -> None:
    seen = outlook()
    for epoch in range(HANDFUL):
        assert seen.hopeless(1) is None
        seen.failed(NAN.format(epoch, epoch))
    why = seen.hopeless(1)
    assert why is not None
    assert "first 5 trials all failed alike: TrainingError: the loss is not finite" in why
    assert seen.hopeless(8) is None  # eight started before one of them could fail


def test_different_causes_need_more() -> None:
    seen = outlook()
    for number in range(4 * HANDFUL - 1):
        seen.failed("KeyError: 'a'" if number % 3 else "ValueError: b")
        assert seen.hopeless(1) is None
    seen.failed("KeyError: 'a'")
    why = seen.hopeless(1)
    assert why is not None
    assert why.endswith("all failed, 13 of them alike: KeyError: 'a'")


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_one_success_is_hope_for_ever(state: TrialState) -> None:
    seen = outlook(TrialState.FAILED, state)
    for _ in range(100):
        seen.failed("KeyError: 'a'")
    assert seen.hopeless(1) is None


def test_failures_of_an_earlier_driver_are_not_counted() -> None:
    seen = outlook(*[TrialState.FAILED] * 50)
    assert seen.hopeless(1) is None
    for _ in range(HANDFUL):
        seen.failed("KeyError: 'a'")
    assert seen.hopeless(1)


def test_a_search_in_which_everything_fails_stops(tmp_path: Path) -> None:
    search = studies.new_search(studies.new_study(tmp_path, studies.config(trials=50)))
    running = [search.ask().number for _ in range(7)]
    for number in running[:-1]:
        search.fail(number, "KeyError: 'x'", "Traceback …\nKeyError: 'x'")
        running.append(search.ask().number)
    with pytest.raises(StudyFailed, match="first 7 trials all failed alike: KeyError: 'x'"):
        search.fail(running[6], "KeyError: 'x'")
    stored = Study.open(tmp_path).trials()
    assert sum(record.state is TrialState.FAILED for record in stored) == 7
    written = (tmp_path / "failures" / "00003.txt").read_text()
    assert written == "KeyError: 'x'\n\nTraceback …\nKeyError: 'x'\n"


def test_who_goes_on_has_as_many_attempts_again(tmp_path: Path) -> None:
    for total in (5, 10):
        search = studies.new_search(
            Study.open(tmp_path, drive=True)
            if Study.exists(tmp_path)
            else studies.new_study(tmp_path, studies.config(trials=50))
        )
        for _ in range(4):
            search.fail(search.ask().number, "KeyError: 'x'")
        last = search.ask().number
        with pytest.raises(StudyFailed):
            search.fail(last, "KeyError: 'x'")
        assert len(Study.open(tmp_path).trials()) == total


def test_a_search_that_worked_once_goes_on_through_failures(tmp_path: Path) -> None:
    search = studies.new_search(studies.new_study(tmp_path, studies.config(trials=12)))
    studies.train(search, search.ask())
    while not search.done:
        search.fail(search.ask().number, "KeyError: 'x'")
    assert [r.state for r in search.records.values()].count(TrialState.FAILED) == 11
