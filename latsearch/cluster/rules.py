"""KubeRay's own rules for a RayJob, most of which its CRD does not enforce.

A job that breaks one is taken by the API server, and fails or hangs afterwards. As in KubeRay
v1.7.0 (`ray-operator/controllers/ray/utils/validation.go`), with Kubernetes' naming rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from latsearch.cluster.quantities import quantity

LONGEST_NAME = 47  # KubeRay appends up to 16 characters to it for a Service
LEAST_HEAD_MEMORY = 8 * 2**30
LEAST_RAY_WITH_TOKEN = (2, 52, 0)

_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_MODES = ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")
# the entrypoint goes through the submitter's shell and then through the head's
SAFE_WORD = re.compile(r"[A-Za-z0-9_./:@=+,%-]+")
_MOST_ANNOTATIONS = 256 * 1024  # bytes of all of them

Spec = Mapping[str, Any]


def faults(job: Spec) -> list[str]:
    """What KubeRay or the API server would refuse, each as ``path: value, rule, likely fix``."""
    spec = job.get("spec") or {}
    checks = (_metadata(job), _lifecycle(spec), _submission(spec), _entrypoint(spec), _ray(spec))
    return [fault for check in checks for fault in check]


def name_fault(name: str) -> str | None:
    """Why a name cannot be a RayJob's; None where it can."""
    if len(name) > LONGEST_NAME:
        return f'"{name}" has {len(name)} characters; KubeRay takes at most {LONGEST_NAME}'
    if not _DNS_1035.fullmatch(name):
        return f'"{name}": use a-z, 0-9 and "-", a letter first, no "-" last'
    return None


def _metadata(job: Spec) -> Iterator[str]:
    for field, value in (("apiVersion", "ray.io/v1"), ("kind", "RayJob")):
        if job.get(field) != value:
            yield f"{field}: {job.get(field)!r}; write {value}"
    metadata = job.get("metadata") or {}
    fault = name_fault(str(metadata.get("name", "")))
    if fault:
        yield f"metadata.name: {fault}"
    for key, value in (metadata.get("labels") or {}).items():
        if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
            yield (
                f'metadata.labels.{key}: "{value}"; a label has at most 63 letters, digits, '
                '"-", "_" and ".", and none of these at an end'
            )
    size = sum(len(k) + len(str(v)) for k, v in (metadata.get("annotations") or {}).items())
    if size > _MOST_ANNOTATIONS:
        yield f"metadata.annotations: {size} bytes; Kubernetes takes {_MOST_ANNOTATIONS}"


def _lifecycle(spec: Spec) -> Iterator[str]:
    shuts_down = bool(spec.get("shutdownAfterJobFinishes"))
    ttl = _whole(spec, "ttlSecondsAfterFinished")
    if ttl < 0:
        yield f"spec.ttlSecondsAfterFinished: {ttl}; write 0 or more"
    if spec.get("suspend") and not shuts_down:
        yield "spec.suspend: true needs shutdownAfterJobFinishes: true"
    if ttl > 0 and not shuts_down:
        yield f"spec.ttlSecondsAfterFinished: {ttl} needs shutdownAfterJobFinishes: true"
    if shuts_down and (spec.get("deletionStrategy") or {}).get("deletionRules"):
        yield (
            "spec.deletionStrategy.deletionRules: excludes shutdownAfterJobFinishes: true; "
            "leave one out"
        )
    if _whole(spec, "backoffLimit") < 0:
        yield f"spec.backoffLimit: {spec['backoffLimit']}; write 0 or more"
    for field in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(field) is not None and _whole(spec, field, 1) <= 0:
            yield f"spec.{field}: {spec[field]}; write 1 or more, or leave it out"


def _whole(spec: Spec, field: str, default: int = 0) -> int:
    """A whole number; what is none is for the CRD's schema to refuse."""
    value = spec.get(field, default)
    return value if isinstance(value, int) else default


def _submission(spec: Spec) -> Iterator[str]:
    mode = spec.get("submissionMode", "K8sJobMode")
    if mode not in _MODES:
        yield f'spec.submissionMode: "{mode}"; known are {", ".join(_MODES)}'
    if mode == "SidecarMode":
        for field in ("submitterPodTemplate", "submitterConfig"):
            if spec.get(field) is not None:
                yield f"spec.{field}: SidecarMode takes none; use K8sJobMode or leave it out"
    if mode == "InteractiveMode" and _whole(spec, "backoffLimit") > 0:
        yield "spec.backoffLimit: InteractiveMode takes none; write 0"
    template = spec.get("submitterPodTemplate")
    if template is not None:
        policy = template.get("spec", {}).get("restartPolicy")
        if policy not in ("Never", "OnFailure"):
            yield f"spec.submitterPodTemplate.spec.restartPolicy: {policy}; write Never"
    try:
        yaml.safe_load(spec.get("runtimeEnvYAML") or "")
    except yaml.YAMLError as error:
        yield f"spec.runtimeEnvYAML: is no YAML: {' '.join(str(error).split())}"


def _entrypoint(spec: Spec) -> Iterator[str]:
    entrypoint = str(spec.get("entrypoint") or "")
    words = entrypoint.split()
    if not words and spec.get("submissionMode") != "InteractiveMode":
        yield "spec.entrypoint: is empty; write one command"
    for word in words:
        if not SAFE_WORD.fullmatch(word):
            yield (
                f'spec.entrypoint: "{word}" would be read by two shells; one plain command, and '
                "what has other characters goes into the environment"
            )
    for field in ("entrypointNumCpus", "entrypointNumGpus", "entrypointResources"):
        if spec.get(field):
            yield f"spec.{field}: lets Ray move the driver away from the head; leave it out"


def _ray(spec: Spec) -> Iterator[str]:
    ray = spec.get("rayClusterSpec")
    if ray is None:
        if not spec.get("clusterSelector"):
            yield "spec.rayClusterSpec: is missing"
        elif spec.get("suspend"):
            yield "spec.suspend: excludes clusterSelector"
        return
    where = "spec.rayClusterSpec"
    groups = [(f"{where}.headGroupSpec", ray.get("headGroupSpec") or {})]
    for worker in ray.get("workerGroupSpecs") or []:
        groups.append((f"{where}.workerGroupSpecs[{worker.get('groupName')}]", worker))
        yield from _replicas(*groups[-1])
    names = [group.get("groupName") for _, group in groups[1:]]
    for name in {name for name in names if names.count(name) > 1}:
        yield f"{where}.workerGroupSpecs: two groups are called {name}"
    for path, group in groups:
        yield from _group(path, group)
    yield from _autoscaling(where, ray, groups)
    yield from _token(where, ray)


def _group(path: str, group: Spec) -> Iterator[str]:
    containers = group.get("template", {}).get("spec", {}).get("containers") or []
    if not containers:
        yield f"{path}: has no container"
    parameters = group.get("rayStartParams") or {}
    for key, value in parameters.items():
        if not isinstance(value, str):
            yield f'{path}.rayStartParams.{key}: {value!r}; write it as text: "{value}"'
    if "labels" in parameters:
        yield f"{path}.rayStartParams.labels: KubeRay takes them in the group's own `labels`"
    own = {"num-cpus", "num-gpus", "memory", "resources"} & parameters.keys()
    if own and group.get("resources"):
        yield f"{path}.resources: excludes rayStartParams {', '.join(sorted(own))}"
    for container in containers:
        yield from _resources(f"{path}.{container.get('name')}", container.get("resources") or {})


def _resources(path: str, resources: Spec) -> Iterator[str]:
    numbers: dict[tuple[str, str], float] = {}
    for kind in ("requests", "limits"):
        for name, text in (resources.get(kind) or {}).items():
            try:
                numbers[kind, name] = quantity(text)
            except ValueError as error:
                yield f"{path}.resources.{kind}.{name}: {error}"
    for (kind, name), number in numbers.items():
        if kind == "requests" and number > numbers.get(("limits", name), number):
            yield f"{path}.resources.requests.{name}: is above its limit"
        extended = "/" in name
        if extended and numbers.get(("limits", name)) != number:
            yield f"{path}.resources.{kind}.{name}: request and limit have to be the same"


def _replicas(path: str, group: Spec) -> Iterator[str]:
    least, most = _whole(group, "minReplicas"), _whole(group, "maxReplicas", 2**31 - 1)
    replicas = _whole(group, "replicas", least)
    if not 0 <= least <= replicas <= most:
        yield (
            f"{path}: minReplicas {least}, replicas {replicas}, maxReplicas {most}; "
            "they have to rise in this order"
        )


def _autoscaling(where: str, ray: Spec, groups: list[tuple[str, Spec]]) -> Iterator[str]:
    options = ray.get("autoscalerOptions") or {}
    head = (groups[0][1].get("template", {}).get("spec", {}).get("containers") or [{}])[0]
    variable = next(
        (e for e in head.get("env") or [] if e.get("name") == "RAY_enable_autoscaler_v2"), None
    )
    if not ray.get("enableInTreeAutoscaling"):
        if variable and variable.get("value") in ("1", "true"):
            yield f"{where}: RAY_enable_autoscaler_v2 needs enableInTreeAutoscaling: true"
        return
    if variable and options.get("version"):
        yield f"{where}.autoscalerOptions.version: excludes RAY_enable_autoscaler_v2 of the head"
    if options.get("version") == "v2" or variable:
        for path, group in groups:
            policy = group.get("template", {}).get("spec", {}).get("restartPolicy", "Never")
            if policy != "Never":
                yield f"{path}.restartPolicy: {policy}; the v2 autoscaler wants Never or none"


def _token(where: str, ray: Spec) -> Iterator[str]:
    if (ray.get("authOptions") or {}).get("mode") != "token":
        return
    version = str(ray.get("rayVersion") or "")
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if match is None:
        yield f'{where}.rayVersion: "{version}"; authOptions need it, e.g. 2.60.0'
    elif tuple(map(int, match.groups())) < LEAST_RAY_WITH_TOKEN:
        yield f"{where}.rayVersion: {version}; token authentication came with 2.52.0"
