"""One MLflow store as the publisher uses it. Importing this imports mlflow, which takes seconds.

Only `MlflowClient` is used, no fluent API: nothing here changes or reads MLflow's global state.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from latsearch.errors import UserError
from latsearch.tracking.dataset import CONTEXT, CONTEXT_TAG, DatasetSpec
from latsearch.tracking.layout import KIND, RUNNING, STUDY_ID, STUDY_KIND, MetricValue, RunSpec
from latsearch.tracking.location import (
    SQLITE,
    TrackingError,
    artifact_folder,
    database_file,
    failure,
    shown_uri,
)

STORE_ERRORS = (MlflowException, SQLAlchemyError, OSError)  # of any store, driver or network
_PAGE = 5000
_SQLITE_MAGIC = b"SQLite format 3\0"
Check = Callable[[], None]


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run as the store has it."""

    run_id: str
    status: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


class Runs(Protocol):
    """The runs of an experiment, many at once; what is written twice is there once."""

    def find(self, study_id: str) -> list[FoundRun]:
        """All runs of a study that were not deleted, oldest first."""

    def write(self, runs: Sequence[tuple[str | None, RunSpec]]) -> list[str]:
        """Create runs, or complete those whose id is given; their ids."""

    def log(self, metrics: Mapping[str, Sequence[MetricValue]]) -> None:
        """Add metrics to runs by id."""

    def tag(self, tags: Mapping[str, Mapping[str, str]]) -> None:
        """Set tags of runs by id."""

    def end(self, ends: Mapping[str, tuple[str, int]]) -> None:
        """Set status and end of runs by id."""

    def use(self, run_ids: Sequence[str], dataset: DatasetSpec) -> None:
        """Note a data set as an input of runs."""

    def upload(self, run_id: str, folder: Path, path: str | None = None) -> None:
        """Add the files of a folder to a run's artifacts."""

    def optimize(self) -> None:
        """Have the store answer quickly after much was written."""


class ClientRuns:
    """The runs of an experiment in any store, written one by one, ``check`` called before each."""

    def __init__(self, client: MlflowClient, experiment: str, check: Check):
        self._client = client
        self._experiment = experiment
        self._check = check

    def find(self, study_id: str) -> list[FoundRun]:
        """All runs of a study that were not deleted, oldest first."""
        runs: list[FoundRun] = []
        token: str | None = None
        while True:
            self._check()
            page = self._client.search_runs(
                [self._experiment],
                f"tags.`{STUDY_ID}` = '{study_id}'",
                ViewType.ACTIVE_ONLY,
                _PAGE,
                ["attributes.start_time ASC"],
                token,
            )
            runs += [
                FoundRun(run.info.run_id, run.info.status, run.data.tags, run.data.metrics)
                for run in page
            ]
            token = page.token
            if not token:
                return runs

    def write(self, runs: Sequence[tuple[str | None, RunSpec]]) -> list[str]:
        """Create runs, or complete those whose id is given; a run that ends does so last."""
        return [self._write(run_id, spec) for run_id, spec in runs]

    def _write(self, run_id: str | None, spec: RunSpec) -> str:
        self._check()
        tags: Mapping[str, str] = {}
        if run_id is None:
            run = self._client.create_run(
                self._experiment, spec.start, dict(spec.tags), run_name=spec.name
            )
            run_id = str(run.info.run_id)
        else:
            tags = spec.tags
        self._client.log_batch(
            run_id,
            _metrics(spec.metrics),
            [Param(key, value) for key, value in spec.params.items()],
            _tags(tags),
        )
        if spec.end is not None:
            self._client.set_terminated(run_id, spec.status, spec.end)
        return run_id

    def log(self, metrics: Mapping[str, Sequence[MetricValue]]) -> None:
        """Add metrics to runs by id."""
        for run_id, values in metrics.items():
            self._check()
            self._client.log_batch(run_id, _metrics(values))

    def tag(self, tags: Mapping[str, Mapping[str, str]]) -> None:
        """Set tags of runs by id."""
        for run_id, values in tags.items():
            self._check()
            self._client.log_batch(run_id, tags=_tags(values))

    def end(self, ends: Mapping[str, tuple[str, int]]) -> None:
        """Set status and end of runs by id."""
        for run_id, (status, time) in ends.items():
            self._check()
            self._client.set_terminated(run_id, status, time)

    def use(self, run_ids: Sequence[str], dataset: DatasetSpec) -> None:
        """Note a data set as an input of runs."""
        for run_id in run_ids:
            self._check()
            self._client.log_inputs(run_id, [dataset_input(dataset)])

    def upload(self, run_id: str, folder: Path, path: str | None = None) -> None:
        """Add the files of a folder to a run's artifacts."""
        self._check()
        self._client.log_artifacts(run_id, str(folder), path)

    def optimize(self) -> None:
        """Leave it to the server's database."""


class Tracker:
    """An experiment in an MLflow store.

    Attributes:
        uri: tracking URI of the store.
        experiment_id: id of the experiment.
        runs: its runs.

    Raises:
        UserError: the URI is none that MLflow knows, or the experiment was deleted there.
    """

    def __init__(self, uri: str, experiment: str, artifacts: Path | None, check: Check):
        self.uri = uri
        self._check = check
        _check_database(uri)
        _make_database(uri)
        try:
            self._client = MlflowClient(uri)
        except MlflowException as error:
            raise UserError(f"{shown_uri(uri)}: {failure(uri, error)}") from None
        self.experiment_id = self._find_experiment(experiment, artifacts or artifact_folder(uri))
        self.runs: Runs = self._choose()

    def _find_experiment(self, name: str, artifacts: Path | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = artifacts.resolve().as_uri() if artifacts else None
            return str(self._client.create_experiment(name, location))
        if found.lifecycle_stage != "active":
            raise UserError(
                f"{shown_uri(self.uri)}: the experiment {name} was deleted in MLflow; restore it "
                f"with `mlflow experiments restore --experiment-id {found.experiment_id}`"
            )
        return str(found.experiment_id)

    def _choose(self) -> Runs:
        from latsearch.tracking.bulk import SqliteRuns

        store = self._client._tracking_client.store
        experiment = self._experiment()
        if SqliteRuns.fits(store):
            return SqliteRuns(store, experiment, self._check)
        return ClientRuns(self._client, self.experiment_id, self._check)

    def last_step(self, run_id: str, key: str) -> int:
        """Largest step of a run's metric, 0 where it has none."""
        history = self._client.get_metric_history(run_id, key)
        return max((metric.step for metric in history), default=0)

    def reopen(self, run_id: str) -> None:
        """Have a run that had ended go on."""
        self._check()
        self._client.update_run(run_id, status=RUNNING)

    def delete(self, run_id: str) -> None:
        """Delete a run."""
        self._check()
        self._client.delete_run(run_id)

    def experiment_tags(self) -> dict[str, str]:
        """The experiment's tags."""
        return dict(self._experiment().tags)

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment."""
        for key, value in tags.items():
            self._check()
            self._client.set_experiment_tag(self.experiment_id, key, value)

    def untag_experiment(self, keys: Iterable[str]) -> None:
        """Remove tags of the experiment."""
        for key in keys:
            self._check()
            self._client.delete_experiment_tag(self.experiment_id, key)

    def _experiment(self) -> Experiment:
        return self._client.get_experiment(self.experiment_id)


@dataclass(frozen=True, slots=True)
class PublishedStudy:
    """A study that a store has."""

    experiment_id: str
    study_id: str


def published_studies(uri: str) -> list[PublishedStudy]:
    """The studies that a store has, newest first."""
    client = MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(
        experiments, f"tags.`{KIND}` = '{STUDY_KIND}'", order_by=["attributes.start_time DESC"]
    )
    return [PublishedStudy(run.info.experiment_id, run.data.tags[STUDY_ID]) for run in runs]


def _check_database(uri: str) -> None:
    """Refuse at once a file that is no database and cannot become one: MLflow tries for minutes."""
    file = database_file(uri)
    if file is None:
        return
    if file.is_file():
        with file.open("rb") as stream:
            if stream.read(len(_SQLITE_MAGIC)) not in (_SQLITE_MAGIC, b""):
                raise UserError(f"{shown_uri(uri)}: {file} is no sqlite database")
    elif not os.access(file.parent, os.W_OK):
        raise UserError(f"{shown_uri(uri)}: {file.parent} is no folder that can be written to")


def _make_database(uri: str) -> None:
    """Make MLflow's tables aside and move them into place, where the store is a new sqlite file.

    That takes MLflow seconds, and a file that a kill leaves half made is of no use to it any more.
    """
    file = database_file(uri)
    if file is None or file.exists():
        return
    aside = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    try:
        client = MlflowClient(f"{SQLITE}{aside}")
        client.search_experiments(max_results=1)
        client._tracking_client.store.engine.dispose()
        with suppress(FileExistsError):  # another one was faster
            os.link(aside, file)
    finally:
        aside.unlink(missing_ok=True)


def tracking_error(uri: str, error: Exception) -> TrackingError:
    """What went wrong with a store, in one line and without its password."""
    return TrackingError(f"MLflow at {shown_uri(uri)}: {failure(uri, error)}")


def dataset_input(dataset: DatasetSpec) -> DatasetInput:
    """A data set as MLflow takes it."""
    return DatasetInput(
        Dataset(
            dataset.name,
            dataset.digest,
            dataset.source_type,
            dataset.source,
            dataset.schema,
            dataset.profile,
        ),
        [InputTag(CONTEXT_TAG, CONTEXT)],
    )


def _metrics(values: Sequence[MetricValue]) -> list[Metric]:
    return [Metric(m.key, m.value, m.time, m.step) for m in values]


def _tags(values: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(key, value) for key, value in values.items()]
