"""A job's life: submitted, gone on with, paused, resumed, cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from latsearch.cluster.answers import Conflict, NotFound, Unavailable
from latsearch.cluster.client import Cluster, Json
from latsearch.cluster.manifests import Manifests
from latsearch.cluster.state import DIGEST, STUDY, JobState
from latsearch.cluster.watching import wait_until_gone
from latsearch.errors import ClusterError, UserError

Step = Literal["create", "attach", "resume", "replace"]
_LONGEST_DELETION = 180.0  # seconds; KubeRay stops the search first


def next_step(manifests: Manifests, there: JobState | None) -> Step:
    """What submitting means, by what is there: a study that exists is gone on with.

    Raises:
        UserError: the job of this name is another study's, or runs with other settings.
    """
    if there is None:
        return "create"
    annotations = manifests.job["metadata"]["annotations"]
    if there.study != annotations[STUDY]:
        whose = f"the study {there.study}" if there.study else "somebody else"
        raise UserError(
            f"{there.name}: a job of this name belongs to {whose}; choose another with --name"
        )
    same = there.digest == annotations[DIGEST]
    if there.ended:
        return "replace"
    if there.suspended and there.queue is None:
        return "resume" if same else "replace"
    if same:
        return "attach"
    raise UserError(
        f"{there.name}: is {there.words} with other settings; `latsearch cancel {there.name}` and "
        "submit again, which goes on where it was, or follow it with "
        f"`latsearch logs {there.name} -f`"
    )


def find(cluster: Cluster, name: str) -> JobState | None:
    """A job's state; None where there is no such job."""
    try:
        return JobState.of(cluster.job(name))
    except NotFound:
        return None


def carry_out(
    cluster: Cluster, manifests: Manifests, step: Step, there: JobState | None
) -> JobState:
    """Do what submitting means.

    The job first, then the ConfigMap with the job as its owner, in one write: it goes with the job,
    and one left by a former job cannot be collected under our hands. The head waits for it.
    """
    name = manifests.job["metadata"]["name"]
    if step == "attach":
        return JobState.of(cluster.job(name))
    if step == "resume":
        return JobState.of(cluster.patch_job(name, {"spec": {"suspend": False}}))
    if step == "replace" and there is not None:
        _delete(cluster, there)
    try:
        job = cluster.create_job(manifests.job)
    except Conflict as error:
        raise Conflict(f"{error}; somebody was faster: submit again to go on with it") from None
    try:
        cluster.put_config_map(owned(manifests.config_map, job))
    except ClusterError:
        cluster.delete_job(name, job["metadata"]["uid"])  # its head would wait for ever
        raise
    return JobState.of(job)


def owned(config_map: Json, job: Json) -> Json:
    """The ConfigMap as a part of the job, deleted with it."""
    owner = {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
    }
    return {**config_map, "metadata": {**config_map["metadata"], "ownerReferences": [owner]}}


def rehearse(cluster: Cluster, manifests: Manifests) -> Manifests:
    """What the server would make of it, changing nothing.

    Raises:
        ClusterError: it would refuse it.
    """
    name = manifests.job["metadata"]["name"]
    there = cluster.list_job(name)[0]
    if there is None:
        job = cluster.create_job(manifests.job, dry_run=True)
    else:
        version = {"resourceVersion": there["metadata"]["resourceVersion"]}
        metadata = {**manifests.job["metadata"], **version}
        job = cluster.replace_job({**manifests.job, "metadata": metadata}, dry_run=True)
    return Manifests(cluster.put_config_map(manifests.config_map, dry_run=True), job)


def pause(cluster: Cluster, name: str) -> str:
    """Give a job's machines back; what was done, in words.

    Raises:
        UserError: the job has ended.
    """
    there = _alive(cluster, name, "pause")
    if there.queue is not None:
        _activate(cluster, there, False)
        return f"{name} leaves the queue {there.queue}; `latsearch resume {name}` puts it back"
    if there.suspended:
        return f"{name} is paused already; `latsearch resume {name}` goes on"
    cluster.patch_job(name, {"spec": {"suspend": True}})
    return (
        f"{name} pauses: its machines are given back, trials go on from their last checkpoints "
        f"with `latsearch resume {name}`"
    )


def resume(cluster: Cluster, name: str) -> str:
    """Let a paused job go on; what was done, in words.

    Raises:
        UserError: the job has ended.
    """
    there = _alive(cluster, name, "resume")
    if there.queue is not None:
        _activate(cluster, there, True)
        return f"{name} is in the queue {there.queue}; Kueue decides when it runs"
    if not there.suspended:
        return f"{name} is not paused, but {there.words}"
    cluster.patch_job(name, {"spec": {"suspend": False}})
    return f"{name} goes on; follow it with `latsearch logs {name} -f`"


def cancel(cluster: Cluster, name: str, say: Callable[[str], None]) -> None:
    """End a job and give its machines back; the study stays in its storage."""
    there = JobState.of(cluster.job(name))
    say(f"{name}: was {there.words}")
    _delete(cluster, there)


def _alive(cluster: Cluster, name: str, verb: str) -> JobState:
    there = JobState.of(cluster.job(name))
    if there.ended:
        raise UserError(
            f"{name}: cannot {verb}, it has {there.words}; submit its file again to go on"
        )
    return there


def _delete(cluster: Cluster, there: JobState) -> None:
    try:
        cluster.delete_job(there.name, there.uid)
    except NotFound:
        pass
    except Unavailable:  # it may have been heard all the same
        cluster.delete_job(there.name, there.uid)
    wait_until_gone(cluster, there.name, there.uid, _LONGEST_DELETION)


def _activate(cluster: Cluster, there: JobState, active: bool) -> None:
    """In a queue Kueue sets `suspend`: what is ours to say is whether the job takes part."""
    workloads = cluster.workloads(there.uid)
    if not workloads:
        raise UserError(
            f"{there.name}: Kueue has no workload of it yet; is the queue {there.queue} there? "
            f"`latsearch events {there.name}` may say"
        )
    for workload in workloads:
        cluster.patch_workload(workload["metadata"]["name"], {"spec": {"active": active}})
