"""Many runs in one transaction, for stores that are an sqlite file.

MLflow's client takes tens of milliseconds a run, mostly in its ORM: minutes for a study of
thousands of operating points, and time taken from the trainings that share the machine. The same
rows written in bulk take a thousandth. What they are is MLflow's own table models; a test compares
the rows written either way, and another layout of the tables brings the client back.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow.entities import Experiment
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.tracking.dbmodels.models import (
    SqlDataset,
    SqlInput,
    SqlInputTag,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.uri import append_to_uri_path
from sqlalchemy import Connection, Table, bindparam, select
from sqlalchemy.dialects.sqlite import insert

from latsearch.tracking import layout
from latsearch.tracking.client import FoundRun, dataset_input
from latsearch.tracking.dataset import CONTEXT, CONTEXT_TAG, DatasetSpec
from latsearch.tracking.layout import MetricValue, RunSpec

Row = dict[str, Any]

_CACHE_KB = 131072
_ANALYZED_ROWS = 1000  # of an index: enough for statistics, and quick

_RUNS: Table = SqlRun.__table__
_TAGS: Table = SqlTag.__table__
_PARAMS: Table = SqlParam.__table__
_METRICS: Table = SqlMetric.__table__
_LATEST: Table = SqlLatestMetric.__table__
_DATASETS: Table = SqlDataset.__table__
_INPUTS: Table = SqlInput.__table__
_INPUT_TAGS: Table = SqlInputTag.__table__
_METRIC_COLUMNS = {"run_uuid", "key", "value", "timestamp", "step", "is_nan"}
_KNOWN_COLUMNS = {
    _RUNS: {
        *("run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id"),
        *("status", "start_time", "end_time", "deleted_time", "source_version"),
        *("lifecycle_stage", "artifact_uri", "experiment_id"),
    },
    _TAGS: {"run_uuid", "key", "value"},
    _PARAMS: {"run_uuid", "key", "value"},
    _METRICS: _METRIC_COLUMNS,
    _LATEST: _METRIC_COLUMNS,
    _INPUTS: {
        *("input_uuid", "source_type", "source_id", "destination_type", "destination_id", "step"),
    },
    _INPUT_TAGS: {"input_uuid", "name", "value"},
}


class SqliteRuns:
    """The runs of an experiment in MLflow's own tables, each call one transaction."""

    def __init__(self, store: SqlAlchemyStore, experiment: Experiment, check: Callable[[], None]):
        self._store = store
        self._engine = store.engine
        self._experiment = experiment
        self._check = check

    @staticmethod
    def fits(store: Any) -> bool:
        """Whether the store is an sqlite file with tables of the layout known here."""
        return (
            type(store) is SqlAlchemyStore
            and store.engine.dialect.name == "sqlite"
            and all({c.name for c in t.columns} == known for t, known in _KNOWN_COLUMNS.items())
        )

    def find(self, study_id: str) -> list[FoundRun]:
        """All runs of a study that were not deleted, oldest first, with their tags to go by."""
        self._check()
        of_study = select(_TAGS.c.run_uuid).where(
            _TAGS.c.key == layout.STUDY_ID, _TAGS.c.value == study_id
        )
        runs = (
            select(_RUNS.c.run_uuid, _RUNS.c.status)
            .where(_RUNS.c.run_uuid.in_(of_study), _RUNS.c.lifecycle_stage == "active")
            .where(_RUNS.c.experiment_id == int(self._experiment.experiment_id))
            .order_by(_RUNS.c.start_time)
        )
        tags = select(_TAGS.c.run_uuid, _TAGS.c.key, _TAGS.c.value).where(
            _TAGS.c.key.in_(layout.KNOWN_TAGS), _TAGS.c.run_uuid.in_(of_study)
        )
        ranks = select(_LATEST.c.run_uuid, _LATEST.c.value).where(
            _LATEST.c.key == layout.RANK, _LATEST.c.run_uuid.in_(of_study)
        )
        tags_of: dict[str, dict[str, str]] = defaultdict(dict)
        with self._engine.connect() as connection:
            for run_id, key, value in connection.execute(tags):
                tags_of[run_id][key] = value
            rank_of = {run_id: {layout.RANK: rank} for run_id, rank in connection.execute(ranks)}
            return [
                FoundRun(run_id, status, tags_of[run_id], rank_of.get(run_id, {}))
                for run_id, status in connection.execute(runs)
            ]

    def write(self, runs: Sequence[tuple[str | None, RunSpec]]) -> list[str]:
        """Create runs, or complete those whose id is given; their ids."""
        self._check()
        ids = [run_id or uuid.uuid4().hex for run_id, _ in runs]
        pairs = [(run_id, spec) for run_id, (_, spec) in zip(ids, runs, strict=True)]
        new = [pair for pair, (known, _) in zip(pairs, runs, strict=True) if known is None]
        with self._transaction() as connection:
            _insert(connection, _RUNS, (self._run_row(run_id, spec) for run_id, spec in new))
            _set_tags(connection, {run_id: _all_tags(spec) for run_id, spec in pairs})
            _insert(
                connection,
                _PARAMS,
                (
                    {"run_uuid": run_id, "key": key, "value": value}
                    for run_id, spec in pairs
                    for key, value in spec.params.items()
                ),
            )
            _add_metrics(connection, {run_id: spec.metrics for run_id, spec in pairs})
            _set_ends(
                connection,
                {run_id: (spec.status, spec.end) for run_id, spec in pairs if spec.end is not None},
            )
        return ids

    def log(self, metrics: Mapping[str, Sequence[MetricValue]]) -> None:
        """Add metrics to runs by id."""
        self._check()
        with self._transaction() as connection:
            _add_metrics(connection, metrics)

    def tag(self, tags: Mapping[str, Mapping[str, str]]) -> None:
        """Set tags of runs by id."""
        self._check()
        with self._transaction() as connection:
            _set_tags(connection, tags)

    def end(self, ends: Mapping[str, tuple[str, int]]) -> None:
        """Set status and end of runs by id."""
        self._check()
        with self._transaction() as connection:
            _set_ends(connection, ends)

    def use(self, run_ids: Sequence[str], dataset: DatasetSpec) -> None:
        """Note a data set as an input of runs: by MLflow of the first, in bulk of the others."""
        if not run_ids:
            return
        self._check()
        first, *others = run_ids
        self._store.log_inputs(first, [dataset_input(dataset)])
        if not others:
            return
        known = select(_DATASETS.c.dataset_uuid).where(
            _DATASETS.c.experiment_id == int(self._experiment.experiment_id),
            _DATASETS.c.name == dataset.name,
            _DATASETS.c.digest == dataset.digest,
        )
        self._check()
        with self._transaction() as connection:
            source = connection.execute(known).scalar_one()
            # the same input has the same id, so that a second writing changes nothing
            ids = {r: uuid.uuid5(uuid.NAMESPACE_OID, source + r).hex for r in others}
            there = select(_INPUTS.c.destination_id).where(_INPUTS.c.source_id == source)
            present = set(connection.execute(there).scalars())
            new = {run_id: key for run_id, key in ids.items() if run_id not in present}
            _insert(
                connection,
                _INPUTS,
                (
                    {
                        "input_uuid": key,
                        "source_type": "DATASET",
                        "source_id": source,
                        "destination_type": "RUN",
                        "destination_id": run_id,
                    }
                    for run_id, key in new.items()
                ),
            )
            _insert(
                connection,
                _INPUT_TAGS,
                (
                    {"input_uuid": key, "name": CONTEXT_TAG, "value": CONTEXT}
                    for key in new.values()
                ),
            )

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            # run ids are random: with sqlite's 2 MB every row would cost a page of its indexes
            connection.exec_driver_sql(f"PRAGMA cache_size = -{_CACHE_KB}")
            yield connection

    def upload(self, run_id: str, folder: Path, path: str | None = None) -> None:
        """Add the files of a folder to a run's artifacts."""
        self._check()
        # the client would read the whole run to learn where they are
        get_artifact_repository(self._artifacts(run_id)).log_artifacts(str(folder), path)

    def optimize(self) -> None:
        """Gather statistics, without which sqlite plans MLflow's sorted searches quadratically."""
        self._check()
        with self._transaction() as connection:
            connection.exec_driver_sql(f"PRAGMA analysis_limit = {_ANALYZED_ROWS}")
            connection.exec_driver_sql("ANALYZE")

    def _artifacts(self, run_id: str) -> str:
        return str(
            append_to_uri_path(
                self._experiment.artifact_location, run_id, SqlAlchemyStore.ARTIFACTS_FOLDER_NAME
            )
        )

    def _run_row(self, run_id: str, spec: RunSpec) -> Row:
        return {
            "run_uuid": run_id,
            "name": spec.name,
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "user_id": "unknown",
            "status": "RUNNING",
            "start_time": spec.start,
            "end_time": None,
            "deleted_time": None,
            "source_version": "",
            "lifecycle_stage": "active",
            "artifact_uri": self._artifacts(run_id),
            "experiment_id": int(self._experiment.experiment_id),
        }


def _all_tags(spec: RunSpec) -> dict[str, str]:
    return {**spec.tags, "mlflow.runName": spec.name}


def _insert(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    """Insert the rows that are not there yet."""
    listed = list(rows)
    if listed:
        connection.execute(insert(table).on_conflict_do_nothing(), listed)


def _set_tags(connection: Connection, tags: Mapping[str, Mapping[str, str]]) -> None:
    statement = insert(_TAGS)
    statement = statement.on_conflict_do_update(
        index_elements=["key", "run_uuid"], set_={"value": statement.excluded.value}
    )
    rows = [
        {"run_uuid": run_id, "key": key, "value": value}
        for run_id, values in tags.items()
        for key, value in values.items()
    ]
    if rows:
        connection.execute(statement, rows)


def _add_metrics(connection: Connection, metrics: Mapping[str, Sequence[MetricValue]]) -> None:
    """Add the metrics, and the newest of each to the table that the UI shows."""
    rows: list[Row] = []
    latest: dict[tuple[str, str], Row] = {}
    for run_id, values in metrics.items():
        for metric in values:
            row = {
                "run_uuid": run_id,
                "key": metric.key,
                "value": metric.value,
                "timestamp": metric.time,
                "step": metric.step,
                "is_nan": False,
            }
            rows.append(row)
            known = latest.get((run_id, metric.key))
            if known is None or (known["step"], known["timestamp"]) <= (metric.step, metric.time):
                latest[run_id, metric.key] = row
    _insert(connection, _METRICS, rows)
    statement = insert(_LATEST)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["key", "run_uuid"],
        set_={name: new[name] for name in ("value", "timestamp", "step", "is_nan")},
        where=new.step >= _LATEST.c.step,
    )
    if latest:
        connection.execute(statement, list(latest.values()))


def _set_ends(connection: Connection, ends: Mapping[str, tuple[str, int]]) -> None:
    statement = (
        _RUNS.update()
        .where(_RUNS.c.run_uuid == bindparam("run"))
        .values(status=bindparam("how"), end_time=bindparam("at"))
    )
    rows = [{"run": run_id, "how": how, "at": at} for run_id, (how, at) in ends.items()]
    if rows:
        connection.execute(statement, rows)
