"""Rows of a front as tables and files show them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from latsearch.config import StudyConfig, parse_study
from latsearch.errors import ConfigError
from latsearch.reporting import fingerprint, point_row, row_columns, study_status
from latsearch.search.results import operating_points
from latsearch.search.trials import TrialRecord, TrialState
from latsearch.tables import front_table
from tests.search import studies


def config(timestep_ms: float | None, **study: object) -> StudyConfig:
    energy = {} if timestep_ms is None else {"timestep_ms": timestep_ms}
    return studies.config().model_copy(
        update={"energy": studies.config().energy.model_copy(update=energy), **study}
    )


def point():
    log = {3: studies.report({"train.lr": 0.1, "network.timesteps": 2}, 3).to_json()}
    record = TrialRecord(0, TrialState.COMPLETE, {"train.lr": 0.1}, log)
    return operating_points([record], ("accuracy", "latency", "energy"), {})[0]


def test_latency_in_milliseconds_where_a_timestep_has_a_length():
    assert "latency_ms" not in row_columns(config(None))
    row = point_row(point(), config(0.25))
    assert row["latency_ms"] == pytest.approx(0.25 * point().metrics["latency"])
    assert tuple(row) == row_columns(config(0.25))


def test_the_table_has_a_column_of_milliseconds(tmp_path: Path):
    for timestep_ms in (None, 0.25):
        study = studies.new_study(tmp_path / str(timestep_ms), config(timestep_ms))
        stream = io.StringIO()
        Console(file=stream, width=200).print(front_table([point()], study))
        assert ("latency/ms" in stream.getvalue()) == (timestep_ms is not None)


def test_it_may_change_while_a_study_goes_on():
    assert config(0.25).identity() == config(None).identity()


def test_it_is_refused_for_event_data():
    text = (
        "version: 1\nstudy: s\ndata: {name: nmnist}\nnetwork: {encoder: frames}\n"
        "search: {trials: 1}\nenergy: {timestep_ms: 0.5}\n"
    )
    with pytest.raises(ConfigError, match="milliseconds already"):
        parse_study(text, "study.yaml")


def test_status_counts_what_was_refused_and_why_trials_failed(tmp_path: Path):
    study = studies.new_study(tmp_path)
    search = studies.new_search(study)
    studies.train(search, search.ask())
    refused = [{"network.timesteps": 1}, {"network.timesteps": 2}]
    values = dict(search.records[0].values)
    for epoch in (3, 4, 5):
        number = study.new_trial({**values, "train.lr": epoch / 100}, refused[: epoch - 3])
        reason = f"no epoch {epoch}" if epoch < 5 else "KeyError: 'x'"
        study.fail_trial(number, reason, None)
    status = study_status(study)
    assert (status.complete, status.failed, status.refused) == (1, 3, 3)
    assert status.why == {"no epoch #": 2, "KeyError: 'x'": 1}


def test_a_fingerprint_is_that_of_what_was_found_not_of_the_time_it_took(tmp_path: Path):
    def searched(name: str, **search: object) -> str:
        study = studies.new_study(tmp_path / name, studies.config(trials=3, **search))
        driver = studies.new_search(study)
        while not driver.done:
            studies.train(driver, driver.ask())
        return fingerprint(study.trials())

    assert searched("one") == searched("two")
    assert searched("three", seed=4) != searched("one-more")
