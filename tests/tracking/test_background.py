"""Publishing beside a search, with stores that are slow, away, or come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from latsearch.search.storage import Study
from latsearch.tracking import BackgroundPublisher, default_uri, publish
from latsearch.tracking.lock import PublisherLock
from latsearch.tracking.publishing import Publication
from latsearch.tracking.ui import ui_server
from tests.tracking.rows import database_rows, runs_of_kind
from tests.tracking.synthetic import SyntheticStudy


def wait_for(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@contextmanager
def background(
    study: Study, uri: str, warnings: list[str], **settings: float
) -> Iterator[BackgroundPublisher]:
    options = {"interval": 0.05, **settings}
    with BackgroundPublisher(study.folder, uri, warn=warnings.append, **options) as publisher:
        yield publisher


def test_a_search_is_mirrored_while_it_runs(synthetic: SyntheticStudy, uri: str) -> None:
    warnings: list[str] = []
    with background(synthetic.study, uri, warnings) as publisher:
        number = synthetic.start()
        synthetic.report(number, 1)
        publisher(None)
        wait_for(lambda: publisher.report and publisher.report.trials == 1)
        synthetic.report(number, 2)
        synthetic.complete(number)
        for _ in range(5):
            synthetic.trial(checkpoint=True)
            publisher(None)
    assert warnings == []
    assert publisher.report is not None
    assert publisher.report.trials == 6
    before = database_rows(uri)
    assert publish(synthetic.study, uri).written == 0
    assert database_rows(uri) == before


def test_an_event_takes_microseconds(synthetic: SyntheticStudy, uri: str) -> None:
    with background(synthetic.study, uri, []) as publisher:
        start = time.perf_counter()
        for _ in range(1000):
            publisher(None)
        assert time.perf_counter() - start < 0.5


def test_a_server_that_is_down_and_comes_back(
    synthetic: SyntheticStudy, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latsearch.tracking.background._LONGEST_PAUSE", 0.3)
    warnings: list[str] = []
    address = f"http://127.0.0.1:{free_port}"
    store = default_uri(tmp_path)
    with background(synthetic.study, address, warnings) as publisher:
        for _ in range(3):
            synthetic.trial()
            publisher(None)
        wait_for(lambda: warnings)
        with ui_server(store, free_port):
            wait_for(lambda: publisher.report and publisher.report.trials == 3)
        for _ in range(2):  # it is down again
            synthetic.trial()
            publisher(None)
        wait_for(lambda: len(warnings) == 2)
        with ui_server(store, free_port):
            synthetic.trial()
            publisher(None)
            wait_for(lambda: publisher.report and publisher.report.trials == 6)
            assert len(warnings) == 2, warnings
            before = database_rows(store)
            assert len(runs_of_kind(store, "trial")) == 6
            assert len({tuple(row[:1] + row[1:2] + row[3:4]) for row in before["metrics"]}) == len(
                before["metrics"]
            ), "a metric is there twice"
    assert "does not have everything" in warnings[-1]  # the server was gone at the end


def test_a_store_that_never_answers_costs_a_bounded_time(
    synthetic: SyntheticStudy, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = threading.Event()
    monkeypatch.setattr(Publication, "update", lambda self, settle: stuck.wait(30))
    warnings: list[str] = []
    with background(synthetic.study, uri, warnings, patience=0.5) as publisher:
        publisher(None)
        start = time.monotonic()
    assert time.monotonic() - start < 5
    stuck.set()
    [warning] = warnings
    assert "latsearch publish" in warning


def test_whatever_is_raised_is_a_warning(
    synthetic: SyntheticStudy, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Publication, settle: bool) -> None:
        raise RuntimeError("this is\na bug")

    monkeypatch.setattr(Publication, "update", fail)
    warnings: list[str] = []
    with background(synthetic.study, uri, warnings) as publisher:
        publisher(None)
        wait_for(lambda: warnings)
    first, last = warnings
    assert "failed (this is); the search goes on" in first
    assert "latsearch publish" in last


def test_an_interrupt_goes_through_and_what_is_there_is_complete(
    synthetic: SyntheticStudy, uri: str
) -> None:
    def search() -> None:
        with background(synthetic.study, uri, []) as publisher:
            for _ in range(3):
                synthetic.trial()
                publisher(None)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search()
    assert len(runs_of_kind(uri, "trial")) == 3


def test_it_waits_for_another_publisher(synthetic: SyntheticStudy, uri: str) -> None:
    warnings: list[str] = []
    synthetic.trial()
    with ExitStack() as other:
        # before the thread starts: it takes the lock as its first act
        other.enter_context(PublisherLock(synthetic.study.folder, uri))
        with background(synthetic.study, uri, warnings) as publisher:
            publisher(None)
            wait_for(lambda: warnings)
            assert publisher.report is None
            other.close()
            wait_for(lambda: publisher.report)
    assert "is being published" in warnings[0]
    assert MlflowClient(uri).get_experiment_by_name("synthetic")


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert default_uri(tmp_path) == "http://mlflow:5000"
