"""jobs, status, logs, events, pause, resume, cancel against a fake API server."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api_server import FakeApiServer, Log, Refusal
from tests.cluster.conftest import Latsearch
from tests.cluster.test_submit import END, submitter


@pytest.fixture
def job(api: FakeApiServer, latsearch: Latsearch) -> FakeApiServer:
    """A cluster in which the job tiny runs, with a head and two workers."""
    assert latsearch("submit", "tiny.yaml", "-y", "--detach").code == 0
    for name, part, lines in (
        ("head-hhhhh", "head", ["gcs up"]),
        ("cpu-worker-wwwww", "worker", ["first", "second"]),
        ("cpu-worker-xxxxx", "worker", ["other"]),
    ):
        pod = f"tiny-bcdfg-{name}"
        labels = {"ray.io/cluster": "tiny-bcdfg", "ray.io/node-type": part}
        spec = {"containers": [{"name": f"ray-{part}"}, {"name": "autoscaler"}]}
        api.put("pods", pod, metadata={"labels": labels}, spec=spec, status={"phase": "Running"})
        stamped = [(f"2026-11-24T20:00:0{i}.123Z", line) for i, line in enumerate(lines)]
        api.logs[pod] = Log(stamped, done=True)
    api.set_status(
        "tiny", jobDeploymentStatus="Running", jobStatus="RUNNING", rayClusterName="tiny-bcdfg",
        rayClusterStatus={"readyWorkerReplicas": 2, "desiredWorkerReplicas": 3},
        dashboardURL="tiny-head-svc.latsearch.svc.cluster.local:8265",
    )  # fmt: skip
    return api


def test_jobs(job: FakeApiServer, latsearch: Latsearch) -> None:
    job.put("rayjobs", "others", spec={})  # not one of ours
    job.put("rayjobs", "far", "default", spec={},
            metadata={"labels": {"app.kubernetes.io/name": "latsearch"}})  # fmt: skip
    listed = latsearch("jobs")
    assert listed.code == 0
    rows = listed.out.splitlines()
    assert rows[0].split() == ["job", "study", "state", "workers", "age"]
    assert rows[1].split()[:2] == ["tiny", "tiny"]
    assert "running, 2 workers" in rows[1]
    assert len(rows) == 2
    everywhere = json.loads(latsearch("jobs", "-A", "--json").out)
    assert [(entry["namespace"], entry["job"]) for entry in everywhere] == [
        ("latsearch", "tiny"),
        ("default", "far"),
    ]
    job.remove("rayjobs", "far", "default")
    assert "no jobs in namespace default" in latsearch("jobs", "--context", "bare").out


def test_status_of_a_job(job: FakeApiServer, latsearch: Latsearch) -> None:
    shown = latsearch("status", "tiny")
    assert shown.code == 0, shown.err
    lines = dict(line.split(None, 1) for line in shown.out.splitlines())
    assert lines["job"] == "tiny in namespace latsearch"
    assert lines["state"] == "running, 2 workers"
    assert lines["workers"] == "2 of 3"
    assert lines["runs"] == "s3://latsearch/runs"
    assert lines["dashboard"] == "kubectl port-forward -n latsearch svc/tiny-head-svc 8265:8265"
    assert "tiny-bcdfg-head-hhhhh running" in lines["pods"]
    told = json.loads(latsearch("status", "tiny", "--json").out)
    assert (told["job_deployment_status"], told["ended"]) == ("Running", False)
    assert told["workers_ready"] == 2


def test_a_local_study_comes_before_a_job_of_its_name(
    job: FakeApiServer, latsearch: Latsearch
) -> None:
    from latsearch.config import load_study
    from latsearch.search.storage import Study

    config = load_study("tiny.yaml")
    Study.create(Path("runs/tiny"), config, {"accuracy": 0.1, "latency": 3, "energy": 9.0})
    asked = len(job.requests)
    assert "hypervolume" in latsearch("status", "tiny").out
    assert "hypervolume" in latsearch("status", "tiny", "--runs", "runs").out
    assert len(job.requests) == asked
    for words in (["--cluster"], ["-n", "latsearch"], ["--context", "fake"]):
        assert "running, 2 workers" in latsearch("status", "tiny", *words).out


def test_neither_a_study_nor_a_job(job: FakeApiServer, latsearch: Latsearch) -> None:
    failed = latsearch("status", "nothing")
    assert failed.code == 2
    assert failed.err == (
        "nothing: no such study; runs holds none; nothing: no such job in namespace latsearch; "
        "`latsearch jobs` lists them\n"
    )
    asked = len(job.requests)
    assert latsearch("status", "tiny", "--runs", "elsewhere").code == 2
    assert len(job.requests) == asked
    job.close()
    alone = latsearch("status", "nothing")
    assert alone.err.startswith(
        "nothing: no such study; runs holds none; cannot read the job nothing: the cluster does "
        f"not answer (127.0.0.1:{job.url.rpartition(':')[2]}: [Errno 111] Connection refused)"
    )
    assert len(alone.err.splitlines()) == 1
    Path("kubeconfig").unlink()
    assert latsearch("status", "nothing").err == "nothing: no such study; runs holds none\n"


def test_status_waits_for_the_end(job: FakeApiServer, latsearch: Latsearch) -> None:
    threading.Timer(0.3, lambda: job.set_status("tiny", **END)).start()
    assert latsearch("status", "tiny", "--wait").code == 0
    job.set_status("tiny", jobStatus="STOPPED")
    failed = latsearch("status", "tiny", "--wait")
    assert failed.code == 1
    assert "ended, but stopped" in failed.err


def test_logs_of_each_part(job: FakeApiServer, latsearch: Latsearch) -> None:
    none = latsearch("logs", "tiny")
    assert none.code == 2
    assert "has no pod of the driver (it is running, 2 workers)" in none.err
    submitter(job, "tiny", "trial 0", "trial 1")
    assert latsearch("logs", "tiny").out == "trial 0\ntrial 1\n"
    assert latsearch("logs", "tiny", "--tail", 1).out == "trial 1\n"
    assert latsearch("logs", "tiny", "--head").out == "gcs up\n"
    workers = latsearch("logs", "tiny", "--worker").out.splitlines()
    assert sorted(workers) == [
        "tiny-bcdfg-cpu-worker-wwwww  first",
        "tiny-bcdfg-cpu-worker-wwwww  second",
        "tiny-bcdfg-cpu-worker-xxxxx  other",
    ]


def test_following_workers(job: FakeApiServer, latsearch: Latsearch) -> None:
    for name in ("cpu-worker-wwwww", "cpu-worker-xxxxx"):
        pod = job.get("pods", f"tiny-bcdfg-{name}")
        assert pod is not None
        job.put("pods", f"tiny-bcdfg-{name}", metadata={"labels": pod["metadata"]["labels"]},
                spec=pod["spec"], status={"phase": "Succeeded"})  # fmt: skip
    followed = latsearch("logs", "tiny", "--worker", "-f")
    assert followed.code == 0, followed.err
    assert sorted(followed.out.splitlines()) == [
        "tiny-bcdfg-cpu-worker-wwwww  first",
        "tiny-bcdfg-cpu-worker-wwwww  second",
        "tiny-bcdfg-cpu-worker-xxxxx  other",
    ]


def test_a_log_that_breaks_off_is_read_on(job: FakeApiServer, latsearch: Latsearch) -> None:
    """Each line once, also of several with one time stamp, with stamps of several lengths."""
    submitter(job, "tiny")
    stamps = ["01Z", "01Z", "01.000000001Z", "01.1Z", "01.12Z", "01.12Z", "01.13Z", "02+00:00"]
    lines = [(f"2026-11-24T20:00:{stamp}", f"line {i}") for i, stamp in enumerate(stamps)]
    job.logs["tiny-xk2vb"] = Log(lines, breaks=[1, 2, 5, 7], done=False)
    pod = job.get("pods", "tiny-xk2vb")
    assert pod is not None
    pod["status"]["phase"] = "Running"

    def act() -> None:
        job.wait_for(lambda: not job.logs["tiny-xk2vb"].breaks)
        job.logs["tiny-xk2vb"].lines.append(("2026-11-24T20:00:03.5Z", "last line"))
        job.logs["tiny-xk2vb"].done = True
        time.sleep(0.2)
        pod["status"]["phase"] = "Succeeded"
        job.set_status("tiny", **END)

    threading.Thread(target=act, daemon=True).start()
    followed = latsearch("logs", "tiny", "-f")
    assert followed.code == 0, followed.err
    assert followed.out.splitlines() == [*(f"line {i}" for i in range(8)), "last line"]
    asked = [r for r in job.requests if "/pods/tiny-xk2vb/log" in r]
    assert len(asked) >= 5
    assert all("sinceSeconds=" in request for request in asked[1:])


def test_a_pod_that_has_no_log_yet(job: FakeApiServer, latsearch: Latsearch) -> None:
    submitter(job, "tiny", "at last")
    pod = job.get("pods", "tiny-xk2vb")
    assert pod is not None
    pod["status"]["phase"] = "Pending"
    early = latsearch("logs", "tiny")
    assert early.code == 2
    assert "cannot read the log of tiny-xk2vb: pod tiny-xk2vb does not have a host" in early.err

    def act() -> None:
        asked = len(job.requests)
        job.wait_for(lambda: any("follow" in request for request in job.requests[asked:]))
        pod["status"]["phase"] = "Succeeded"
        job.set_status("tiny", **END)

    threading.Thread(target=act, daemon=True).start()
    followed = latsearch("logs", "tiny", "-f")
    assert followed.code == 0, followed.err
    assert followed.out == "at last\n"


def test_a_log_that_may_not_be_read(job: FakeApiServer, latsearch: Latsearch) -> None:
    submitter(job, "tiny", "secret output")
    refusal = Refusal(403, "Forbidden", 'pods "tiny" is forbidden: cannot get pods/log')
    job.refusals.append(("GET /api/v1/namespaces/latsearch/pods/tiny-xk2vb/log", refusal))
    threading.Timer(0.3, lambda: job.set_status("tiny", **END)).start()
    followed = latsearch("logs", "tiny", "-f")
    assert followed.code == 0
    assert "no output to show: cannot read the log of tiny-xk2vb" in followed.err


def test_events(job: FakeApiServer, latsearch: Latsearch) -> None:
    def event(number: int, about: str, reason: str, message: str, **more: Any) -> None:
        kind, name = about.split("/")
        parts = {"involvedObject": {"kind": kind, "name": name}, "reason": reason,
                 "message": message, "type": "Normal",
                 "lastTimestamp": f"2026-11-24T20:00:0{number}Z"}  # fmt: skip
        job.put("events", f"e{number}", **{**parts, **more})

    event(3, "RayJob/tiny", "JobStarted", "started")
    event(1, "RayCluster/tiny-bcdfg", "Created", "created")
    event(2, "Pod/tiny-bcdfg-cpu-worker-wwwww", "FailedScheduling", "3 Insufficient cpu",
          type="Warning", lastTimestamp=None, eventTime="2026-11-24T20:00:02.000000Z",
          series={"count": 7, "lastObservedTime": "2026-11-24T20:00:02.5Z"})  # fmt: skip
    event(4, "Workload/rayjob-tiny-0a1b2", "Pending", "quota is used up")
    event(5, "RayJob/tiny-small", "Other", "of another job")
    event(6, "Pod/tinyx-bcdfg-head-hhhhh", "Other", "of another job")
    shown = latsearch("events", "tiny")
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert [line.split()[-1] for line in lines] == ["created", "(x7)", "wait", "started", "up"]
    assert "WARN FailedScheduling" in lines[1]
    assert "→ no node has room: smaller --cpus or --memory, fewer --workers, or wait" in lines[2]
    told = json.loads(latsearch("events", "tiny", "--json").out)
    assert [entry["reason"] for entry in told] == [
        "Created", "FailedScheduling", "JobStarted", "Pending",
    ]  # fmt: skip


def test_events_of_a_job_that_nobody_takes_up(api: FakeApiServer, latsearch: Latsearch) -> None:
    assert latsearch("submit", "tiny.yaml", "-y", "--detach").code == 0
    shown = latsearch("events", "tiny")
    assert "no events of tiny" in shown.out
    assert "waits: KubeRay has not taken up the job: is its operator running?" in shown.out


def test_pause_and_resume(job: FakeApiServer, latsearch: Latsearch) -> None:
    def suspended() -> bool:
        there = job.get("rayjobs", "tiny")
        assert there is not None
        assert there["status"]["jobDeploymentStatus"] == "Running"  # a patch leaves the status
        return bool(there["spec"]["suspend"])

    assert "tiny pauses: its machines are given back" in latsearch("pause", "tiny").out
    assert suspended()
    assert "tiny is paused already" in latsearch("pause", "tiny").out
    assert "tiny goes on" in latsearch("resume", "tiny").out
    assert not suspended()
    assert "tiny is not paused, but running" in latsearch("resume", "tiny").out
    assert {"spec": {"suspend": True}} in job.bodies
    job.set_status("tiny", **END)
    failed = latsearch("pause", "tiny")
    assert failed.code == 2
    assert "cannot pause, it has succeeded; submit its file again" in failed.err


def test_pause_in_a_queue_is_kueues_matter(api: FakeApiServer, latsearch: Latsearch) -> None:
    """Kueue sets `suspend` itself, and would undo ours: the workload's `active` is what counts."""
    assert latsearch("submit", "tiny.yaml", "-y", "--detach", "--queue", "team").code == 0
    api.set_status("tiny", jobDeploymentStatus="Suspended")
    early = latsearch("pause", "tiny")
    assert early.code == 2
    assert "Kueue has no workload of it yet; is the queue team there?" in early.err
    job = api.get("rayjobs", "tiny")
    assert job is not None
    labels = {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}
    api.put("workloads", "rayjob-tiny-0a1b2", metadata={"labels": labels}, spec={"active": True})
    assert "tiny leaves the queue team" in latsearch("pause", "tiny").out
    workload = api.get("workloads", "rayjob-tiny-0a1b2")
    assert workload is not None
    assert workload["spec"]["active"] is False
    assert "waits in the queue team" in latsearch("status", "tiny").out
    assert "tiny is in the queue team" in latsearch("resume", "tiny").out
    workload = api.get("workloads", "rayjob-tiny-0a1b2")
    assert workload is not None
    assert workload["spec"]["active"] is True


def test_cancel(job: FakeApiServer, latsearch: Latsearch) -> None:
    done = latsearch("cancel", "tiny", "--yes")
    assert done.code == 0, done.err
    assert done.out == (
        "tiny: was running, 2 workers\n"
        "cancelled tiny: the study is kept, submit its file again to go on\n"
    )
    assert job.get("rayjobs", "tiny") is None
    delete = next(body for body in job.bodies if body.get("kind") == "DeleteOptions")
    assert delete["propagationPolicy"] == "Background"
    assert delete["preconditions"]["uid"]
    again = latsearch("cancel", "tiny", "--yes")
    assert again.code == 2
    assert "tiny: no such job in namespace latsearch" in again.err


@pytest.mark.parametrize("command", ["status", "logs", "events", "pause", "resume", "cancel"])
def test_a_job_that_is_not_there(api: FakeApiServer, latsearch: Latsearch, command: str) -> None:
    words = ["--yes"] if command == "cancel" else ["--cluster"] if command == "status" else []
    failed = latsearch(command, "nothing", *words)
    assert failed.code == 2
    assert failed.err == (
        "nothing: no such job in namespace latsearch; `latsearch jobs` lists them\n"
    )
