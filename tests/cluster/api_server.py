"""A Kubernetes API server of the few kinds that the commands use, over real HTTP.

It keeps resource versions, refuses what it does not know where validation is strict, ignores
changes of `status` outside of its subresource, replays a watch from a version, and breaks off
streams where a test says so. There is no KubeRay: the tests play its part with `set_status`.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.cluster.schemas import crds_are_here, schema_faults

Json = dict[str, Any]
KINDS = {
    "rayjobs": ("ray.io/v1", "RayJob"),
    "workloads": ("kueue.x-k8s.io/v1beta2", "Workload"),
    "configmaps": ("v1", "ConfigMap"),
    "pods": ("v1", "Pod"),
    "events": ("v1", "Event"),
    "jobs": ("batch/v1", "Job"),
}
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[\w.-]+))/(?P<version>\w+)(?:/namespaces/(?P<namespace>[\w.-]+))?"
    r"/(?P<plural>\w+)(?:/(?P<name>[\w.-]+))?(?:/(?P<sub>\w+))?"
)


class Refusal(Exception):
    """An answer that is an error, as a Status object."""

    def __init__(self, code: int, reason: str, message: str, **details: str):
        self.body = {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "reason": reason, "message": message, "details": details,
        }  # fmt: skip
        super().__init__(message)


@dataclass
class Log:
    """A container's log: (time stamp, text) lines that may grow, and how its streams break."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    done: bool = False
    breaks: list[int] = field(default_factory=list)  # lines after which each stream breaks off


class FakeApiServer:
    """The server; `kubeconfig` is the text of a file that leads to it."""

    def __init__(self) -> None:
        self.namespaces = {"latsearch", "default"}
        self.plurals = set(KINDS)  # a test takes one away: a cluster without KubeRay
        self.requests: list[str] = []
        self.bodies: list[Json] = []
        self.logs: dict[str, Log] = {}
        self.refusals: list[tuple[str, Refusal]] = []  # (method and path prefix, once)
        self.watch_faults: list[str] = []  # for each watch to come: "", drop, gone, late-gone, end
        self.on_create: Callable[[Json], None] | None = None
        self._objects: dict[tuple[str, str, str], Json] = {}
        self._history: list[tuple[int, str, str, Json]] = []
        self._versions = itertools.count(100)
        self._uids = itertools.count(1)
        self._change = threading.Condition()
        self._closing = False
        handler = type("Handler", (_Handler,), {"api": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def kubeconfig(self) -> str:
        return json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": "secret"}}],
            "contexts": [
                {"name": "fake",
                 "context": {"cluster": "fake", "user": "me", "namespace": "latsearch"}},
                {"name": "bare", "context": {"cluster": "fake", "user": "me"}},
            ],
        })  # fmt: skip

    def close(self) -> None:
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._http.shutdown()
        self._http.server_close()

    # --- for tests ------------------------------------------------------------------------------

    def put(self, plural: str, name: str, namespace: str = "latsearch", **parts: Any) -> Json:
        """Place an object, whatever it holds."""
        api_version, kind = KINDS[plural]
        metadata = {"name": name, "namespace": namespace, **parts.pop("metadata", {})}
        thing = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts}
        return self._store(plural, thing, "ADDED")

    def get(self, plural: str, name: str, namespace: str = "latsearch") -> Json | None:
        return self._objects.get((plural, namespace, name))

    def set_status(self, name: str, namespace: str = "latsearch", **status: Any) -> None:
        """What KubeRay does: write into the status subresource."""
        with self._change:
            job = copy.deepcopy(self._objects["rayjobs", namespace, name])
            job["status"] = {**job.get("status", {}), **status}
            self._store("rayjobs", job, "MODIFIED")

    def remove(self, plural: str, name: str, namespace: str = "latsearch") -> None:
        with self._change:
            self._remove((plural, namespace, name))

    def forget_versions(self) -> None:
        """As after a compaction: no watch can start from an older version any more."""
        with self._change:
            self._history.clear()

    def wait_for(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until something holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)

    # --- objects --------------------------------------------------------------------------------

    def _store(self, plural: str, thing: Json, what: str) -> Json:
        with self._change:
            version = next(self._versions)
            metadata = thing["metadata"]
            metadata["resourceVersion"] = str(version)
            metadata.setdefault("uid", f"uid-{next(self._uids)}")
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            metadata.setdefault("creationTimestamp", now)
            self._objects[plural, metadata["namespace"], metadata["name"]] = thing
            self._history.append((version, what, plural, copy.deepcopy(thing)))
            self._change.notify_all()
            return thing

    def _remove(self, key: tuple[str, str, str]) -> Json:
        thing = copy.deepcopy(self._objects.pop(key))
        version = next(self._versions)
        thing["metadata"]["resourceVersion"] = str(version)
        self._history.append((version, "DELETED", key[0], thing))
        self._change.notify_all()
        return thing

    def answer(self, method: str, path: str, query: dict[str, str], body: Json | None) -> Json:
        """One request that is no stream.

        Raises:
            Refusal: as a Status object.
        """
        if path == "/apis" or path == "/apis/":
            version = {"groupVersion": "kueue.x-k8s.io/v1beta2", "version": "v1beta2"}
            group = {"name": "kueue.x-k8s.io", "versions": [version], "preferredVersion": version}
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}
        match = _PATH.fullmatch(path)
        if match is None or match["plural"] not in self.plurals:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        plural, namespace, name = match["plural"], match["namespace"], match["name"]
        with self._change:
            if name is None and method == "GET":
                return self._list(plural, namespace, query)
            if name is None:
                assert method == "POST"
                assert body is not None
                return self._create(plural, namespace, query, body)
            key = (plural, namespace, name)
            if key not in self._objects:
                text = f'{plural}.{match["group"] or "core"} "{name}" not found'
                raise Refusal(404, "NotFound", text, name=name, kind=plural)
            if method == "GET":
                return self._objects[key]
            if method == "DELETE":
                return self._delete(key, body)
            assert body is not None
            return self._change_object(method, key, query, body)

    def _list(self, plural: str, namespace: str | None, query: dict[str, str]) -> Json:
        api_version, kind = KINDS[plural]
        items = [
            thing
            for (kept, where, _), thing in self._objects.items()
            if kept == plural and namespace in (None, where) and selected(thing, query)
        ]
        version = str(max((v for v, *_ in self._history), default=99))
        metadata = {"resourceVersion": version}
        return {
            "apiVersion": api_version, "kind": f"{kind}List", "metadata": metadata, "items": items
        }  # fmt: skip

    def _create(self, plural: str, namespace: str, query: dict[str, str], body: Json) -> Json:
        name = body["metadata"]["name"]
        if namespace not in self.namespaces:
            text = f'namespaces "{namespace}" not found'
            raise Refusal(404, "NotFound", text, name=namespace, kind="namespaces")
        self._validate(plural, namespace, query, body)
        if (plural, namespace, name) in self._objects:
            raise Refusal(409, "AlreadyExists", f'{plural} "{name}" already exists', name=name)
        thing = copy.deepcopy(body)
        thing.pop("status", None)
        thing["metadata"]["namespace"] = namespace
        thing["metadata"].pop("resourceVersion", None)
        if query.get("dryRun") == "All":
            return {**thing, "metadata": {**thing["metadata"], "uid": "dry"}}
        stored = self._store(plural, thing, "ADDED")
        if self.on_create is not None:
            self.on_create(stored)
        return stored

    def _change_object(
        self, method: str, key: tuple[str, str, str], query: dict[str, str], body: Json
    ) -> Json:
        there = self._objects[key]
        merged = merge(there, body) if method == "PATCH" else copy.deepcopy(body)
        version = body.get("metadata", {}).get("resourceVersion")
        if version not in (None, there["metadata"]["resourceVersion"]):
            text = "the object has been modified; please apply your changes to the latest version"
            raise Refusal(409, "Conflict", text, name=key[2])
        merged["metadata"] = {
            **merged["metadata"],
            **{k: there["metadata"][k] for k in ("uid", "creationTimestamp", "namespace", "name")},
        }
        merged.pop("status", None)
        self._validate(key[0], key[1], query, merged)
        if "status" in there:
            merged["status"] = there["status"]
        if query.get("dryRun") == "All":
            return merged
        return self._store(key[0], merged, "MODIFIED")

    def _delete(self, key: tuple[str, str, str], body: Json | None) -> Json:
        wanted = ((body or {}).get("preconditions") or {}).get("uid")
        there = self._objects[key]["metadata"]["uid"]
        if wanted not in (None, there):
            text = (
                f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {there}"
            )
            raise Refusal(409, "Conflict", text, name=key[2])
        return self._remove(key)

    def _validate(self, plural: str, namespace: str, query: dict[str, str], body: Json) -> None:
        api_version, kind = KINDS[plural]
        if (body.get("apiVersion"), body.get("kind")) != (api_version, kind):
            raise Refusal(400, "BadRequest", "the object does not match the API")
        if body["metadata"].get("namespace") not in (None, namespace):
            raise Refusal(400, "BadRequest", "the namespace of the object does not match the URL")
        for value in (body["metadata"].get("labels") or {}).values():
            if len(value) > 63:
                raise Refusal(422, "Invalid", "metadata.labels: must be no more than 63 bytes")
        if plural != "rayjobs" or not crds_are_here():
            return
        assert query.get("fieldValidation") == "Strict", "misspelled fields would be dropped"
        for path, message in schema_faults(body):
            if "Additional properties" in message:
                text = f'strict decoding error: unknown field "{path}": {message}'
                raise Refusal(400, "BadRequest", text)
            text = f'RayJob.ray.io "{body["metadata"]["name"]}" is invalid: {path}: {message}'
            raise Refusal(422, "Invalid", text)

    # --- streams --------------------------------------------------------------------------------

    def watch(self, plural: str, namespace: str, query: dict[str, str]) -> Iterator[bytes]:
        """Lines of a watch, with the fault that is due."""
        fault = self.watch_faults.pop(0) if self.watch_faults else ""
        if fault == "gone":
            raise Refusal(410, "Expired", "too old resource version")
        return self._watched(plural, namespace, query, fault)

    def _watched(
        self, plural: str, namespace: str, query: dict[str, str], fault: str
    ) -> Iterator[bytes]:
        start = int(query["resourceVersion"])
        end = time.monotonic() + float(query["timeoutSeconds"])
        sent = 0
        while time.monotonic() < end and not self._closing:
            with self._change:
                due = [e for e in self._history if e[0] > start and e[2] == plural]
                if not due:
                    if fault == "end":
                        return
                    self._change.wait(0.1)
            for version, what, _, thing in due:
                start = version
                if thing["metadata"]["namespace"] != namespace or not selected(thing, query):
                    continue
                line = json.dumps({"type": what, "object": thing}).encode() + b"\n"
                if fault == "drop" and sent == 1:
                    yield line[: len(line) // 2]
                    raise ConnectionAbortedError
                if fault == "late-gone" and sent == 1:
                    status = Refusal(410, "Expired", "too old resource version").body
                    yield json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
                    return
                yield line
                sent += 1

    def log(self, pod: str, query: dict[str, str]) -> Iterator[bytes]:
        """Lines of a log, broken off where the log says so."""
        if pod not in self.logs:
            raise Refusal(404, "NotFound", f'pods "{pod}" not found', name=pod, kind="pods")
        there = self.get("pods", pod)
        if there is not None and there["status"]["phase"] == "Pending":
            raise Refusal(400, "BadRequest", f"pod {pod} does not have a host assigned")
        return self._printed(self.logs[pod], query)

    def _printed(self, log: Log, query: dict[str, str]) -> Iterator[bytes]:
        stop = log.breaks.pop(0) if log.breaks and query.get("follow") else None
        position = 0
        if "tailLines" in query:
            position = max(0, len(log.lines) - int(query["tailLines"]))
        while not self._closing:
            while position < len(log.lines):
                if stop is not None and position >= stop:
                    yield b"2026-11-24T20:00:09.5Z half a li"
                    raise ConnectionAbortedError
                stamp, text = log.lines[position]
                stamped = query.get("timestamps") == "true" or query.get("timestamps") == "True"
                yield f"{stamp} {text}\n".encode() if stamped else f"{text}\n".encode()
                position += 1
            if log.done or not query.get("follow"):
                return
            time.sleep(0.02)


def selected(thing: Json, query: dict[str, str]) -> bool:
    """Whether an object meets the selectors."""
    labels = thing["metadata"].get("labels") or {}
    for part in filter(None, query.get("labelSelector", "").split(",")):
        key, _, value = part.partition("=")
        if labels.get(key) != value:
            return False
    fields = query.get("fieldSelector", "")
    if fields:
        key, _, value = fields.partition("=")
        assert key == "metadata.name"
        return bool(thing["metadata"]["name"] == value)
    return True


def merge(there: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict) or not isinstance(there, dict):
        return copy.deepcopy(patch)
    merged = {
        key: merge(there.get(key), value) for key, value in patch.items() if value is not None
    }
    kept = {key: copy.deepcopy(value) for key, value in there.items() if key not in patch}
    return {**kept, **merged}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: FakeApiServer

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        what = f"{self.command} {parts.path}"
        self.api.requests.append(f"{what}?{parts.query}" if parts.query else what)
        if body is not None:
            self.api.bodies.append(body)
        try:
            self._refuse_as_told(what)
            if self.headers.get("Authorization") != "Bearer secret":
                raise Refusal(401, "Unauthorized", "Unauthorized")
            if self.command == "PATCH" and (
                self.headers["Content-Type"] != "application/merge-patch+json"
            ):
                raise Refusal(415, "UnsupportedMediaType", "the body of the request was in an ...")
            match = _PATH.fullmatch(parts.path)
            if match is not None and match["sub"] == "log":
                self._stream(self.api.log(match["name"], query))
            elif match is not None and query.get("watch") in ("true", "True"):
                self._stream(self.api.watch(match["plural"], match["namespace"], query))
            else:
                created = 201 if self.command == "POST" else 200
                self._send(created, self.api.answer(self.command, parts.path, query, body))
        except Refusal as refusal:
            self._send(refusal.body["code"], refusal.body)
        except (ConnectionAbortedError, BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _refuse_as_told(self, what: str) -> None:
        for entry in self.api.refusals:
            if what.startswith(entry[0]):
                self.api.refusals.remove(entry)
                raise entry[1]

    def _send(self, code: int, body: Json) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, lines: Iterator[bytes]) -> None:
        """Chunked, as the real one."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for line in lines:
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass
