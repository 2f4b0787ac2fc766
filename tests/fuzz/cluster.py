"""The target that is a Kubernetes API server's answers, which a proxy may have made up."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any, cast

from latsearch.cluster.client import Cluster
from latsearch.cluster.events import job_events, obstacles
from latsearch.cluster.state import JobState
from tests.fuzz.mutation import tree
from tests.fuzz.targets import Check, Target

_JOB: dict[str, Any] = {
    "metadata": {
        "name": "tiny",
        "namespace": "latsearch",
        "uid": "1",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"kueue.x-k8s.io/queue-name": "q"},
        "annotations": {"latsearch.io/study": "tiny", "latsearch.io/runs": "s3://b/runs"},
    },
    "spec": {"suspend": False},
    "status": {
        "jobDeploymentStatus": "Running",
        "jobStatus": "RUNNING",
        "reason": "AppFailed",
        "message": "why",
        "rayClusterName": "tiny-abcde",
        "startTime": "2026-01-01T00:00:10Z",
        "rayClusterStatus": {"readyWorkerReplicas": 1, "desiredWorkerReplicas": 2},
    },
}
_POD: dict[str, Any] = {
    "metadata": {"name": "tiny-abcde-head"},
    "status": {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "Insufficient cpu"}],
        "containerStatuses": [
            {
                "name": "ray-head",
                "image": "latsearch:0",
                "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}},
                "lastState": {"terminated": {"reason": "OOMKilled"}},
            }
        ],
    },
}
_EVENT: dict[str, Any] = {
    "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
    "involvedObject": {"kind": "Pod", "name": "tiny-abcde-head"},
    "type": "Warning",
    "reason": "FailedCreate",
    "message": "exceeded quota",
    "lastTimestamp": "2026-01-01T00:00:00Z",
    "count": 3,
}


class _Answers:
    """What `Cluster` hands on of a server's answers."""

    def __init__(self, pods: Any, events: Any):
        self._pods, self._events = pods, events

    def pods(self, selector: str) -> Any:
        return self._pods

    def events(self) -> Any:
        return self._events


def _seeds(folder: Path) -> list[bytes]:
    return [json.dumps({"job": _JOB, "pods": [_POD], "events": [_EVENT]}).encode()]


def _damaged(content: bytes, random: Random) -> bytes:
    said = json.loads(content)
    part = random.choice(list(said))
    said[part] = (
        [tree(each, random) for each in said[part]] if part != "job" else tree(_JOB, random)
    )
    return json.dumps(said).encode()


def _check(folder: Path) -> Check:
    def check(content: bytes) -> None:
        said = json.loads(content)
        state = JobState.of(said["job"])
        json.dumps(state.to_json())
        cluster = cast(Cluster, _Answers(said["pods"], said["events"]))
        for event in job_events(cluster, state):
            assert event.advice is None or event.advice
        assert all(isinstance(line, str) for line in obstacles(cluster, state))

    return check


TARGETS = (Target("kubernetes", 100_000, _seeds, _damaged, _check),)
