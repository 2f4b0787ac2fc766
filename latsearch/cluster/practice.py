"""What KubeRay takes, but goes wrong in a cluster: warnings of a RayJob, not faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from latsearch.cluster.quantities import quantity
from latsearch.cluster.rules import LEAST_HEAD_MEMORY

Spec = Mapping[str, Any]


def warnings(job: Spec) -> list[str]:
    """What is likely to go wrong, one line each."""
    spec = job["spec"]
    ray = spec["rayClusterSpec"]
    return [*_head(ray["headGroupSpec"]), *_workers(ray), *_security(job)]


def _head(group: Spec) -> Iterator[str]:
    container = group["template"]["spec"]["containers"][0]
    memory = (container.get("resources", {}).get("limits") or {}).get("memory")
    if memory is None or quantity(memory) < LEAST_HEAD_MEMORY:
        yield f"the head has {memory or 'no set'} memory; under 8Gi it is killed in long searches"
    if (group.get("rayStartParams") or {}).get("num-cpus") != "0":
        yield 'the head\'s rayStartParams lack num-cpus: "0": trials will run beside the driver'


def _workers(ray: Spec) -> Iterator[str]:
    for group in ray.get("workerGroupSpecs") or []:
        container = group["template"]["spec"]["containers"][0]
        resources = container.get("resources", {})
        request, limit = (
            (resources.get(kind) or {}).get("memory") for kind in ("requests", "limits")
        )
        if limit is None or request is None or quantity(request) != quantity(limit):
            name = group["groupName"]
            yield f"workers {name}: memory request {request} is not the limit {limit}; make it so"


def _security(job: Spec) -> Iterator[str]:
    spec = job["spec"]
    if spec.get("submissionMode") == "SidecarMode":
        yield "SidecarMode: its submitter is refused in namespaces of Pod Security `restricted`"
    for what, context in security_contexts(job):
        lacks = restricted_faults(context)
        if lacks:
            yield (
                f"{what}: refused in namespaces of Pod Security `restricted`, without a sign on "
                f"the job: {', '.join(lacks)}"
            )


def security_contexts(job: Spec) -> Iterator[tuple[str, Spec]]:
    """Each container that the job leads to, with its security context."""
    spec = job["spec"]
    ray = spec["rayClusterSpec"]
    templates = [("head", ray["headGroupSpec"]["template"])]
    templates += [
        (f"workers {g['groupName']}", g["template"]) for g in ray.get("workerGroupSpecs") or []
    ]
    if spec.get("submissionMode", "K8sJobMode") == "K8sJobMode":
        templates.append(("submitter", spec.get("submitterPodTemplate") or {}))
    for what, template in templates:
        pod = template.get("spec") or {"containers": [{}]}
        for container in [*pod["containers"], *(pod.get("initContainers") or [])]:
            yield what, {**(pod.get("securityContext") or {}), **container.get(
                "securityContext", {}
            )}  # fmt: skip
    if ray.get("enableInTreeAutoscaling"):
        yield "autoscaler", (ray.get("autoscalerOptions") or {}).get("securityContext") or {}


def restricted_faults(context: Spec) -> list[str]:
    """What a container's security context lacks for Pod Security `restricted`."""
    lacks = []
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        lacks.append("runAsNonRoot: true")
    if context.get("allowPrivilegeEscalation") is not False:
        lacks.append("allowPrivilegeEscalation: false")
    if "ALL" not in ((context.get("capabilities") or {}).get("drop") or []):
        lacks.append("capabilities: {drop: [ALL]}")
    if (context.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        lacks.append("seccompProfile: {type: RuntimeDefault}")
    return lacks
