"""Studies in a real PostgreSQL: kept, locked, fenced, and patient where it is away."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from latsearch.config import StudyConfig
from latsearch.errors import StudyError, UserError
from latsearch.runs import folder_lock, put_aside, remove_study
from latsearch.search.database import Superseded, environment_url, place_of
from latsearch.search.driver import Search
from latsearch.search.storage import Study
from latsearch.search.trials import TrialState
from tests.postgres import PASSWORD, QUOTED, USER, Postgres
from tests.search import studies


@pytest.fixture
def url(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database, named in the environment as a cluster would."""
    url = postgres.database()
    monkeypatch.setenv("LATSEARCH_STORAGE", url)
    return url


def stored(url: str, **search: object) -> StudyConfig:
    return studies.config(**search).model_copy(update={"storage": url})


def new_study(folder: Path, url: str, **search: object) -> Study:
    return studies.new_study(folder, stored(url, **search))


def reopened(folder: Path) -> Search:
    return studies.new_search(Study.open(folder, drive=True))


def test_a_search_in_postgres_equals_one_in_the_folder(tmp_path: Path, url: str) -> None:
    whole = studies.new_search(studies.new_study(tmp_path / "journal"))
    while not whole.done:
        studies.train(whole, whole.ask())
    search = studies.new_search(new_study(tmp_path / "postgres", url))
    for _ in range(5):
        studies.train(search, search.ask())
    studies.train(search, search.ask(), epochs=2)  # the driver dies in the middle of this one
    search = reopened(tmp_path / "postgres")
    while not search.done:
        studies.train(search, search.ask())
    one, other = (Study.open(tmp_path / name).trials() for name in ("journal", "postgres"))
    assert [r.values for r in one] == [r.values for r in other]
    assert [r.number for r in other] == list(range(12))
    for left, right in zip(one, other, strict=True):
        assert {e: r["curve"] for e, r in left.log.items()} == {
            e: r["curve"] for e, r in right.log.items()
        }


def test_the_password_is_nowhere(tmp_path: Path, url: str, postgres: Postgres) -> None:
    study = new_study(tmp_path / "study", url)
    search = studies.new_search(study)
    studies.train(search, search.ask())
    assert study.storage == f"postgresql://{USER}@127.0.0.1:{postgres.port}/{url[-16:]}"
    told = "".join(f.read_text() for f in (tmp_path / "study").rglob("*") if f.is_file())
    told += repr(study.config) + study.config.model_dump_json()
    for table in ("studies", "study_user_attributes", "trial_user_attributes"):
        told += str(postgres.query(f"SELECT * FROM {table}", url.rpartition("/")[2]))
    assert USER in told
    assert QUOTED not in told
    assert PASSWORD not in told


def test_a_second_driver_is_refused_until_the_first_is_gone(tmp_path: Path, url: str) -> None:
    new_study(tmp_path, url)
    hold = (
        "import sys, time; from pathlib import Path\n"
        "from latsearch.search.storage import Study\n"
        "with Study.open(Path(sys.argv[1]), drive=True).driven():\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        assert f"pid {holder.pid} on " in str(Study.open(tmp_path).driver())
        refused = re.escape(str(tmp_path)) + f".*another `latsearch run` .*pid {holder.pid} on"
        for attempt in (Study.open(tmp_path).driven, lambda: put_aside(tmp_path)):
            with pytest.raises(StudyError, match=refused):
                attempt().__enter__()  # type: ignore[union-attr]
        with pytest.raises(StudyError, match=refused):
            remove_study(tmp_path)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    deadline = time.monotonic() + 20
    while Study.open(tmp_path).driver() is not None:  # the server notices the closed connection
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with Study.open(tmp_path).driven():
        assert Study.open(tmp_path).driver() is not None


def test_an_older_driver_cannot_write_any_more(tmp_path: Path, url: str) -> None:
    old = studies.new_search(new_study(tmp_path, url))
    assignment = old.ask()
    values = dict(old.records[0].values)
    assert old.report(0, studies.report(values, 1))
    new = reopened(tmp_path)  # e.g. the old one's machine was cut off, and has come back
    assert new.ask().number == assignment.number
    with pytest.raises(Superseded, match="has taken this study over"):
        old.report(0, studies.report(values, 2))
    with pytest.raises(Superseded):
        old.ask()
    with pytest.raises(Superseded):
        old.fail(0, "the old driver's word")
    assert new.report(0, studies.report(values, 2))
    (record,) = Study.open(tmp_path).trials()
    assert sorted(record.log) == [1, 2]
    assert record.log[2]["session"] == 2
    assert record.state is TrialState.RUNNING


def test_a_takeover_waits_for_a_write_under_way(tmp_path: Path, url: str) -> None:
    """The fence is held to the end of a transaction: what it wrote is seen by the newer driver."""
    study = new_study(tmp_path, url)
    studies.new_search(study)
    database = study._database
    assert database is not None
    order: list[str] = []

    def take_over() -> None:
        reopened(tmp_path)
        order.append("taken over")

    with database.engine.begin():
        other = threading.Thread(target=take_over)
        other.start()
        time.sleep(2.0)
        order.append("written")
    other.join(30)
    assert order == ["written", "taken over"]


def test_a_database_that_is_away_for_a_while_is_waited_for(
    tmp_path: Path, url: str, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    study = new_study(tmp_path, url)
    with study.driven():
        search = studies.new_search(study)
        studies.train(search, search.ask())
        postgres.stop()
        back = threading.Timer(4.0, postgres.start)
        back.start()
        try:
            while not search.done:
                studies.train(search, search.ask())
        finally:
            back.join()
        assert Study.open(tmp_path).driver() is not None  # the lock was taken again
        with pytest.raises(StudyError, match="another `latsearch run`"):
            Study.open(tmp_path).driven().__enter__()
    records = Study.open(tmp_path).trials()
    assert [r.number for r in records] == list(range(12))
    assert all(r.state is TrialState.COMPLETE for r in records)
    assert all(sorted(r.log) == [1, 2, 3] for r in records)
    told = [record.getMessage() for record in caplog.records]
    assert sum("does not answer" in line for line in told) == 1
    assert sum("answers again" in line for line in told) == 1


def test_a_trial_whose_creation_was_not_acknowledged_is_created_once(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server commits, and the answer is lost: the second attempt finds the trial."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import OperationalError

    search = studies.new_search(new_study(tmp_path, url))
    create, lost = RDBStorage._create_new_trial, []

    def deaf(self: RDBStorage, *args: object) -> object:
        trial = create(self, *args)  # type: ignore[arg-type]
        if not lost:
            lost.append(trial)
            raise OperationalError("COMMIT", None, Exception("server closed the connection"))
        return trial

    monkeypatch.setattr(RDBStorage, "_create_new_trial", deaf)
    assert [search.ask().number, search.ask().number] == [0, 1]
    assert len(lost) == 1
    records = Study.open(tmp_path).trials()
    assert [record.values for record in records] == [
        search.records[number].values for number in (0, 1)
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: url.replace(QUOTED, "wrong"), "password authentication failed .*; give the"),
        (lambda url: url.replace(f":{QUOTED}", ""), "no password supplied; give the password in"),
        (lambda url: f"{url}_2", 'database "studies_.*_2" does not exist; make it with createdb'),
        (
            lambda url: re.sub(r":\d+/", ":1/", url),
            r"at 127.0.0.1:1/.* does not answer \(.*refused",
        ),
    ],
)
def test_what_is_wrong_with_a_url_is_said_in_one_line(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, change: object, message: str
) -> None:
    new_study(tmp_path, url)
    monkeypatch.setenv("LATSEARCH_STORAGE", change(url))  # type: ignore[operator]
    with pytest.raises(StudyError, match=message) as caught:
        Study.open(tmp_path)
    assert "\n" not in str(caught.value)
    assert QUOTED not in str(caught.value)
    assert caught.value.exit_code == 2


def test_what_is_in_the_environment_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment_url() is None
    monkeypatch.setenv("LATSEARCH_STORAGE", f"mysql://{USER}:{QUOTED}@db/studies")
    with pytest.raises(UserError, match=r"LATSEARCH_STORAGE: .*neither postgresql") as caught:
        environment_url()
    assert QUOTED not in str(caught.value)
    monkeypatch.setenv("LATSEARCH_STORAGE", f"postgres://{USER}:{PASSWORD}@db/studies")
    with pytest.raises(UserError, match="/, @, : in a password as %2F") as caught:
        environment_url()
    assert PASSWORD not in str(caught.value)
    monkeypatch.setenv("LATSEARCH_STORAGE", f"postgres://{USER}:{QUOTED}@db/studies")
    assert place_of(str(environment_url())) == "PostgreSQL at db/studies"


def test_studies_of_one_name_live_in_one_database(tmp_path: Path, url: str) -> None:
    new_study(tmp_path / "a", url)
    new_study(tmp_path / "b", url)
    searches = [reopened(tmp_path / name) for name in ("a", "b")]
    for search in searches:
        studies.train(search, search.ask())
    aside = put_aside(tmp_path / "a")
    assert aside is not None
    assert len(Study.open(aside).trials()) == 1
    remove_study(aside)
    with pytest.raises(StudyError, match="no study here"):
        Study.open(aside)
    assert len(Study.open(tmp_path / "b").trials()) == 1


def test_a_removed_study_is_gone_from_the_database(
    tmp_path: Path, url: str, postgres: Postgres
) -> None:
    new_study(tmp_path / "a", url)
    with folder_lock(tmp_path / "a", url):
        pass
    remove_study(tmp_path / "a")
    assert postgres.query("SELECT * FROM studies", url.rpartition("/")[2]) == []
