"""A sample of the seeded runs of `benchmarks/chaos.py`; a damaged page of PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chaos import one_run, plan
from latsearch.errors import StudyError
from latsearch.search.storage import Study
from tests.chaos.faults import FAULTS, possible
from tests.chaos.scene import EVERY
from tests.postgres import Postgres, binaries
from tests.search import studies


def test_every_kind_of_fault_is_planned_and_a_seed_gives_one_plan() -> None:
    plans = [plan(seed, 40, 4, bool(seed % 2)) for seed in range(30)]
    assert plans == [plan(seed, 40, 4, bool(seed % 2)) for seed in range(30)]
    planned = {kind for faults in plans for kind, _ in faults}
    assert planned == {*possible(True), *possible(False)} <= FAULTS.keys()
    for faults in plans:
        assert [moment for _, moment in faults] == sorted({moment for _, moment in faults})


def check(row: dict[str, object]) -> None:
    assert row["complete"] == row["trials"] == row["published"], row
    assert (row["lost"], row["twice"], row["hangs"]) == (0, 0, 0), row
    assert int(str(row["repeated_by_kill"])) <= EVERY, row


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_in_a_folder_outlasts_its_faults() -> None:
    check(one_run(0, None, 6, [("driver", 4), ("worker", 9), ("clock", 14)]))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(binaries() is None, reason="needs PostgreSQL's server")
def test_a_search_in_postgres_outlasts_its_faults() -> None:
    programs = binaries()
    assert programs is not None
    server = Postgres(programs)
    try:
        check(one_run(1, server, 6, [("postgres", 4), ("driver", 9), ("stall", 14)]))
    finally:
        server.remove()


def test_a_damaged_page_of_postgres_is_told_and_the_rest_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was on it is lost: the message says so, and what to do; the other trials are there."""
    programs = binaries()
    if programs is None:
        pytest.skip("needs PostgreSQL's server: apt install postgresql")
    server = Postgres(programs)
    try:
        url = server.database()
        name = url.rpartition("/")[2]
        monkeypatch.setenv("LATSEARCH_STORAGE", url)
        config = studies.config(sampler="random", trials=12).model_copy(update={"storage": url})
        search = studies.new_search(studies.new_study(tmp_path, config))
        for _ in range(9):
            studies.train(search, search.ask())
        whole = Study.open(tmp_path).trials()
        server.damage_page("trial_user_attributes", name)
        with pytest.raises(
            StudyError, match=r"its files are damaged: .*zero_damaged_pages"
        ) as told:
            Study.open(tmp_path).trials()
        assert "\n" not in str(told.value)
        server.query(f'ALTER DATABASE "{name}" SET zero_damaged_pages = on', name)
        left = Study.open(tmp_path, drive=True)
        reports = [(r.number, epoch) for r in left.trials() for epoch in r.log]
        assert 0 < len(reports) < sum(len(r.log) for r in whole)
        search = studies.new_search(left)
        while not search.done:
            studies.train(search, search.ask())
        after = Study.open(tmp_path).trials()
        assert [r.values for r in after][:9] == [r.values for r in whole]
        assert len(after) == 12
    finally:
        server.remove()
