"""KubeRay's rules: the template keeps them all, and each one that is broken is named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latsearch.cluster.manifests import job_name, load_template
from latsearch.cluster.practice import warnings
from latsearch.cluster.quantities import quantity
from latsearch.cluster.rules import faults, name_fault

TEMPLATE = load_template()
Change = Callable[[dict[str, Any]], Any]


def ray(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["rayClusterSpec"]


def head(job: dict[str, Any]) -> dict[str, Any]:
    return ray(job)["headGroupSpec"]


def worker(job: dict[str, Any]) -> dict[str, Any]:
    return ray(job)["workerGroupSpecs"][0]


def container(group: dict[str, Any]) -> dict[str, Any]:
    return group["template"]["spec"]["containers"][0]


def test_the_template_keeps_every_rule() -> None:
    assert faults(TEMPLATE) == []
    assert warnings(TEMPLATE) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda j: j.update(apiVersion="ray.io/v1alpha1"), "apiVersion: 'ray.io/v1alpha1'"),
        (lambda j: j.update(kind="RayCluster"), "kind: 'RayCluster'; write RayJob"),
        (lambda j: j["metadata"].update(name="a" * 48), "has 48 characters; KubeRay takes at most"),
        (lambda j: j["metadata"].update(name="1st"), 'metadata.name: "1st"'),
        (lambda j: j["metadata"].update(name="a_b"), 'metadata.name: "a_b"'),
        (lambda j: j["metadata"].update(name="a-"), 'metadata.name: "a-"'),
        (lambda j: j["metadata"].update(labels={"x": "v" * 64}), "metadata.labels.x"),
        (lambda j: j["metadata"].update(labels={"x": "ends."}), "metadata.labels.x"),
        (lambda j: j["metadata"].update(annotations={"x": "v" * 300_000}), "annotations: 300001"),
        (lambda j: j["spec"].update(submissionMode="K8SJobMode"), '"K8SJobMode"; known are'),
        (
            lambda j: j["spec"].update(submissionMode="SidecarMode"),
            "submitterPodTemplate: SidecarMo",
        ),
        (lambda j: j["spec"].update(submissionMode="SidecarMode"), "submitterConfig: SidecarMode"),
        (
            lambda j: j["spec"].update(submissionMode="InteractiveMode"),
            "InteractiveMode takes none",
        ),
        (lambda j: j["spec"].update(suspend=True, shutdownAfterJobFinishes=False), "spec.suspend"),
        (
            lambda j: j["spec"].update(shutdownAfterJobFinishes=False),
            "ttlSecondsAfterFinished: 300",
        ),
        (lambda j: j["spec"].update(ttlSecondsAfterFinished=-1), "ttlSecondsAfterFinished: -1"),
        (
            lambda j: j["spec"].update(deletionStrategy={"deletionRules": [{}]}),
            "excludes shutdownAfterJobFinishes",
        ),
        (lambda j: j["spec"].update(backoffLimit=-1), "spec.backoffLimit: -1"),
        (lambda j: j["spec"].update(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds: 0"),
        (lambda j: j["spec"].update(runtimeEnvYAML="a: ["), "spec.runtimeEnvYAML: is no YAML"),
        (lambda j: j["spec"].update(entrypoint="a; b"), '"a;" would be read by two shells'),
        (lambda j: j["spec"].update(entrypoint="a && b"), '"&&" would be read by two shells'),
        (lambda j: j["spec"].update(entrypoint="a $B"), '"$B" would be read by two shells'),
        (lambda j: j["spec"].update(entrypoint="  "), "spec.entrypoint: is empty"),
        (lambda j: j["spec"].update(entrypointNumCpus=1), "spec.entrypointNumCpus: lets Ray move"),
        (
            lambda j: j["spec"]["submitterPodTemplate"]["spec"].update(restartPolicy="Always"),
            "submitterPodTemplate.spec.restartPolicy: Always; write Never",
        ),
        (lambda j: j["spec"].pop("rayClusterSpec"), "spec.rayClusterSpec: is missing"),
        (lambda j: head(j)["template"]["spec"].update(containers=[]), "headGroupSpec: has no cont"),
        (lambda j: head(j).update(rayStartParams={"num-cpus": 0}), 'write it as text: "0"'),
        (lambda j: head(j)["rayStartParams"].update(labels="a=b"), "rayStartParams.labels"),
        (lambda j: head(j).update(resources={"CPU": "1"}), "excludes rayStartParams num-cpus"),
        (lambda j: worker(j).update(minReplicas=5), "minReplicas 5, replicas 1, maxReplicas 4"),
        (lambda j: worker(j).update(replicas=9), "minReplicas 0, replicas 9, maxReplicas 4"),
        (
            lambda j: ray(j)["workerGroupSpecs"].append(worker(j)),
            "two groups are called cpu",
        ),
        (
            lambda j: head(j)["template"]["spec"].update(restartPolicy="Always"),
            "restartPolicy: Always; the v2 autoscaler wants Never",
        ),
        (
            lambda j: worker(j)["template"]["spec"].update(restartPolicy="OnFailure"),
            "workerGroupSpecs[cpu].restartPolicy: OnFailure",
        ),
        (
            lambda j: container(head(j))["env"].append(
                {"name": "RAY_enable_autoscaler_v2", "value": "1"}
            ),
            "autoscalerOptions.version: excludes RAY_enable_autoscaler_v2",
        ),
        (lambda j: ray(j).pop("rayVersion"), 'rayVersion: ""; authOptions need it'),
        (lambda j: ray(j).update(rayVersion="2.51.1"), "token authentication came with 2.52.0"),
        (
            lambda j: container(worker(j))["resources"]["limits"].update(memory="8GB"),
            '"8GB" is no quantity',
        ),
        (
            lambda j: container(worker(j))["resources"]["requests"].update(cpu="5"),
            "requests.cpu: is above its limit",
        ),
        (
            lambda j: container(worker(j))["resources"]["requests"].update({"nvidia.com/gpu": 1}),
            "requests.nvidia.com/gpu: request and limit have to be the same",
        ),
    ],
)
def test_a_broken_rule_is_named(change: Change, told: str) -> None:
    job = copy.deepcopy(TEMPLATE)
    change(job)
    assert any(told in fault for fault in faults(job)), faults(job)


def test_autoscaler_variable_without_autoscaling() -> None:
    job = copy.deepcopy(TEMPLATE)
    ray(job).update(enableInTreeAutoscaling=False)
    container(head(job))["env"].append({"name": "RAY_enable_autoscaler_v2", "value": "true"})
    assert any("needs enableInTreeAutoscaling" in fault for fault in faults(job))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda j: container(head(j))["resources"]["limits"].update(memory="4Gi"),
            "has 4Gi memory",
        ),
        (lambda j: head(j).update(rayStartParams={}), "trials will run beside the driver"),
        (
            lambda j: container(worker(j))["resources"]["requests"].update(memory="1Gi"),
            "workers cpu: memory request 1Gi is not the limit 8Gi",
        ),
        (
            lambda j: j["spec"].pop("submitterPodTemplate"),
            "submitter: refused in namespaces of Pod",
        ),
        (lambda j: ray(j)["autoscalerOptions"].pop("securityContext"), "autoscaler: refused"),
        (
            lambda j: container(worker(j))["securityContext"].pop("capabilities"),
            "workers cpu: refused in namespaces of Pod Security `restricted`, without a sign on "
            "the job: capabilities: {drop: [ALL]}",
        ),
        (lambda j: j["spec"].update(submissionMode="SidecarMode"), "SidecarMode: its submitter is"),
    ],
)
def test_what_goes_wrong_in_practice_is_a_warning(change: Change, told: str) -> None:
    job = copy.deepcopy(TEMPLATE)
    change(job)
    assert any(told in warning for warning in warnings(job)), warnings(job)


@given(st.text(min_size=1, max_size=80))
def test_any_study_has_a_job_name(study: str) -> None:
    assert name_fault(job_name(study)) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), (2, 2), ("500m", 0.5), ("8Gi", 8 * 2**30), ("1e3", 1000), ("1.5G", 1.5e9),
     ("100k", 1e5), (0.25, 0.25), (".5", 0.5)],
)  # fmt: skip
def test_quantities(text: str | float, number: float) -> None:
    assert quantity(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "four", "8GB", "1 Gi", "1Gi2", "--1", "8gi"])
def test_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        quantity(text)
