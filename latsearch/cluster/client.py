"""A namespace of a Kubernetes cluster: the calls that are needed, as plain JSON.

Answers are read as they come, not through the client's models: those refuse whole lists where one
object has a field that they do not expect.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from latsearch.cluster.answers import Conflict, HungUp, NotFound, explained
from latsearch.errors import ClusterError, UserError

GROUP, VERSION, PLURAL = "ray.io", "v1", "rayjobs"
_RAYJOBS = {"group": GROUP, "version": VERSION, "plural": PLURAL}
_TIMEOUT = (5, 30)  # seconds to connect, and between two bytes
_LONGEST_SILENCE = 600  # seconds without a line, after which a log is asked for again
_MANAGER = "latsearch"
_MERGE = "application/merge-patch+json"
_KUEUE = "kueue.x-k8s.io"

Json = dict[str, Any]


class Cluster:
    """One namespace of a cluster.

    Attributes:
        namespace: the namespace.
        context: the kubeconfig's context; None within a cluster.
        kubeconfig: the kubeconfig that was named; None for the usual one.
    """

    def __init__(
        self,
        api_client: Any,
        namespace: str,
        context: str | None = None,
        kubeconfig: Path | None = None,
    ):
        from kubernetes import client

        self.namespace = namespace
        self.context = context
        self.kubeconfig = kubeconfig
        self._custom = client.CustomObjectsApi(api_client)
        self._core = client.CoreV1Api(api_client)
        self._batch = client.BatchV1Api(api_client)
        self._streams: set[Any] = set()
        self._over = threading.Event()

    # --- streams --------------------------------------------------------------------------------

    def twin(self) -> Cluster:
        """The same cluster over a line of its own, which can be hung up."""
        twin = copy.copy(self)
        twin._streams, twin._over = set(), threading.Event()
        return twin

    def hang_up(self) -> None:
        """End every stream and rest, also of other threads: they meet `HungUp`."""
        self._over.set()
        for response in tuple(self._streams):
            response.shutdown()

    def rest(self, seconds: float) -> None:
        """Sleep.

        Raises:
            HungUp: this line was hung up meanwhile.
        """
        if self._over.wait(seconds):
            raise HungUp("hung up")

    def _ask(self, method: Callable[..., Any], **options: Any) -> Json:
        self.rest(0)
        response = method(**options, _preload_content=False, _request_timeout=_TIMEOUT)
        answer: Json = json.loads(response.data)
        return answer

    def _stream(self, method: Callable[..., Any], silence: float, **options: Any) -> Any:
        """An answer that is read as it comes.

        Args:
            method: of the client.
            silence: seconds without a byte after which the connection counts as lost.
            options: of the method.
        """
        self.rest(0)
        return method(**options, _preload_content=False, _request_timeout=(_TIMEOUT[0], silence))

    def _lines(self, response: Any, what: str) -> Iterator[bytes]:
        """Whole lines of a stream, without their ends; an unfinished last one is dropped."""
        chunks = response.stream(amt=None, decode_content=True)
        rest = b""
        self._streams.add(response)
        try:
            while True:
                self.rest(0)
                with explained(what):  # not around the yield: there, errors are the caller's
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
        finally:
            self._streams.discard(response)
            response.close()

    # --- RayJobs --------------------------------------------------------------------------------

    def jobs(self, *, selector: str = "", everywhere: bool = False) -> list[Json]:
        """RayJobs of the namespace, or of all."""
        with explained("list the jobs"):
            if everywhere:
                answer = self._ask(
                    self._custom.list_cluster_custom_object, **_RAYJOBS, label_selector=selector
                )
            else:
                answer = self._ask(
                    self._custom.list_namespaced_custom_object, **_RAYJOBS,
                    namespace=self.namespace, label_selector=selector,
                )  # fmt: skip
        return list(answer["items"])

    def job(self, name: str) -> Json:
        """A RayJob.

        Raises:
            NotFound: there is none of this name.
        """
        missing = f"{name}: no such job in namespace {self.namespace}; `latsearch jobs` lists them"
        with explained(f"read the job {name}", missing=missing):
            return self._ask(
                self._custom.get_namespaced_custom_object, **_RAYJOBS,
                namespace=self.namespace, name=name,
            )  # fmt: skip

    def list_job(self, name: str) -> tuple[Json | None, str]:
        """A RayJob, or None, and the version from which a watch sees all that follows."""
        with explained(f"read the job {name}"):
            answer = self._ask(
                self._custom.list_namespaced_custom_object, **_RAYJOBS,
                namespace=self.namespace, field_selector=f"metadata.name={name}",
            )  # fmt: skip
        return next(iter(answer["items"]), None), answer["metadata"]["resourceVersion"]

    def create_job(self, job: Mapping[str, Any], *, dry_run: bool = False) -> Json:
        """Create a RayJob; the server refuses fields that it does not know."""
        with explained(f"create the job {job['metadata']['name']}"):
            return self._ask(
                self._custom.create_namespaced_custom_object, **_RAYJOBS, **_writing(dry_run),
                namespace=self.namespace, body=dict(job),
            )  # fmt: skip

    def replace_job(self, job: Mapping[str, Any], *, dry_run: bool) -> Json:
        """Replace a RayJob, to see what the server makes of it."""
        name = job["metadata"]["name"]
        with explained(f"replace the job {name}"):
            return self._ask(
                self._custom.replace_namespaced_custom_object, **_RAYJOBS, **_writing(dry_run),
                namespace=self.namespace, name=name, body=dict(job),
            )  # fmt: skip

    def patch_job(self, name: str, patch: Mapping[str, Any]) -> Json:
        """Merge a patch into a RayJob."""
        missing = f"{name}: no such job in namespace {self.namespace}; `latsearch jobs` lists them"
        with explained(f"change the job {name}", missing=missing):
            return self._ask(
                self._custom.patch_namespaced_custom_object, **_RAYJOBS, **_writing(False),
                namespace=self.namespace, name=name, body=dict(patch), _content_type=_MERGE,
            )  # fmt: skip

    def delete_job(self, name: str, uid: str) -> None:
        """Delete a RayJob, unless it is another one of the same name by now."""
        with explained(f"delete the job {name}", missing=f"{name}: is gone already"):
            self._ask(
                self._custom.delete_namespaced_custom_object, **_RAYJOBS,
                namespace=self.namespace, name=name,
                body={
                    "apiVersion": "v1",
                    "kind": "DeleteOptions",
                    "propagationPolicy": "Background",
                    "preconditions": {"uid": uid},
                },
            )  # fmt: skip

    def watch_job(self, name: str, version: str, seconds: int) -> Iterator[Json]:
        """The events of a RayJob from a version on, until the server ends the stream."""
        what = f"watch the job {name}"
        with explained(what):
            response = self._stream(
                self._custom.list_namespaced_custom_object,
                **_RAYJOBS, namespace=self.namespace, field_selector=f"metadata.name={name}",
                watch=True, resource_version=version, allow_watch_bookmarks=True,
                timeout_seconds=seconds, silence=seconds + 15,
            )  # fmt: skip
        for line in self._lines(response, what):
            with explained(what):
                event: Json = json.loads(line)
            yield event

    # --- what belongs to them -------------------------------------------------------------------

    def put_config_map(self, config_map: Mapping[str, Any], *, dry_run: bool = False) -> Json:
        """Create a ConfigMap, or replace the one of its name."""
        name = config_map["metadata"]["name"]
        options = {**_writing(dry_run), "namespace": self.namespace, "body": dict(config_map)}
        what = f"write the ConfigMap {name}"
        try:
            with explained(what):
                return self._ask(self._core.create_namespaced_config_map, **options)
        except Conflict:
            with explained(what):
                return self._ask(self._core.replace_namespaced_config_map, name=name, **options)

    def config_map(self, name: str) -> dict[str, str]:
        """The texts of a ConfigMap.

        Raises:
            NotFound: there is none of this name.
        """
        with explained(f"read the ConfigMap {name}"):
            answer = self._ask(
                self._core.read_namespaced_config_map, name=name, namespace=self.namespace
            )
        return dict(answer.get("data") or {})

    def pods(self, selector: str) -> list[Json]:
        """Pods by a selector of labels."""
        with explained("list pods"):
            answer = self._ask(
                self._core.list_namespaced_pod, namespace=self.namespace, label_selector=selector
            )
        return list(answer["items"])

    def events(self) -> list[Json]:
        """All events of the namespace."""
        with explained("list events"):
            return list(
                self._ask(self._core.list_namespaced_event, namespace=self.namespace)["items"]
            )

    def batch_job_exists(self, name: str) -> bool:
        """Whether there is a plain Kubernetes Job of this name: KubeRay's submitter."""
        try:
            with explained(f"read the Job {name}"):
                self._ask(self._batch.read_namespaced_job, name=name, namespace=self.namespace)
        except NotFound:
            return False
        return True

    def log(self, pod: str, container: str, **options: Any) -> Iterator[str]:
        """Lines of a container's log; options are the API's, e.g. ``follow=True``."""
        what = f"read the log of {pod}"
        quiet = _LONGEST_SILENCE if options.get("follow") else _TIMEOUT[1]
        with explained(what):
            response = self._stream(
                self._core.read_namespaced_pod_log,
                name=pod, namespace=self.namespace, container=container,
                silence=quiet, **options,
            )  # fmt: skip
        for line in self._lines(response, what):
            yield line.decode("utf-8", "replace")

    # --- Kueue ----------------------------------------------------------------------------------

    def workloads(self, uid: str) -> list[Json]:
        """Kueue's workloads of a job, in the version that the cluster prefers."""
        with explained("list Kueue's workloads", missing="the cluster has no Kueue"):
            return list(
                self._ask(
                    self._custom.list_namespaced_custom_object,
                    group=_KUEUE, version=self._kueue_version(), plural="workloads",
                    namespace=self.namespace, label_selector=f"kueue.x-k8s.io/job-uid={uid}",
                )["items"]
            )  # fmt: skip

    def patch_workload(self, name: str, patch: Mapping[str, Any]) -> None:
        """Merge a patch into a workload."""
        with explained(f"change the workload {name}"):
            self._ask(
                self._custom.patch_namespaced_custom_object,
                group=_KUEUE, version=self._kueue_version(), plural="workloads",
                namespace=self.namespace, name=name, body=dict(patch), _content_type=_MERGE,
                **_writing(False),
            )  # fmt: skip

    def _kueue_version(self) -> str:
        from kubernetes import client

        groups = self._ask(client.ApisApi(self._custom.api_client).get_api_versions)["groups"]
        for group in groups:
            if group["name"] == _KUEUE:
                return str(group["preferredVersion"]["version"])
        raise NotFound("the cluster has no Kueue")


def connect(
    namespace: str | None = None, context: str | None = None, kubeconfig: Path | None = None
) -> Cluster:
    """A cluster as kubectl would find it; within a cluster, that one.

    Args:
        namespace: None for the context's own, else ``default``.
        context: None for the kubeconfig's current one.
        kubeconfig: None for ``KUBECONFIG``, else ``~/.kube/config``.

    Raises:
        ClusterError: there is no cluster, or no such context.
        UserError: the client is not installed.
    """
    try:
        from kubernetes import config
        from kubernetes.client import ApiClient
        from kubernetes.config.config_exception import ConfigException
    except ImportError:
        raise UserError(
            "commands on a cluster need Kubernetes' client: pip install 'latsearch[k8s]'"
        ) from None
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it tells of each retry
    named = str(kubeconfig) if kubeconfig else None
    try:
        if named is None and context is None and _inside():
            config.load_incluster_config()
            own = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text()
            return Cluster(ApiClient(), namespace or own.strip())
        contexts, current = config.list_kube_config_contexts(named)
        chosen = next((c for c in contexts if c["name"] == (context or current["name"])), None)
        if chosen is None:
            known = ", ".join(c["name"] for c in contexts)
            raise ClusterError(f"--context {context}: no such context; there are {known}")
        api_client = config.new_client_from_config(named, chosen["name"])
    except (ConfigException, OSError, TypeError, KeyError) as error:
        where = named or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise ClusterError(
            f"{where}: no cluster is configured there ({' '.join(str(error).split())}); "
            "name a kubeconfig with --kubeconfig"
        ) from None
    own = chosen["context"].get("namespace") or "default"
    return Cluster(api_client, namespace or own, chosen["name"], kubeconfig)


def _inside() -> bool:
    """Whether this runs in a pod, and no kubeconfig says otherwise."""
    there = os.environ.get("KUBECONFIG") or Path("~/.kube/config").expanduser().exists()
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and not there


def _writing(dry_run: bool) -> Json:
    return {
        "field_manager": _MANAGER,
        "field_validation": "Strict",
        **({"dry_run": "All"} if dry_run else {}),
    }
