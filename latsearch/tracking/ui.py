"""MLflow's user interface on a store that is a file, e.g. the runs folder's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from latsearch.errors import UserError
from latsearch.search.storage import Study
from latsearch.tracking.location import (
    TrackingError,
    artifact_folder,
    database_file,
    default_uri,
    is_server,
    shown_uri,
)
from latsearch.tracking.publishing import prepare_environment
from latsearch.tracking.views import view_fragment

DEFAULT_PORT = 5000
HOST = "127.0.0.1"
_START = 90.0  # seconds that a server may take to answer
_STOP = 10.0
_MOST_STUDIES = 8


def serve_ui(
    runs: Path,
    uri: str | None,
    port: int,
    say: Callable[[str], None],
    study: Study | None = None,
) -> None:
    """Serve MLflow's UI until interrupted, and say which addresses open the studies' fronts.

    Args:
        runs: folder of all studies.
        uri: tracking URI; None for the store in ``runs``. One of a server is only pointed to.
        port: port of this machine to serve at.
        say: takes a line for the user.
        study: the study to point to; None for the newest ones.

    Raises:
        UserError: there is no such store yet, or the port is in use.
        TrackingError: the server does not come up or dies.
    """
    uri = uri or default_uri(runs)
    if is_server(uri):
        _point(uri, uri, study, say)
        return
    _check_store(uri)
    try:
        with ui_server(uri, port) as (base, server):
            _point(uri, base, study, say)
            say("Ctrl-C stops it")
            server.wait()
    except KeyboardInterrupt:
        return
    raise TrackingError(f"MLflow's server at {base} ended by itself")


@contextmanager
def ui_server(uri: str, port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Serve MLflow's UI for the life of the context; its address and its process.

    Raises:
        UserError: the port is in use.
        TrackingError: the server does not come up.
    """
    _check_port(port)
    prepare_environment()
    base = f"http://{HOST}:{port}"
    with TemporaryFile() as log:
        server = subprocess.Popen(
            ui_command(uri, port),
            # the store's URI may hold a password, and everybody sees command lines
            env={
                **os.environ,
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_BACKEND_STORE_URI": uri,
            },
            # a session of its own: the terminal's Ctrl-C is for us, who then stop all of it
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _await(server, base, log)
            yield base, server
        finally:
            _stop(server)


def ui_command(uri: str, port: int) -> list[str]:
    """The command that serves MLflow's UI for a store that is no server itself.

    The store is in MLFLOW_BACKEND_STORE_URI.
    """
    command = [sys.executable, "-m", "mlflow", "server"]
    artifacts = artifact_folder(uri)
    if artifacts is not None:
        command += ["--artifacts-destination", artifacts.as_uri()]
    return [*command, "--host", HOST, "--port", str(port), "--workers", "1"]


def _point(uri: str, base: str, study: Study | None, say: Callable[[str], None]) -> None:
    prepare_environment()
    from latsearch.tracking.client import STORE_ERRORS, published_studies, tracking_error

    try:
        published = published_studies(uri)
    except STORE_ERRORS as error:
        raise tracking_error(uri, error) from error
    wanted = None if study is None else study.name
    shown = [found for found in published if wanted in (None, found.study_id)][:_MOST_STUDIES]
    say(f"MLflow is at {shown_uri(base)}")
    for found in shown:
        fragment = view_fragment(found.experiment_id, found.study_id)
        say(f"{found.study_id}: {shown_uri(base).rstrip('/')}/{fragment}")
    if not shown:
        say(
            "no study has been published to it yet: `latsearch publish RUN` does so"
            if study is None
            else f"{wanted} has not been published to it yet: `latsearch publish RUN` does so"
        )


def _check_store(uri: str) -> None:
    file = database_file(uri)
    if file and not file.is_file():
        raise UserError(
            f"{file}: there is no MLflow store yet; `latsearch run` and `latsearch publish` make it"
        )


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"port {port} of {HOST} cannot be used: {error.strerror}; choose another with "
                "--port"
            ) from None


def _await(server: subprocess.Popen[bytes], base: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{base}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    log.seek(0)
    said = log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
    raise TrackingError(f"MLflow's server does not come up: {said[-1]}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server with all of its workers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(_STOP)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
