"""Why nothing happens: the events of a job and of all that it leads to, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from latsearch.cluster.answers import understood
from latsearch.cluster.client import Cluster, Json
from latsearch.cluster.state import JobState, text, when

_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]{5}"  # what Kubernetes and KubeRay append to names

_IMAGE = "is the image's name right, and may the cluster pull it? --image names another"
# by a text in an event's or a container's words: what it means, and what to do
_ADVICE = (
    ("violates PodSecurity", "the pod lacks a security context: compare k8s/base/rayjob.yaml"),
    ("exceeded quota", "the namespace's quota is used up: fewer --workers, or a larger quota"),
    ("Insufficient nvidia.com/gpu", "no node has a free GPU: fewer --gpus or --workers, or wait"),
    ("didn't match Pod's node affinity", "no node is of the kind that the template asks for"),
    ("untolerated taint", "the nodes with room are kept for others: add a toleration"),
    ("unbound immediate PersistentVolumeClaims", "a claim waits for a volume: kubectl get pvc"),
    ("Insufficient", "no node has room: smaller --cpus or --memory, fewer --workers, or wait"),
    ("secret", "a Secret is missing: k8s/make-secrets.sh makes them"),
    ("configmap", "a ConfigMap is missing: kubectl apply -k k8s/overlays/dev makes those of ours"),
    ("ErrImagePull", _IMAGE),
    ("ImagePullBackOff", _IMAGE),
    ("InvalidImageName", _IMAGE),
    ("OOMKilled", "it needs more memory: --memory, or smaller networks"),
)  # fmt: skip
_STUCK = (
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError",
    "CreateContainerError", "CrashLoopBackOff", "RunContainerError",
)  # fmt: skip


@dataclass(frozen=True)
class JobEvent:
    """An event of a job or of what it leads to.

    Attributes:
        at: when it was last seen; None where the server does not say.
        warning: whether it is a warning.
        reason: one word.
        what: kind and name of the object.
        message: a sentence.
        count: how often it was seen.
    """

    at: datetime | None
    warning: bool
    reason: str
    what: str
    message: str
    count: int

    @property
    def advice(self) -> str | None:
        """What to do about it; None where nothing is known."""
        return advice(f"{self.reason} {self.message}") if self.warning else None


def job_events(cluster: Cluster, state: JobState) -> list[JobEvent]:
    """The events of a job, its Ray clusters, pods and workloads, the newest last."""
    with understood("events"):
        return _job_events(cluster, state)


def _job_events(cluster: Cluster, state: JobState) -> list[JobEvent]:
    pods = {pod["metadata"]["name"] for pod in job_pods(cluster, state)}
    belongs = re.compile(
        rf"(rayjob-)?{re.escape(state.name)}(-{_RANDOM}(-.*)?|-[0-9a-f]{{5}}|-head-svc)?"
    )
    found = []
    for event in cluster.events():
        name = text(event["involvedObject"].get("name"))
        if name in pods or belongs.fullmatch(name):
            found.append(_event(event))
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(found, key=lambda event: event.at or oldest)


def job_pods(cluster: Cluster, state: JobState) -> list[Json]:
    """The pods of a job: head, workers, submitters."""
    with understood("pods"):
        pods = cluster.pods(f"ray.io/originated-from-cr-name={state.name}")
        if state.ray_cluster:
            known = {pod["metadata"]["name"] for pod in pods}
            more = cluster.pods(f"ray.io/cluster={state.ray_cluster}")
            pods += [pod for pod in more if pod["metadata"]["name"] not in known]
        return pods


def obstacles(cluster: Cluster, state: JobState) -> Iterator[str]:
    """What keeps a job from going on, one line each: pods that wait, and why."""
    if not state.deployment:
        yield (
            "KubeRay has not taken up the job: is its operator running? "
            "kubectl -n kuberay-system get pods"
        )
    for pod in job_pods(cluster, state):
        with understood("a pod"):
            waits = list(_waiting(pod))
        for words in waits:
            told = advice(words)
            yield f"{pod['metadata']['name']}: {words}" + (f"; {told}" if told else "")
    last: dict[str, JobEvent] = {}
    for event in job_events(cluster, state):
        if event.warning and event.reason.startswith("Fail") and event.reason != "FailedScheduling":
            last[event.reason] = event
    for event in last.values():
        yield f"{event.what}: {event.message}" + (f"; {event.advice}" if event.advice else "")


def _waiting(pod: Json) -> Iterator[str]:
    status = pod.get("status") or {}
    if status.get("phase") == "Pending":
        for condition in status.get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                yield f"cannot be placed: {text(condition.get('message')) or 'no reason given'}"
    statuses = [
        *(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])
    ]  # fmt: skip
    for container in statuses:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _STUCK:
            words = text(waiting.get("message") or container.get("image"))
            yield f"{waiting['reason']}: {words}"
        ended = (container.get("lastState") or {}).get("terminated") or {}
        if ended.get("reason") == "OOMKilled":
            yield f"container {container['name']} was OOMKilled"


def advice(words: str) -> str | None:
    """What to do about a message; None where nothing is known."""
    return next((what for text, what in _ADVICE if text in words), None)


def _event(event: Json) -> JobEvent:
    about = event["involvedObject"]
    series = event.get("series") or {}
    at = (
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event.get("firstTimestamp")
        or event["metadata"].get("creationTimestamp")
    )
    return JobEvent(
        at=when(at),
        warning=event.get("type") == "Warning",
        reason=text(event.get("reason")),
        what=f"{about.get('kind', '')} {about.get('name', '')}".strip(),
        message=" ".join(text(event.get("message")).split()),
        count=int(series.get("count") or event.get("count") or 1),
    )
