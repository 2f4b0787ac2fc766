"""Every overlay, rendered by kubectl: strict schemas, KubeRay's rules, and the house's policies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from latsearch.cluster.practice import restricted_faults, warnings
from latsearch.cluster.quantities import quantity
from latsearch.cluster.rules import faults
from latsearch.cluster.state import RUNS
from latsearch.cluster.submitting import trials_at_once
from latsearch.config import parse_study
from tests.cluster.schemas import crds_are_here, schema_faults

K8S = Path(__file__).parents[2] / "k8s"
ROOT = K8S.parent
OVERLAYS = ["base", "overlays/dev", "overlays/gpu", "overlays/prod", "with-runs-pvc"]
KUBECTL = shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="no kubectl")

Thing = dict[str, Any]
Rendered = dict[str, list[Thing]]


def kustomize(folder: Path) -> list[Thing]:
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(folder)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """All overlays, and the component that none of them uses on top of one."""
    if KUBECTL is None:
        pytest.skip("no kubectl")
    folder = tmp_path_factory.mktemp("k8s") / "k8s"
    shutil.copytree(K8S, folder)
    extra = folder / "with-runs-pvc"
    extra.mkdir()
    (extra / "kustomization.yaml").write_text(
        "resources: [../overlays/gpu]\ncomponents: [../components/runs-pvc]\n"
    )
    return {name: kustomize(folder / name) for name in OVERLAYS}


def of_kind(things: list[Thing], *kinds: str) -> list[Thing]:
    return [thing for thing in things if thing["kind"] in kinds]


def pods(things: list[Thing]) -> Iterator[tuple[str, Thing]]:
    """The specification of every pod that the things lead to."""
    for thing in of_kind(things, "Deployment", "StatefulSet", "Job"):
        yield thing["metadata"]["name"], thing["spec"]["template"]["spec"]
    for job in of_kind(things, "RayJob"):
        ray = job["spec"]["rayClusterSpec"]
        yield "submitter", job["spec"]["submitterPodTemplate"]["spec"]
        yield "head", ray["headGroupSpec"]["template"]["spec"]
        for group in ray["workerGroupSpecs"]:
            yield group["groupName"], group["template"]["spec"]


def containers(things: list[Thing]) -> Iterator[tuple[str, Thing]]:
    for name, pod in pods(things):
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            yield f"{name}/{container['name']}", container
    for job in of_kind(things, "RayJob"):
        ray = job["spec"]["rayClusterSpec"]
        if ray["enableInTreeAutoscaling"]:
            yield "autoscaler", ray["autoscalerOptions"]


def test_built_in_kinds_meet_their_schemas(rendered: Rendered) -> None:
    """Each thing once, as most are the same in every overlay; RayJobs are not built in."""
    import kubernetes_validate

    own = ("RayJob", "LocalQueue")
    things = {str(t): t for overlay in rendered.values() for t in overlay if t["kind"] not in own}
    assert len(things) > 30
    for thing in things.values():
        kubernetes_validate.validate(thing, "1.32", strict=True)


def test_the_workers_that_the_driver_counts_on_are_there(rendered: Rendered) -> None:
    """`--workers` of the entrypoint is what makes the autoscaler add nodes: no more than may be."""
    for overlay, things in rendered.items():
        (job,) = of_kind(things, "RayJob")
        (study,) = [
            parse_study(t["data"]["study.yaml"])
            for t in of_kind(things, "ConfigMap")
            if "study.yaml" in t["data"]
        ]
        words = job["spec"]["entrypoint"].split()
        asked = int(words[words.index("--workers") + 1])
        assert 0 < asked <= trials_at_once(job, study), overlay
        assert words[words.index("--runs") + 1] == job["metadata"]["annotations"][RUNS], overlay


@pytest.mark.skipif(not crds_are_here(), reason="KubeRay's CRDs are not beside the project")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rayjobs_meet_kuberays_schema(rendered: Rendered, overlay: str) -> None:
    (job,) = of_kind(rendered[overlay], "RayJob")
    assert schema_faults(job) == []


@pytest.mark.skipif(not crds_are_here(), reason="KubeRay's CRDs are not beside the project")
def test_the_schema_is_strict(rendered: Rendered) -> None:
    (job,) = of_kind(rendered["base"], "RayJob")
    job = yaml.safe_load(yaml.safe_dump(job))
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["nodeSelectr"] = {}
    job["spec"]["backofLimit"] = 1
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    told = " ".join(message for _, message in schema_faults(job))
    assert "nodeSelectr" in told
    assert "backofLimit" in told
    assert "0 is not of type 'string'" in told


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kuberays_rules_and_practice(rendered: Rendered, overlay: str) -> None:
    (job,) = of_kind(rendered[overlay], "RayJob")
    assert faults(job) == []
    assert warnings(job) == []
    ray = job["spec"]["rayClusterSpec"]
    assert ray["authOptions"] == {"mode": "token"}
    assert job["spec"]["submissionMode"] == "K8sJobMode"
    head = ray["headGroupSpec"]["template"]
    assert head["metadata"]["annotations"] == {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_restricted(rendered: Rendered, overlay: str) -> None:
    (namespace,) = of_kind(rendered[overlay], "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    seen = 0
    for name, container in containers(rendered[overlay]):
        context = container["securityContext"]
        assert restricted_faults(context) == [], name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["runAsUser"] == context["runAsGroup"] != 0, name
        seen += 1
    assert seen >= 4
    for name, pod in pods(rendered[overlay]):
        assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"], name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        kinds = {next(key for key in volume if key != "name") for volume in pod["volumes"]}
        assert kinds <= {"emptyDir", "configMap", "secret", "persistentVolumeClaim"}, name
        # a read-only root needs a place to write: /tmp, and HOME
        for container in pod["containers"]:
            mounted = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
            home = [e["value"] for e in container.get("env", []) if e["name"] == "HOME"]
            assert {"/tmp", *home} <= mounted, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_has_requests_and_limits(rendered: Rendered, overlay: str) -> None:
    for name, container in containers(rendered[overlay]):
        resources = container["resources"]
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= resources[kind].keys(), name
        assert resources["requests"]["memory"] == resources["limits"]["memory"], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_pinned(rendered: Rendered, overlay: str) -> None:
    images = {c["image"] for _, c in containers(rendered[overlay]) if "image" in c}
    assert images
    for image in images:
        tag = image.rpartition(":")[2]
        assert "/" not in tag, f"{image} has no tag"
        assert re.search(r"\d", tag), f"{image} is not pinned"
        assert tag != "latest"
    if overlay in ("overlays/gpu", "overlays/prod"):  # `images:` reached into the RayJob
        assert not any(image.startswith("latsearch") for image in images)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_are_carried_into_the_rayjob(rendered: Rendered, overlay: str) -> None:
    """ConfigMaps with a hash in their name, claims, accounts, selectors: all is there."""
    things = rendered[overlay]
    (job,) = of_kind(things, "RayJob")
    maps = {thing["metadata"]["name"]: thing for thing in of_kind(things, "ConfigMap")}
    claims = {t["metadata"]["name"] for t in of_kind(things, "PersistentVolumeClaim")}
    accounts = {t["metadata"]["name"] for t in of_kind(things, "ServiceAccount")}
    for name, pod in pods(things):
        assert pod["serviceAccountName"] in accounts, name
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps, name
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, name
        for container in pod["containers"]:
            for source in container.get("envFrom", []):
                assert source.get("configMapRef", {"name": "latsearch-env"})["name"] in maps, name
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    study = next(v for v in head["volumes"] if v["name"] == "study")["configMap"]["name"]
    assert re.fullmatch(r"digits-study-[a-z0-9]{10}", study)
    assert parse_study(maps[study]["data"]["study.yaml"]).study == "digits"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_in_the_repository(rendered: Rendered, overlay: str) -> None:
    assert of_kind(rendered[overlay], "Secret") == []
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|STORAGE|BACKEND_STORE", re.IGNORECASE)
    for name, container in containers(rendered[overlay]):
        for entry in container.get("env", []):
            if secret.search(entry["name"]):
                assert "secretKeyRef" in entry["valueFrom"], f"{name} {entry['name']}"
        for word in [*container.get("command", []), *container.get("args", [])]:
            assert "://" not in word or "@" not in word, name
    for config_map in of_kind(rendered[overlay], "ConfigMap"):
        for key in config_map["data"]:
            assert not secret.search(key), key


def test_no_file_of_k8s_holds_a_secret() -> None:
    looks = re.compile(r"://[^\s/:@$]+:[^\s/@$]+@|AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY")
    for file in K8S.rglob("*"):
        if file.is_file():
            assert not looks.search(file.read_text()), file
            assert not re.search(r"image: \S+:latest\b", file.read_text()), file


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_network_is_closed_but_for_what_is_named(rendered: Rendered, overlay: str) -> None:
    things = rendered[overlay]
    policies = {t["metadata"]["name"]: t["spec"] for t in of_kind(things, "NetworkPolicy")}
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (budget,) = of_kind(things, "PodDisruptionBudget")
    assert budget["spec"]["selector"] == {"matchLabels": {"ray.io/node-type": "head"}}
    parts = set()
    for thing in of_kind(things, "Deployment", "StatefulSet", "Job"):
        parts.add(thing["spec"]["template"]["metadata"]["labels"]["latsearch.io/part"])
    (job,) = of_kind(things, "RayJob")
    ray = job["spec"]["rayClusterSpec"]
    groups = [ray["headGroupSpec"], *ray["workerGroupSpecs"], job["spec"]["submitterPodTemplate"]]
    for group in groups:
        template = group.get("template", group)
        parts.add(template["metadata"]["labels"]["latsearch.io/part"])
    named = set(re.findall(r"'latsearch.io/part', 'operator': 'In', 'values': \[(.*?)\]",
                           str(list(policies.values()))))  # fmt: skip
    named |= set(re.findall(r"'latsearch.io/part': ('\w[\w-]*')", str(list(policies.values()))))
    for part in parts:  # every part has a policy, else it could talk to nobody
        assert f"'{part}'" in " ".join(named), part


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_asked_for_fits_into_the_quota(rendered: Rendered, overlay: str) -> None:
    things = rendered[overlay]
    (quota,) = of_kind(things, "ResourceQuota")
    (job,) = of_kind(things, "RayJob")
    ray = job["spec"]["rayClusterSpec"]
    most = {g["groupName"]: g["maxReplicas"] for g in ray["workerGroupSpecs"]}
    used: dict[str, float] = {}
    for name, container in containers(things):
        times = most.get(name.partition("/")[0], 1)
        for resource, amount in container["resources"]["limits"].items():
            used[resource] = used.get(resource, 0) + times * quantity(amount)
    hard = quota["spec"]["hard"]
    assert used["cpu"] <= quantity(hard["limits.cpu"])
    assert used["memory"] <= quantity(hard["limits.memory"])
    if "nvidia.com/gpu" in used:
        assert used["nvidia.com/gpu"] <= quantity(hard["requests.nvidia.com/gpu"])


def test_a_job_in_the_queue_fits_into_it(rendered: Rendered) -> None:
    """Kueue admits a job as a whole: one that is larger than its queue would wait for ever."""
    text = (K8S / "components" / "kueue" / "cluster.yaml").read_text()
    flavor = list(yaml.safe_load_all(text))[1]["spec"]["resourceGroups"][0]["flavors"][0]
    there = {r["name"]: quantity(r["nominalQuota"]) for r in flavor["resources"]}
    (job,) = of_kind(rendered["overlays/prod"], "RayJob")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "latsearch"
    ray = job["spec"]["rayClusterSpec"]
    assert ray["enableInTreeAutoscaling"] is False
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    asked: dict[str, float] = {}
    groups = [(1, ray["headGroupSpec"]["template"])]
    groups += [(group["replicas"], group["template"]) for group in ray["workerGroupSpecs"]]
    groups.append((1, job["spec"]["submitterPodTemplate"]))
    for times, template in groups:
        for name, amount in template["spec"]["containers"][0]["resources"]["requests"].items():
            asked[name] = asked.get(name, 0) + times * quantity(amount)
    assert all(asked[name] <= there[name] for name in asked), (asked, there)
    assert asked["nvidia.com/gpu"] > 0


def test_mlflow_asks_for_users_and_knows_its_names(rendered: Rendered) -> None:
    for overlay in ("overlays/dev", "overlays/gpu", "overlays/prod"):
        (server,) = of_kind(rendered[overlay], "Deployment")
        container = server["spec"]["template"]["spec"]["containers"][0]
        assert "basic-auth" in container["command"]
        variables = {e["name"]: e for e in container["env"]}
        hosts = variables["MLFLOW_SERVER_ALLOWED_HOSTS"]["value"].split(",")
        assert {"mlflow", "mlflow:*", "localhost:*", "*.svc.cluster.local:*"} <= set(hosts)
        assert "secretKeyRef" in variables["MLFLOW_AUTH_ADMIN_PASSWORD"]["valueFrom"]
        environment = next(
            t for t in of_kind(rendered[overlay], "ConfigMap")
            if t["metadata"]["name"] == "latsearch-env"
        )  # fmt: skip
        assert environment["data"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_the_commands_role_has_no_more_than_they_need(rendered: Rendered) -> None:
    (role,) = of_kind(rendered["base"], "Role")
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert "secrets" not in resources
    assert "pods/exec" not in resources
    assert not any("*" in str(rule) for rule in role["rules"])


def test_the_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")  # the environment may not be active
    done = subprocess.run(
        [hadolint, str(K8S / "Dockerfile")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
    text = (K8S / "Dockerfile").read_text()
    assert re.search(r"^USER 1000:1000$", text, re.MULTILINE)
    assert re.search(r"^ARG PYTHON=python:3\.11\.\d+-slim-bookworm$", text, re.MULTILINE)
    assert "pip install --require-hashes --no-deps -r k8s/requirements.lock" in text
    assert len(re.findall(r"^RUN pip install", text, re.MULTILINE)) == 3  # torch, lock, latsearch


def test_files_that_the_dockerfile_copies_are_there_and_not_ignored() -> None:
    kept = (K8S / "Dockerfile.dockerignore").read_text().split()
    copies = re.findall(r"^COPY (?!--from)(.+)$", (K8S / "Dockerfile").read_text(), re.MULTILINE)
    for source in [word for line in copies for word in line.split()[:-1]]:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in kept, source
