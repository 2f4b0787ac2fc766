"""`publish`: make MLflow's copy of a study complete."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from latsearch.search.storage import Study
from latsearch.tracking.attachments import Attach
from latsearch.tracking.location import is_server, shown_uri
from latsearch.tracking.lock import PublisherLock
from latsearch.tracking.publisher import Publisher
from latsearch.tracking.views import view_fragment

_PAUSES = (1.0, 3.0)  # seconds before a server is tried again


@dataclass(frozen=True)
class PublishReport:
    """What MLflow has of a study after a publication.

    Attributes:
        uri: tracking URI of the store.
        experiment_id: id of the study's experiment.
        run_id: id of the study's parent run.
        trials: runs of trials.
        points: runs of operating points.
        written: runs of either that were created or changed.
        view: what follows a server's address to open the study's Pareto front.
    """

    uri: str
    experiment_id: str
    run_id: str
    trials: int
    points: int
    written: int
    view: str

    @property
    def url(self) -> str | None:
        """Where the Pareto front can be seen, without a password; None where there is no server."""
        return f"{self.shown_uri.rstrip('/')}/{self.view}" if is_server(self.uri) else None

    @property
    def shown_uri(self) -> str:
        """The tracking URI without a password."""
        return shown_uri(self.uri)


def publish(
    study: Study, uri: str, artifacts: Path | None = None, attach: Attach | None = None
) -> PublishReport:
    """Make MLflow's copy of a study complete; where it is, nothing is written.

    Args:
        study: the study; it may be running.
        uri: tracking URI of the MLflow store.
        artifacts: folder for the artifacts of a new experiment; None for the store's own choice,
            which for an sqlite file is ``mlartifacts`` beside it.
        attach: writes further files for the study's parent run into a folder, e.g. a report;
            called where something has changed since the last time.

    Raises:
        UserError: MLflow does not know such a URI, or the experiment was deleted in it.
        StudyError: another process is publishing this study there.
        TrackingError: the store cannot be reached, or refused something.
    """
    prepare_environment()
    from latsearch.tracking.client import STORE_ERRORS, tracking_error

    with PublisherLock(study.folder, uri):
        for pause in (*_PAUSES, None):
            try:
                publication = Publication(study, uri, artifacts, attach)
                publication.update(settle=True)
                return publication.report
            except STORE_ERRORS as error:
                if pause is None or not is_server(uri):
                    raise tracking_error(uri, error) from error
                time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


class Publication:
    """A study being published to a store.

    Args:
        study: the study.
        uri: tracking URI of the store.
        artifacts: folder for the artifacts of a new experiment.
        attach: writes further files for the study's parent run into a folder.
        check: called before every request; raises to give up.
    """

    def __init__(
        self,
        study: Study,
        uri: str,
        artifacts: Path | None = None,
        attach: Attach | None = None,
        check: Callable[[], None] = lambda: None,
    ):
        prepare_environment()
        from latsearch.tracking.client import Tracker

        self._uri = uri
        self._name = study.name
        self._tracker = Tracker(uri, study.config.study, artifacts, check)
        self._publisher = Publisher(study, self._tracker, attach)

    def update(self, *, settle: bool) -> None:
        """Publish what is new; with ``settle`` also what is only looked at now and then."""
        self._publisher.publish(settle=settle)

    @property
    def report(self) -> PublishReport:
        """What MLflow has now."""
        known = self._publisher.known
        return PublishReport(
            uri=self._uri,
            experiment_id=self._tracker.experiment_id,
            run_id=known.parent or "",
            trials=len(known.trials),
            points=len(known.points),
            written=self._publisher.written,
            view=view_fragment(self._tracker.experiment_id, self._name),
        )


def prepare_environment() -> None:
    """Keep MLflow quiet and its requests short; before its import, minding what the user set."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        # a request is not repeated blindly, which might create a run twice: the publisher looks
        # at what is there before it tries again
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    }.items():
        os.environ.setdefault(name, value)
