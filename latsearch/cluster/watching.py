"""A RayJob followed from state to state, whatever happens to the connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from latsearch.cluster.answers import Conflict, Gone, NotFound, Unavailable
from latsearch.cluster.client import Cluster, Json
from latsearch.errors import ClusterError

_STREAM = 240  # seconds after which the server ends a watch and the next one begins
_LONGEST_PAUSE = 30.0


def states(
    cluster: Cluster,
    name: str,
    note: Callable[[str], None],
    *,
    pause: float = 1.0,
    patience: float = 600.0,
) -> Iterator[Json]:
    """Each new version of a RayJob, beginning with the present one, until it is deleted.

    A watch that ends, breaks off or is told that its version is too old (410) is begun again: from
    the version seen last, or where that is gone from a fresh look at the job. Nothing is missed
    that a fresh look does not show.

    Args:
        cluster: where the job is.
        name: its name.
        note: takes a line when the connection is lost for longer, and when it is back.
        pause: seconds before a second try; doubled with each further one.
        patience: seconds without an answer after which this gives up.

    Raises:
        NotFound: the job does not exist, or not any more.
        Unavailable: the cluster did not answer for `patience`.
    """
    version: str | None = None
    shown: str | None = None
    lost_since: float | None = None
    wait = pause
    while True:
        try:
            if version is None:
                job, version = cluster.list_job(name)
                if job is None:
                    raise NotFound(f"{name}: the job is not there (any more)")
                lost_since, wait = _back(lost_since, note, pause)
                if job["metadata"]["resourceVersion"] != shown:
                    shown = job["metadata"]["resourceVersion"]
                    yield job
            begun = time.monotonic()
            for event in cluster.watch_job(name, version, _STREAM):
                lost_since, wait = _back(lost_since, note, pause)
                job = _object(event)
                version = job["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    raise NotFound(f"{name}: the job was deleted")
                if event["type"] != "BOOKMARK" and version != shown:
                    shown = version
                    yield job
            if time.monotonic() - begun < pause:  # something ends every watch at once
                cluster.rest(pause)
        except Gone:
            version = None
        except Unavailable as error:
            now = time.monotonic()
            if lost_since is None:
                lost_since = now
            elif now - lost_since > patience:
                raise
            elif wait >= 4 * pause:
                note(f"{error}; trying again")
            cluster.rest(wait)
            wait = min(2 * wait, _LONGEST_PAUSE)


def _back(
    lost_since: float | None, note: Callable[[str], None], pause: float
) -> tuple[float | None, float]:
    if lost_since is not None and time.monotonic() - lost_since > 4 * pause:
        note("the cluster answers again")
    return None, pause


def _object(event: Json) -> Json:
    """What an event is about; an error in the stream becomes one."""
    job: Json = event["object"]
    if event["type"] != "ERROR":
        return job
    words = str(job.get("message", "no reason given"))
    if job.get("code") == 410:
        raise Gone(words)
    if job.get("code") in (429, 500, 502, 503, 504):
        raise Unavailable(words)
    raise ClusterError(words)


def wait_until_gone(cluster: Cluster, name: str, uid: str, seconds: float) -> None:
    """Wait until a job that was deleted is gone, and with it what has its name.

    KubeRay's submitter is a Kubernetes Job of the same name: a new RayJob made while the old one's
    is still there would take that for its own.

    Raises:
        Conflict: it is still there after so many seconds.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            there = cluster.job(name)["metadata"]["uid"] == uid
        except NotFound:
            there = False
        if not there and not cluster.batch_job_exists(name):
            return
        if time.monotonic() > end:
            raise Conflict(
                f"{name}: the former job is still being deleted after {seconds:.0f} s; "
                "`latsearch events` may say why, try again later"
            )
        cluster.rest(0.5)
