"""`latsearch submit` against a fake API server: what is sent and printed, and the exit code."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.api_server import FakeApiServer, Json, Log, Refusal
from tests.cluster.conftest import STUDY, Latsearch

END = {"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete"}


def play(api: FakeApiServer, *scenes: dict[str, Any], lines: tuple[str, ...] = ()) -> None:
    """KubeRay's part from the moment a job is created: states one after the other, and a log."""

    def begin(thing: Json) -> None:
        if thing["kind"] != "RayJob":
            return
        name = thing["metadata"]["name"]

        def act() -> None:
            submitter(api, name, *lines)
            for scene in scenes:
                api.set_status(name, **scene)

        threading.Timer(0.1, act).start()

    api.on_create = begin


def submitter(api: FakeApiServer, job: str, *lines: str, pod: str = "xk2vb") -> None:
    labels = {"ray.io/originated-from-cr-name": job, "job-name": job}
    name = f"{job}-{pod}"
    stamps = [f"2026-11-24T20:00:{second:02d}.5Z" for second in range(len(lines))]
    api.logs[name] = Log(list(zip(stamps, lines, strict=True)), done=True)
    api.put(
        "pods",
        name,
        metadata={"labels": labels},
        spec={"containers": [{"name": "ray-job-submitter"}]},
        status={"phase": "Succeeded"},
    )


def test_a_search_is_submitted_followed_and_succeeds(
    api: FakeApiServer, latsearch: Latsearch
) -> None:
    running = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
    play(api, {"jobDeploymentStatus": "Initializing"}, running, END, lines=("trial 0", "done"))
    done = latsearch("submit", "tiny.yaml", "--yes")
    assert done.code == 0, done.err
    assert done.out == (
        "job      tiny in namespace latsearch, context fake: new; a study of this name that exists "
        "is gone on with\n"
        "study    tiny: 4 trials in all, 1 CPU and 0 GPU each, up to 16 at a time\n"
        "image    latsearch:0.1.0\n"
        "head     2 CPU, 8Gi\n"
        "workers  cpu: 0 to 4 of 4 CPU, 8Gi\n"
        "runs     s3://latsearch/runs/tiny\n"
        "submitted tiny; next:\n"
        "  latsearch logs tiny -f\n"
        "  latsearch status tiny\n"
        "  latsearch events tiny\n"
        "  latsearch pause tiny    # or cancel; the study stays in its storage\n"
        "trial 0\n"
        "done\n"
    )
    assert done.err.splitlines()[-2:] == ["tiny: succeeded", "next:  latsearch fetch tiny"]
    job, study = api.get("rayjobs", "tiny"), api.get("configmaps", "tiny-study")
    assert job is not None
    assert study is not None
    assert study["data"]["study.yaml"] == STUDY
    assert study["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    assert job["spec"]["entrypoint"] == (
        "latsearch run /etc/latsearch/study.yaml --address auto --runs s3://latsearch/runs "
        "--workers 16"
    )


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (
            {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed", "reason": "AppFailed",
             "message": "exit 1"},
            "tiny: failed (AppFailed: exit 1); see `latsearch logs tiny`",
        ),
        ({"jobStatus": "STOPPED", "jobDeploymentStatus": "Complete"}, "tiny: ended, but stopped"),
        (
            {"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed",
             "message": "name too long"},
            "tiny: refused by KubeRay (ValidationFailed: name too long)",
        ),
        (
            {"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded"},
            "tiny: failed (DeadlineExceeded)",
        ),
    ],
)  # fmt: skip
def test_every_other_end_is_a_failure(
    api: FakeApiServer, latsearch: Latsearch, end: dict[str, str], told: str
) -> None:
    play(api, end, lines=("some output",))
    done = latsearch("submit", "tiny.yaml", "--yes")
    assert done.code == 1
    assert told in done.err.splitlines()[-1]
    assert "some output" in done.out


def test_a_retried_job_has_not_ended(api: FakeApiServer, latsearch: Latsearch) -> None:
    failed = {"jobStatus": "FAILED", "failed": 1, "reason": "AppFailed", "message": "head lost"}

    def begin(thing: Json) -> None:
        if thing["kind"] == "RayJob":
            threading.Thread(target=act, daemon=True).start()

    def act() -> None:
        submitter(api, "tiny", "first attempt", pod="bbbbb")
        api.set_status("tiny", jobDeploymentStatus="Retrying", **failed)
        api.wait_for(lambda: any("/tiny-bbbbb/log" in request for request in api.requests))
        api.set_status("tiny", jobDeploymentStatus="Running", jobStatus="RUNNING")
        submitter(api, "tiny", "second attempt", pod="ccccc")
        api.set_status("tiny", **END, reason="", message="")

    api.on_create = begin
    done = latsearch("submit", "tiny.yaml", "--yes")
    assert done.code == 0, done.err
    assert "tiny: tried again after 1 failed attempts (AppFailed: head lost)" in done.err
    assert done.out.splitlines()[-2:] == ["first attempt", "second attempt"]


def test_the_connection_may_break_in_every_way(api: FakeApiServer, latsearch: Latsearch) -> None:
    """A watch that breaks off, ends, and is too old, twice over: no state is lost or doubled."""
    api.watch_faults = ["drop", "end", "gone", "late-gone", "drop"]

    def begin(thing: Json) -> None:
        if thing["kind"] == "RayJob":
            threading.Thread(target=act, daemon=True).start()

    def act() -> None:
        workers = 0
        while api.watch_faults:
            workers += 1
            ready = {"readyWorkerReplicas": workers}
            api.set_status("tiny", jobDeploymentStatus="Running", rayClusterStatus=ready)
            time.sleep(0.05)
        api.set_status("tiny", **END)

    api.on_create = begin
    done = latsearch("submit", "tiny.yaml", "--yes")
    assert done.code == 0, done.err
    said = [line for line in done.err.splitlines() if line.startswith("tiny: ")]
    assert said[-1] == "tiny: succeeded"
    assert len(said) == len(set(said))
    assert api.watch_faults == []


def test_pods_that_wait_are_explained(api: FakeApiServer, latsearch: Latsearch) -> None:
    def begin(thing: Json) -> None:
        if thing["kind"] != "RayJob":
            return
        labels = {"ray.io/cluster": "tiny-bcdfg", "ray.io/node-type": "worker"}
        message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
        waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling x"}}
        api.put(
            "pods", "tiny-bcdfg-gpu-worker-hjklm", metadata={"labels": labels},
            spec={"containers": [{"name": "ray-worker"}]},
            status={"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "message": message}]},
        )  # fmt: skip
        api.put(
            "pods", "tiny-bcdfg-head-npqrs", metadata={"labels": labels},
            spec={"containers": [{"name": "ray-head"}]},
            status={"phase": "Pending",
                    "containerStatuses": [{"name": "ray-head", "state": waiting}]},
        )  # fmt: skip
        api.put(
            "events", "e1", type="Warning", reason="FailedCreate", count=3,
            message='pods "tiny-" is forbidden: violates PodSecurity "restricted:v1.32"',
            involvedObject={"kind": "Job", "name": "tiny"},
            lastTimestamp="2026-11-24T20:00:00Z",
        )  # fmt: skip
        threading.Thread(target=act, daemon=True).start()

    def act() -> None:
        api.set_status("tiny", jobDeploymentStatus="Initializing", rayClusterName="tiny-bcdfg")
        looked = "GET /api/v1/namespaces/latsearch/events"
        api.wait_for(lambda: any(looked in request for request in api.requests))
        api.wait_for(lambda: len([r for r in api.requests if looked in r]) > 1)
        api.set_status("tiny", **END)

    api.on_create = begin
    done = latsearch("submit", "tiny.yaml", "--yes")
    assert done.code == 0, done.err
    waits = [line for line in done.err.splitlines() if "waits: " in line]
    assert len(waits) == len(set(waits))
    told = "\n".join(waits)
    assert "3 Insufficient nvidia.com/gpu.; no node has a free GPU: fewer --gpus" in told
    assert "ImagePullBackOff: Back-off pulling x; is the image's name right" in told
    assert 'Job tiny: pods "tiny-" is forbidden: violates PodSecurity' in told


def test_a_job_that_is_deleted_meanwhile(api: FakeApiServer, latsearch: Latsearch) -> None:
    def begin(thing: Json) -> None:
        threading.Timer(0.3, lambda: api.remove("rayjobs", "tiny")).start()
        api.on_create = None

    api.on_create = begin
    done = latsearch("submit", "tiny.yaml", "--yes")
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("tiny: the job ")


def test_submitting_again_goes_on(api: FakeApiServer, latsearch: Latsearch) -> None:
    """New, the same while it runs, other settings while it runs, after its end."""
    assert latsearch("submit", "tiny.yaml", "-y", "--detach").code == 0
    first = api.get("rayjobs", "tiny")
    assert first is not None
    api.set_status("tiny", jobDeploymentStatus="Running", jobStatus="RUNNING")
    again = latsearch("submit", "tiny.yaml", "--detach")  # nothing to agree to
    assert again.code == 0, again.err
    assert "is running with these settings, and is followed" in again.out
    assert len([r for r in api.requests if r.startswith("POST") and "rayjobs" in r]) == 1
    other = latsearch("submit", "tiny.yaml", "-y", "--detach", "--trials", 9)
    assert other.code == 2
    assert "is running, 0 workers with other settings" in other.err
    assert len(other.err.splitlines()) == 1
    api.set_status("tiny", **END)
    more = latsearch("submit", "tiny.yaml", "-y", "--detach", "--trials", 9)
    assert more.code == 0, more.err
    second = api.get("rayjobs", "tiny")
    assert second is not None
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert second["spec"]["entrypoint"].endswith(" --trials 9 --workers 16")
    study = api.get("configmaps", "tiny-study")
    assert study is not None
    assert study["metadata"]["ownerReferences"][0]["uid"] == second["metadata"]["uid"]


def test_a_new_job_waits_until_the_old_submitter_is_gone(
    api: FakeApiServer, latsearch: Latsearch
) -> None:
    assert latsearch("submit", "tiny.yaml", "-y", "--detach").code == 0
    api.set_status("tiny", **END)
    api.put("jobs", "tiny")
    threading.Timer(1.0, lambda: api.remove("jobs", "tiny")).start()
    assert latsearch("submit", "tiny.yaml", "-y", "--detach").code == 0
    created = max(i for i, r in enumerate(api.requests) if r.startswith("POST") and "rayjobs" in r)
    looks = [i for i, r in enumerate(api.requests) if "/jobs/tiny" in r]
    assert len(looks) > 1
    assert max(looks) < created


def test_a_paused_job_is_resumed(api: FakeApiServer, latsearch: Latsearch) -> None:
    assert latsearch("submit", "tiny.yaml", "-y", "--detach").code == 0
    assert latsearch("pause", "tiny").code == 0
    again = latsearch("submit", "tiny.yaml", "-y", "--detach")
    assert "is paused, and is resumed" in again.out
    job = api.get("rayjobs", "tiny")
    assert job is not None
    assert job["spec"]["suspend"] is False


def test_a_job_of_somebody_else_is_left_alone(api: FakeApiServer, latsearch: Latsearch) -> None:
    api.put("rayjobs", "tiny", spec={})
    failed = latsearch("submit", "tiny.yaml", "-y")
    assert failed.code == 2
    assert "a job of this name belongs to somebody else; choose another with --name" in failed.err
    assert latsearch("submit", "tiny.yaml", "-y", "--detach", "--name", "mine").code == 0


def test_dry_runs_change_nothing(api: FakeApiServer, latsearch: Latsearch) -> None:
    here = latsearch("submit", "tiny.yaml", "--dry-run", "client")
    assert here.code == 0
    assert "checked here alone, nothing was sent" in here.out
    assert api.requests == []
    there = latsearch("submit", "tiny.yaml", "--dry-run", "server")
    assert there.code == 0, there.err
    assert "the server would take it, nothing was changed" in there.out
    assert api.get("rayjobs", "tiny") is None
    assert any(r.startswith("POST") and "dryRun=All" in r for r in api.requests)
    assert latsearch("submit", "tiny.yaml", "-y", "--detach").code == 0
    api.set_status("tiny", **END)
    before = api.get("rayjobs", "tiny")
    again = latsearch("submit", "tiny.yaml", "--dry-run", "server", "--trials", 7)
    assert again.code == 0, again.err
    assert api.get("rayjobs", "tiny") == before


def test_the_manifests_are_printed_for_kubectl(api: FakeApiServer, latsearch: Latsearch) -> None:
    printed = latsearch("submit", "tiny.yaml", "-o", "yaml", "-n", "team", "--queue", "q")
    assert printed.code == 0
    study, job = yaml.safe_load_all(printed.out)
    assert (study["kind"], job["kind"]) == ("ConfigMap", "RayJob")
    assert study["data"]["study.yaml"] == STUDY
    assert job["metadata"]["namespace"] == "team"
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "q"
    assert api.requests == []


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        ("", 2, "nobody agreed: give --yes where nobody can be asked"),
        ("n\n", 2, "nobody agreed"),
        ("y\n", 0, ""),
    ],
)
def test_what_is_asked_is_answered(
    api: FakeApiServer,
    latsearch: Latsearch,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    told: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    done = latsearch("submit", "tiny.yaml", "--detach")
    assert done.code == code
    assert told in done.err
    assert (api.get("rayjobs", "tiny") is not None) == (code == 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--name", "x" * 48], "has 48 characters; KubeRay takes at most 47"),
        (["--name", "Tiny"], 'use a-z, 0-9 and "-", a letter first'),
        (["--study", "../up"], '--study: "../up" is no study name'),
        (["--runs", "s3://b/p?endpoint_override=x&scheme=http"], "an endpoint goes into AWS_"),
        (["--workers", "0:0"], "no worker has room for a trial, which takes 1 CPU and 0 GPU"),
        (["--cpus", "500m"], "no worker has room for a trial"),
        (["--workers", "gpu=0:4"], "--workers gpu: no such group; there are cpu"),
        (["--template", "none.yaml"], "none.yaml: cannot be read"),
        (["--context", "nowhere"], "no such context; there are fake, bare"),
        (["--namespace", "elsewhere"], "namespace elsewhere does not exist; `kubectl apply -k"),
        (["--kubeconfig", "none"], "no cluster is configured there"),
    ],
)
def test_a_users_mistake_is_one_line(
    api: FakeApiServer, latsearch: Latsearch, words: list[str], told: str
) -> None:
    failed = latsearch("submit", "tiny.yaml", "-y", "--detach", *words)
    assert failed.code == 2
    assert told in failed.err
    assert len(failed.err.splitlines()) == 1
    assert api.get("rayjobs", "tiny") is None
    assert api.get("configmaps", "tiny-study") is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("storage: sqlite:///study.db", "is a file of one machine; leave it null"),
        ("tracking: {uri: 'https://me:word@mlflow.example.com'}", "holds a password"),
        ("resources: {gpus_per_trial: 1}", "1 CPU and 1 GPU: the largest has 4 and 0"),
        ("nonsense: 1", "tiny.yaml: nonsense"),
    ],
)
def test_a_study_that_cannot_live_in_a_cluster(
    api: FakeApiServer, latsearch: Latsearch, line: str, told: str
) -> None:
    Path("tiny.yaml").write_text(f"{STUDY}{line}\n")
    failed = latsearch("submit", "tiny.yaml", "-y", "--detach")
    assert failed.code == 2
    assert told in failed.err
    assert api.requests == [] or api.get("rayjobs", "tiny") is None


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (Refusal(403, "Forbidden", "rayjobs is forbidden: User cannot create"), "latsearch-user"),
        (Refusal(401, "Unauthorized", "Unauthorized"), "does not know you (401)"),
        (Refusal(422, "Invalid", "RayJob is invalid: spec.x: too long"), "spec.x: too long"),
        (Refusal(500, "InternalError", "etcd is away"), "etcd is away (500)"),
    ],
)
def test_what_the_server_refuses_is_told(
    api: FakeApiServer, latsearch: Latsearch, refusal: Refusal, told: str
) -> None:
    api.refusals.append(("POST /apis/ray.io/v1/namespaces/latsearch/rayjobs", refusal))
    failed = latsearch("submit", "tiny.yaml", "-y", "--detach")
    assert failed.code == 2
    assert told in failed.err
    assert len(failed.err.splitlines()) == 1


def test_a_job_without_its_study_is_taken_back(api: FakeApiServer, latsearch: Latsearch) -> None:
    refusal = Refusal(403, "Forbidden", "configmaps is forbidden: exceeded quota")
    api.refusals.append(("POST /api/v1/namespaces/latsearch/configmaps", refusal))
    failed = latsearch("submit", "tiny.yaml", "-y", "--detach")
    assert failed.code == 2
    assert "exceeded quota" in failed.err
    assert api.get("rayjobs", "tiny") is None


def test_a_cluster_without_kuberay(api: FakeApiServer, latsearch: Latsearch) -> None:
    api.plurals.remove("rayjobs")
    for words in (["submit", "tiny.yaml", "-y"], ["jobs"], ["logs", "tiny"]):
        failed = latsearch(*words)
        assert failed.code == 2
        assert "does not know RayJobs; install KubeRay's operator" in failed.err


def test_a_cluster_that_is_not_there(api: FakeApiServer, latsearch: Latsearch) -> None:
    api.close()
    failed = latsearch("submit", "tiny.yaml", "-y")
    assert failed.code == 2
    assert "the cluster does not answer" in failed.err
    assert len(failed.err.splitlines()) == 1


def test_ctrl_c_detaches(api: FakeApiServer, latsearch: Latsearch, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "latsearch", "submit", "tiny.yaml", "--yes"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, cwd=tmp_path,
    ) as process:  # fmt: skip
        try:
            api.wait_for(lambda: any("watch=" in request for request in api.requests), 60)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "detached: tiny goes on in the cluster. Come back with\n  latsearch logs tiny -f" in err
    assert "Traceback" not in err
    assert api.get("rayjobs", "tiny") is not None


def test_a_pipeline_travels_with_its_search_space(
    api: FakeApiServer, latsearch: Latsearch, tmp_path: Path
) -> None:
    from latsearch.config.pipeline import inline_study, load_pipeline, parse_pipeline
    from latsearch.spaces import pipeline_studies

    file = tmp_path / "p.yaml"
    file.write_text(
        "version: 1\npipeline: p\nsearch: {space: tiny.yaml}\n"
        "refit: {seeds: 2, variants: {rate: {preset: rate}}}\nregister: {}\n"
    )
    done = latsearch("submit", "p.yaml", "--yes", "--detach", "--seed", "3")
    assert done.code == 0, done.err
    job, sent = api.get("rayjobs", "tiny"), api.get("configmaps", "tiny-study")
    assert job is not None
    assert sent is not None
    assert job["spec"]["entrypoint"] == (
        "latsearch pipeline /etc/latsearch/study.yaml --address auto --runs s3://latsearch/runs "
        "--seed 3 --workers 16"
    )
    there = parse_pipeline(sent["data"]["study.yaml"])
    (space,) = there.search.space
    assert isinstance(space, dict)
    (here,) = pipeline_studies(load_pipeline(file), tmp_path)
    assert inline_study(space) == here
    assert there.refit == load_pipeline(file).refit
    refused = latsearch("submit", "p.yaml", "--yes", "--hours", "2")
    assert refused.code == 2
    assert refused.err == "--hours: a pipeline has no end but its own; leave it out\n"


def test_of_a_pipeline_with_several_spaces_the_study_has_to_be_named(latsearch: Latsearch) -> None:
    done = latsearch("submit", "paper.yaml", "-o", "yaml")
    assert done.code == 2
    Path("p.yaml").write_text("version: 1\npipeline: p\nsearch: {space: [tiny.yaml, digits]}\n")
    done = latsearch("submit", "p.yaml", "-o", "yaml")
    assert done.code == 2
    assert "has the studies tiny, digits" in done.err
    assert "--study" in done.err
    done = latsearch("submit", "p.yaml", "-o", "yaml", "--study", "mine")
    assert done.code == 0, done.err
