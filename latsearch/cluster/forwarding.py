"""A cluster's database and object storage reached from outside of its network.

Through `kubectl port-forward`: it knows every way of logging in that a kubeconfig may name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import SplitResult, urlsplit, urlunsplit

from latsearch.cluster.answers import NotFound
from latsearch.cluster.client import Cluster
from latsearch.errors import ClusterError, UserError

STORAGE, ENDPOINT = "LATSEARCH_STORAGE", "AWS_ENDPOINT_URL"
_ENVIRONMENT = "latsearch-env"  # the ConfigMap with what jobs have in their environment
_START = 20.0  # seconds that a forwarding may take to begin
_PORTS = {"postgresql": 5432, "http": 80, "https": 443}


@contextmanager
def reaching(cluster: Cluster, runs: str) -> Iterator[None]:
    """Have the services that a study lives in at hand, through this process's environment.

    Addresses that mean something within the cluster alone are forwarded; all others are left.

    Args:
        cluster: where the study's job is.
        runs: folder or URI of all studies.

    Raises:
        ClusterError: a service cannot be forwarded.
    """
    wanted = {STORAGE: os.environ.get(STORAGE)}
    if runs.startswith("s3://"):
        wanted[ENDPOINT] = os.environ.get(ENDPOINT) or _noted_endpoint(cluster)
    before = {name: os.environ.get(name) for name in wanted}
    with ExitStack() as open_ports:
        try:
            for name, url in wanted.items():
                if url is None:
                    continue
                parts = urlsplit(url)
                if inside(parts.hostname or ""):
                    port = open_ports.enter_context(forwarded(cluster, parts))
                    url = urlunsplit(parts._replace(netloc=_here(parts, port)))
                os.environ[name] = url
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def inside(host: str) -> bool:
    """Whether a host's name means something within a cluster alone.

    >>> inside("postgres"), inside("db.team.svc.cluster.local"), inside("db.example.com")
    (True, True, False)
    """
    if host in ("", "localhost"):
        return False
    return ("." not in host and ":" not in host) or bool(re.search(r"\.svc(\.|$)", host))


@contextmanager
def forwarded(cluster: Cluster, service: SplitResult) -> Iterator[int]:
    """A port of this machine that leads to a Service.

    Raises:
        UserError: kubectl is not installed.
        ClusterError: it could not forward.
    """
    kubectl = shutil.which("kubectl")
    host = service.hostname or ""
    if kubectl is None:
        raise UserError(
            f"{host} is a name within the cluster: install kubectl, which forwards it, or set "
            f"{STORAGE} and {ENDPOINT} to addresses that this machine reaches"
        )
    name, *place = host.split(".")
    namespace = place[0] if place else cluster.namespace
    command = [kubectl, "port-forward", "--namespace", namespace, "--address", "127.0.0.1"]
    if cluster.kubeconfig:
        command += ["--kubeconfig", str(cluster.kubeconfig)]
    if cluster.context:
        command += ["--context", cluster.context]
    port = service.port or _PORTS.get(service.scheme, 0)
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*command, f"svc/{name}", f":{port}"], stdout=said, stderr=subprocess.STDOUT
        )
        try:
            yield _port(process, said.fileno(), f"{name}:{port}")
        finally:
            process.terminate()
            process.wait(10)


def _port(process: subprocess.Popen[bytes], said: int, what: str) -> int:
    """The port that kubectl chose, once it says so."""
    end = time.monotonic() + _START
    while True:
        text = os.pread(said, 10_000, 0).decode("utf-8", "replace")
        match = re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", text)
        if match:
            return int(match[1])
        if process.poll() is not None or time.monotonic() > end:
            detail = " ".join(text.split())[-200:] or "kubectl said nothing"
            raise ClusterError(f"{what} cannot be forwarded: {detail}")
        time.sleep(0.05)


def _here(service: SplitResult, port: int) -> str:
    login, at, _ = service.netloc.rpartition("@")
    return f"{login}{at}127.0.0.1:{port}"


def _noted_endpoint(cluster: Cluster) -> str | None:
    try:
        return cluster.config_map(_ENVIRONMENT).get(ENDPOINT)
    except NotFound:
        return None
