"""How a RayJob stands, read from its object: plain data, no client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from latsearch.cluster.answers import understood

STUDY = "latsearch.io/study"  # annotation: the study's name, which need not fit into a label
RUNS = "latsearch.io/runs"  # annotation: where the study's checkpoints are
DIGEST = "latsearch.io/digest"  # annotation: of all that was submitted
JOB = "latsearch.io/job"  # label
OURS = "app.kubernetes.io/name=latsearch"
QUEUE = "kueue.x-k8s.io/queue-name"  # label

_ENDED = ("Complete", "Failed", "ValidationFailed")


@dataclass(frozen=True)
class JobState:
    """A RayJob at one moment.

    Attributes:
        name: its name.
        namespace: its namespace.
        uid: its identity; a job of the same name made later has another.
        study: the study's name; None where the job is not one of latsearch.
        runs: where the study's checkpoints are; None where not noted.
        digest: digest of what was submitted; None where not noted.
        deployment: KubeRay's ``jobDeploymentStatus``; empty before KubeRay has seen the job.
        job: Ray's ``jobStatus``; empty before Ray has started it.
        reason: why it failed, one word; empty where it did not.
        message: the same in a sentence; empty where there is none.
        ray_cluster: name of its RayCluster; empty where it has none (yet).
        dashboard: address of Ray's dashboard within the cluster; empty where it has none.
        suspended: whether it is asked to be suspended.
        queue: the queue of Kueue that it is in; None for none.
        failed: attempts that failed.
        ready: workers that are ready.
        desired: workers that are asked for.
        created: when it was made.
        started: when it started; None before.
        ended_at: when it ended; None before.
    """

    name: str
    namespace: str
    uid: str
    study: str | None
    runs: str | None
    digest: str | None
    deployment: str
    job: str
    reason: str
    message: str
    ray_cluster: str
    dashboard: str
    suspended: bool
    queue: str | None
    failed: int
    ready: int
    desired: int
    created: datetime | None
    started: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> JobState:
        """The state in a RayJob object.

        Raises:
            ClusterError: it is none.
        """
        with understood("a RayJob"):
            return cls._of(job)

    @classmethod
    def _of(cls, job: Mapping[str, Any]) -> JobState:
        metadata, status = job["metadata"], job.get("status") or {}
        annotations = metadata.get("annotations") or {}
        cluster = status.get("rayClusterStatus") or {}

        def annotated(name: str) -> str | None:
            return text(annotations[name]) if name in annotations else None

        return cls(
            name=text(metadata["name"]),
            namespace=text(metadata.get("namespace")),
            uid=text(metadata.get("uid")),
            study=annotated(STUDY),
            runs=annotated(RUNS),
            digest=annotated(DIGEST),
            deployment=text(status.get("jobDeploymentStatus")),
            job=text(status.get("jobStatus")),
            reason=text(status.get("reason")),
            message=text(status.get("message")),
            ray_cluster=text(status.get("rayClusterName")),
            dashboard=text(status.get("dashboardURL")),
            suspended=bool((job.get("spec") or {}).get("suspend", False)),
            queue=text((metadata.get("labels") or {}).get(QUEUE)) or None,
            failed=int(status.get("failed") or 0),
            ready=int(cluster.get("readyWorkerReplicas") or 0),
            desired=int(cluster.get("desiredWorkerReplicas") or 0),
            created=when(metadata.get("creationTimestamp")),
            started=when(status.get("startTime")),
            ended_at=when(status.get("endTime")),
        )

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it; a job that is retried has not ended."""
        return self.deployment in _ENDED

    @property
    def succeeded(self) -> bool:
        """Whether it did what it should: a job that was stopped ends as Complete, too."""
        return self.deployment == "Complete" and self.job == "SUCCEEDED"

    @property
    def words(self) -> str:
        """The state for a person, in a few words."""
        why = ": ".join(part for part in (self.reason, self.message) if part)
        if self.ended:
            if self.succeeded:
                return "succeeded"
            if self.deployment == "Complete":
                return f"ended, but {(self.job or 'of an unknown state').lower()}"
            if self.deployment == "ValidationFailed":
                return f"refused by KubeRay ({why or 'no reason given'})"
            return f"failed ({why or self.job.lower() or 'no reason given'})"
        if self.deployment in ("Suspended", "Suspending") or (
            self.suspended and self.deployment in ("", "Initializing")
        ):
            if self.queue is not None:
                return f"waits in the queue {self.queue}"
            return "being paused" if self.deployment == "Suspending" else "paused"
        if self.deployment == "Retrying":
            return f"tried again after {max(1, self.failed)} failed attempts ({why or 'unknown'})"
        if self.deployment == "Running":
            begun = "running" if self.job == "RUNNING" else "starting the search"
            return f"{begun}, {self.ready} workers"
        if self.deployment == "Initializing":
            return "starting its Ray cluster"
        if self.deployment == "":
            return "not yet seen by KubeRay"
        return self.deployment.lower()

    def to_json(self) -> dict[str, Any]:
        """Plain fields, times as text."""
        return {
            "job": self.name,
            "namespace": self.namespace,
            "study": self.study,
            "state": self.words,
            "job_deployment_status": self.deployment,
            "job_status": self.job,
            "reason": self.reason,
            "message": self.message,
            "ended": self.ended,
            "succeeded": self.succeeded,
            "paused": self.suspended,
            "queue": self.queue,
            "ray_cluster": self.ray_cluster,
            "failed_attempts": self.failed,
            "workers_ready": self.ready,
            "workers_desired": self.desired,
            "runs": self.runs,
            "created": self.created.isoformat() if self.created else None,
            "started": self.started.isoformat() if self.started else None,
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
        }


def text(value: object) -> str:
    """A field that should be text; empty where there is none.

    Raises:
        TypeError: it is something else.
    """
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{str(value)[:60]} is no text")
    return value or ""


def when(said: str | datetime | None) -> datetime | None:
    """A time of the API server's; None where there is none."""
    if said is None or isinstance(said, datetime):
        return said
    return datetime.fromisoformat(said.replace("Z", "+00:00")).astimezone(UTC)
