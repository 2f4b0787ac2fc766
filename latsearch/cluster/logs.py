"""What a job's pods print, followed across connections that break and pods that are replaced."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal

from latsearch.cluster.answers import HungUp, NotFound, Unavailable
from latsearch.cluster.client import Cluster, Json
from latsearch.errors import ClusterError

Part = Literal["driver", "head", "worker"]

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_OVERLAP = 5  # seconds that are asked for again, since clocks differ
_OVER = ("Succeeded", "Failed")


def find_pods(cluster: Cluster, job: str, ray_cluster: str, part: Part) -> list[Json]:
    """The pods of a job's part, the newest first.

    The driver prints into the submitter's log: that pod is a Kubernetes Job's, and carries the
    RayJob's name.
    """
    if part == "driver":
        found = cluster.pods(f"ray.io/originated-from-cr-name={job},job-name={job}")
    elif ray_cluster:
        found = cluster.pods(f"ray.io/cluster={ray_cluster},ray.io/node-type={part}")
    else:
        found = []
    return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)


def main_container(pod: Json) -> str:
    """The container that does the pod's work: KubeRay's rule, the first."""
    return str(pod["spec"]["containers"][0]["name"])


def printed(cluster: Cluster, pod: Json, tail: int | None = None) -> Iterator[str]:
    """What a pod has printed so far."""
    options = {} if tail is None else {"tail_lines": tail}
    yield from cluster.log(pod["metadata"]["name"], main_container(pod), **options)


def follow(
    cluster: Cluster,
    pod: Json,
    *,
    tail: int | None = None,
    pause: float = 1.0,
    patience: float = 600.0,
) -> Iterator[str]:
    """What a pod prints, until it ends; each line once, also where the connection breaks.

    Raises:
        Unavailable: the cluster did not answer for `patience` seconds.
    """
    name, container = pod["metadata"]["name"], main_container(pod)
    seen = _Seen()
    last_answer = time.monotonic()
    phase = ""
    while True:
        try:
            phase = _phase(cluster, pod)  # before, so that what an ended pod printed is read whole
            options = {"follow": True, "timestamps": True, **seen.since()}
            if tail is not None and not seen.any:
                options["tail_lines"] = tail
            for line in cluster.log(name, container, **options):
                last_answer = time.monotonic()
                text = seen.take(line)
                if text is not None:
                    yield text
            last_answer = time.monotonic()
            if phase in _OVER:
                return
        except NotFound:
            return
        except Unavailable:
            if time.monotonic() - last_answer > patience:
                raise
        except HungUp:
            raise
        except ClusterError:
            if phase != "Pending":  # not placed, or its container not started: it has no log yet
                raise
        cluster.rest(pause)


def follow_driver(
    cluster: Cluster,
    job: str,
    ended: Callable[[], bool],
    *,
    tail: int | None = None,
    pause: float = 1.0,
) -> Iterator[str]:
    """What the driver prints, across submitters: a job that is tried again has a new one.

    Args:
        cluster: where the job is.
        job: its name.
        ended: whether no further submitter is to come.
        tail: begin with so many lines of the past; None for all.
        pause: seconds between two looks.
    """
    done: set[str] = set()
    while True:
        no_more = ended()  # before the look, so that what was there then is still read
        pods = [p for p in _submitters(cluster, job) if p["metadata"]["uid"] not in done]
        if pods:
            done.add(pods[-1]["metadata"]["uid"])
            yield from follow(cluster, pods[-1], tail=tail, pause=pause)
        elif no_more:
            return
        else:
            cluster.rest(pause)


def _submitters(cluster: Cluster, job: str) -> list[Json]:
    try:
        return find_pods(cluster, job, "", "driver")
    except Unavailable:
        return []


def _phase(cluster: Cluster, pod: Json) -> str:
    """Where a pod stands now."""
    name = pod["metadata"]["name"]
    for there in cluster.pods(_selector(pod)):
        if there["metadata"]["name"] == name:
            return str((there.get("status") or {}).get("phase", ""))
    raise NotFound(f"{name}: is gone")


def _selector(pod: Json) -> str:
    """Labels that few other pods share."""
    labels = pod["metadata"].get("labels") or {}
    known = ("ray.io/originated-from-cr-name", "ray.io/cluster", "ray.io/node-type", "job-name")
    return ",".join(f"{key}={labels[key]}" for key in known if key in labels)


class _Seen:
    """Which lines were shown, by their time stamps; several lines may share one."""

    def __init__(self) -> None:
        self._last: tuple[datetime, str] | None = None
        self._at_last = 0  # lines shown with the last stamp
        self._repeated = 0  # of these, met again since the log was asked for
        self._received = 0.0

    @property
    def any(self) -> bool:
        """Whether a line was shown."""
        return self._last is not None

    def since(self) -> dict[str, int]:
        """Options for asking again: from where, with some overlap."""
        self._repeated = 0
        if self._last is None:
            return {}
        return {"since_seconds": int(time.monotonic() - self._received) + _OVERLAP}

    def take(self, line: str) -> str | None:
        """The text of a line with a stamp; None where it was shown before."""
        head, _, text = line.partition(" ")
        match = _STAMP.fullmatch(head)
        if match is None:
            return line
        second, fraction, zone = match.groups()
        at = datetime.fromisoformat(second + zone.replace("Z", "+00:00"))
        stamp = (at, (fraction or "").ljust(9, "0"))
        if self._last is not None and stamp < self._last:
            return None
        if stamp == self._last:
            self._repeated += 1
            if self._repeated <= self._at_last:
                return None
            self._at_last += 1
        else:
            self._last, self._at_last, self._repeated = stamp, 1, 1
        self._received = time.monotonic()
        return text
