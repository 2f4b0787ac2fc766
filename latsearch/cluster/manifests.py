"""From a study and a template to what is sent: a RayJob, and the study's YAML in a ConfigMap."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from latsearch.cluster import rules
from latsearch.cluster.state import DIGEST, JOB, QUEUE, RUNS, STUDY
from latsearch.errors import UserError

GPU = "nvidia.com/gpu"
_PACKAGE = Path(__file__).parents[1]
# in the wheel the template is below the package, in a checkout beside it
_TEMPLATES = (_PACKAGE / "k8s" / "rayjob.yaml", _PACKAGE.parent / "k8s" / "base" / "rayjob.yaml")
_STUDY_FILE = "/etc/latsearch/study.yaml"
_LARGEST_STUDY = 900_000  # bytes; a ConfigMap takes 1 MiB
_OWN_LABELS = {"app.kubernetes.io/name": "latsearch", "app.kubernetes.io/managed-by": "latsearch"}


@dataclass(frozen=True)
class Submission:
    """What is to be submitted; None leaves what the template says.

    Attributes:
        name: name of the job.
        namespace: where to.
        study: name of the study.
        text: the study's YAML.
        command: what is run, ``run`` or ``pipeline``.
        options: further words of that command, e.g. ``("--trials", "100")``.
        runs: folder or URI of all studies, seen from the cluster.
        image: image of head, workers and submitter.
        queue: queue of Kueue.
        workers: least and most workers by group; the key "" stands for the only group.
        gpus: GPUs of a worker.
        cpus: CPU cores of a worker.
        memory: memory of a worker, as a quantity.
    """

    name: str
    namespace: str
    study: str
    text: str
    command: str = "run"
    options: Sequence[str] = ()
    runs: str | None = None
    image: str | None = None
    queue: str | None = None
    workers: Mapping[str, tuple[int, int]] | None = None
    gpus: int | None = None
    cpus: str | None = None
    memory: str | None = None


@dataclass(frozen=True)
class Manifests:
    """What is sent to the API server.

    Attributes:
        config_map: the study's YAML, mounted by the head.
        job: the RayJob.
    """

    config_map: dict[str, Any]
    job: dict[str, Any]

    def to_yaml(self) -> str:
        """Both as YAML documents, for `kubectl apply -f -`."""
        return yaml.dump_all(
            [self.config_map, self.job], Dumper=_Dumper, sort_keys=False, allow_unicode=True
        )


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _text)


def job_name(study: str) -> str:
    """A name for the job of a study: lower case, "-" for what Kubernetes does not take.

    >>> job_name("CIFAR10_v2.b"), job_name("10-class")
    ('cifar10-v2-b', 'study-10-class')
    """
    name = re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-")
    if not name or not name[0].isalpha():
        name = f"study-{name}".rstrip("-")
    return name[: rules.LONGEST_NAME].rstrip("-")


def load_template(file: Path | None = None) -> dict[str, Any]:
    """The RayJob to start from: the only one in a file, or the one that ships.

    Args:
        file: YAML documents, e.g. what `kubectl kustomize` printed.

    Raises:
        UserError: the file cannot be read, or has no RayJob or several.
    """
    source = file or next(path for path in _TEMPLATES if path.exists())
    try:
        documents = list(yaml.safe_load_all(source.read_text(encoding="utf-8")))
    except RecursionError:
        raise UserError(f"{source}: is nested too deeply for a RayJob") from None
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise UserError(f"{source}: cannot be read: {' '.join(str(error).split())}") from None
    jobs = [d for d in documents if isinstance(d, dict) and d.get("kind") == "RayJob"]
    if len(jobs) != 1:
        raise UserError(f"{source}: has {len(jobs)} RayJobs; a template has exactly one")
    return copy.deepcopy(jobs[0])


def render(template: Mapping[str, Any], submission: Submission) -> Manifests:
    """The objects to send.

    Raises:
        UserError: the template has no place for something, or KubeRay would refuse the job.
    """
    if len(submission.text.encode()) > _LARGEST_STUDY:
        raise UserError(f"{submission.study}: its YAML is too large for a ConfigMap")
    job = copy.deepcopy(dict(template))
    try:
        _fill(job, submission)
        found = rules.faults(job)
        _digest({}, job)  # what cannot be sorted or written as JSON
    except (KeyError, IndexError) as error:
        raise UserError(f"the template is no whole RayJob: {error!r} is missing") from None
    except (TypeError, AttributeError, ValueError) as error:
        raise UserError(f"the template is no RayJob: {' '.join(str(error).split())}") from None
    if found:
        raise UserError("\n".join(found))
    data = {"study.yaml": submission.text}
    config_map: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": study_map(submission.name),
            "namespace": submission.namespace,
            "labels": {**_OWN_LABELS, JOB: submission.name},
        },
        "data": data,
    }
    job["metadata"]["annotations"][DIGEST] = _digest(data, job)
    return Manifests(config_map, job)


def study_map(job: str) -> str:
    """Name of the ConfigMap with a job's study."""
    return f"{job}-study"


def _fill(job: dict[str, Any], submission: Submission) -> None:
    old = job["metadata"]
    runs = submission.runs or (old.get("annotations") or {})[RUNS]
    job["metadata"] = {
        "name": submission.name,
        "namespace": submission.namespace,
        "labels": {**(old.get("labels") or {}), **_OWN_LABELS, JOB: submission.name},
        "annotations": {
            **(old.get("annotations") or {}),
            STUDY: submission.study,
            RUNS: runs,
        },
    }
    job.pop("status", None)
    spec = job["spec"]
    words = ["latsearch", submission.command, _STUDY_FILE, "--address", "auto", "--runs", runs]
    spec["entrypoint"] = " ".join([*words, *submission.options])
    ray = spec["rayClusterSpec"]
    _mount_study(ray["headGroupSpec"]["template"]["spec"], submission.name)
    if submission.image is not None:
        _set_image(spec, submission.image)
    for group in ray["workerGroupSpecs"]:
        _size(group["template"]["spec"], submission)
    _set_workers(ray, submission)
    if submission.queue is not None:
        job["metadata"]["labels"][QUEUE] = submission.queue
    if not any(g["minReplicas"] < g["maxReplicas"] for g in ray["workerGroupSpecs"]):
        ray["enableInTreeAutoscaling"] = False
        ray.pop("autoscalerOptions", None)


def _mount_study(head: dict[str, Any], name: str) -> None:
    volume = next((v for v in head["volumes"] if v["name"] == "study"), None)
    if volume is None or "configMap" not in volume:
        raise UserError(
            'the template\'s head has no volume "study" of a ConfigMap: the study would not reach '
            "the driver; see k8s/base/rayjob.yaml"
        )
    volume["configMap"] = {"name": study_map(name)}


def _set_image(spec: dict[str, Any], image: str) -> None:
    pods = [spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]]
    pods += [group["template"]["spec"] for group in spec["rayClusterSpec"]["workerGroupSpecs"]]
    if "submitterPodTemplate" in spec:
        pods.append(spec["submitterPodTemplate"]["spec"])
    before = pods[0]["containers"][0]["image"]
    for pod in pods:
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            if container.get("image") == before or container is pod["containers"][0]:
                container["image"] = image


def _size(pod: dict[str, Any], submission: Submission) -> None:
    resources = pod["containers"][0].setdefault("resources", {})
    wanted = {"cpu": submission.cpus, "memory": submission.memory, GPU: submission.gpus}
    for name, value in wanted.items():
        for kind in ("requests", "limits"):
            if name == GPU and value == 0:
                resources.get(kind, {}).pop(GPU, None)
            elif value is not None:
                resources.setdefault(kind, {})[name] = value if name == GPU else str(value)
    if submission.gpus:
        tolerations = pod.setdefault("tolerations", [])
        if not any(toleration.get("key") == GPU for toleration in tolerations):
            tolerations.append({"key": GPU, "operator": "Exists", "effect": "NoSchedule"})


def _set_workers(ray: dict[str, Any], submission: Submission) -> None:
    groups = {group["groupName"]: group for group in ray["workerGroupSpecs"]}
    for name, (least, most) in (submission.workers or {}).items():
        if name == "" and len(groups) > 1:
            raise UserError(
                f"--workers {least}:{most}: the template has the groups {', '.join(groups)}; "
                f"say which, e.g. --workers {next(iter(groups))}={least}:{most}"
            )
        if name and name not in groups:
            raise UserError(f"--workers {name}: no such group; there are {', '.join(groups)}")
        group = groups[name or next(iter(groups))]
        group["minReplicas"], group["maxReplicas"] = least, most
    for group in groups.values():
        if submission.queue is not None:  # Kueue admits a job as a whole: no coming and going
            group["minReplicas"] = group["maxReplicas"]
        least, most = group["minReplicas"], group["maxReplicas"]
        group["replicas"] = min(max(group.get("replicas", least), least), most)


def _digest(data: Mapping[str, str], job: Mapping[str, Any]) -> str:
    """Tells whether a job that exists is the one that would be submitted."""
    labels = job["metadata"]["labels"]
    text = json.dumps([data, job["spec"], labels], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def group_sizes(job: Mapping[str, Any]) -> Iterator[tuple[str, int, int, Mapping[str, Any]]]:
    """Name, least, most and the resources of one worker, by group."""
    for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"].get("limits", {})
        yield group["groupName"], group["minReplicas"], group["maxReplicas"], limits
