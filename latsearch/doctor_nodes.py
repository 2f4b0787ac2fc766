"""What a search on several machines needs, checked on each: `latsearch doctor --address`."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from latsearch.config import is_postgres
from latsearch.doctor import Finding
from latsearch.errors import LatsearchError
from latsearch.runs import Runs, is_uri, shown
from latsearch.search.address import token_source, use_address
from latsearch.search.checkpoints import Checkpoints, FolderCheckpoints, ObjectCheckpoints
from latsearch.search.objects import first_line

if TYPE_CHECKING:
    from latsearch.search.probe import NodeFacts


def examine_nodes(address: str, runs: Runs) -> list[Finding]:
    """Look at the cluster's nodes, and at what they share.

    Args:
        address: of the Ray cluster, ``auto`` or ``HOST:PORT``.
        runs: the runs folder that a search would use.

    Raises:
        UserError: the address is none, nobody answers there, or we are not let in.
    """
    use_address(address)
    from latsearch.search.nodes import RayNodes

    with RayNodes(0, address) as ray:
        ray.wait()
        return [
            Finding("ray token", _token()),
            *examine_services(),
            *_nodes(runs),
        ]


def examine_services() -> Iterator[Finding]:
    """The database and the tracking server that the environment names."""
    from latsearch.search.database import environment_url, place_of

    try:
        url = environment_url()
        if url is None:
            yield Finding("storage", "LATSEARCH_STORAGE is not set: a journal in the runs folder")
        elif is_postgres(url):
            yield Finding("storage", f"{place_of(url)}, {_ask_database(url)}")
        else:
            yield Finding("storage", url)
    except LatsearchError as error:
        yield Finding("storage", str(error), False, True)
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri and uri.startswith(("http://", "https://")):
        yield _server("mlflow", uri)


def _ask_database(url: str) -> str:
    from sqlalchemy import text

    from latsearch.search.database import open_storage

    storage = open_storage(url, drive=False)
    start = time.perf_counter()
    with storage.engine.connect() as connection:
        version = connection.execute(text("SHOW server_version")).scalar()
    milliseconds = 1000 * (time.perf_counter() - start)
    return f"version {version}, answers in {milliseconds:.1f} ms"


def _server(what: str, uri: str) -> Finding:
    parts = urlsplit(uri)
    place = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(place, 5.0).close()
    except OSError as error:
        return Finding(what, f"{place[0]}:{place[1]} does not answer: {error}", good=False)
    return Finding(what, f"{place[0]}:{place[1]} answers")


def _token() -> str:
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return "none is sent: anybody who reaches the cluster's ports may run code on it"
    return f"from {token_source()}"


def _nodes(runs: Runs) -> Iterator[Finding]:
    from latsearch.search.nodes import alive, ask_each_node, node_name
    from latsearch.search.probe import NodeFacts, look_around, node_fault

    checkpoints = _checkpoints(runs)
    sign = secrets.token_hex(8)
    try:
        checkpoints.sign(sign)
    except Exception as error:  # whatever the folder or storage says
        yield Finding("runs", f"{shown(runs)} cannot be written: {first_line(error)}", False, True)
        return
    here = look_around(None, "").versions
    answers = ask_each_node(look_around, checkpoints, sign, True)
    amounts = {node_name(node): node["Resources"] for node in alive()}
    for name, answer in answers.items():
        fault = node_fault(name, answer, here, checkpoints, sign)
        if fault:
            yield Finding(name, fault.removeprefix(name).lstrip(": "), False, True)
        elif isinstance(answer, NodeFacts):
            yield Finding(name, _words(answer, amounts.get(name, {}), here))
    checkpoints.remove_signs()
    yield Finding("runs", f"{shown(runs)} is seen and written by {_those(answers, sign)}")


def _checkpoints(runs: Runs) -> Checkpoints:
    if isinstance(runs, str) and is_uri(runs):
        return ObjectCheckpoints(runs, Path())
    Path(runs).mkdir(parents=True, exist_ok=True)
    return FolderCheckpoints(Path(runs), shared=True)


def _those(answers: dict[str, object], sign: str) -> str:
    good = sum(sign in getattr(answer, "sees", ()) for answer in answers.values())
    return f"{good} of {len(answers)} nodes"


def _words(facts: NodeFacts, amounts: Mapping[str, float], here: Mapping[str, str]) -> str:
    """A node in one line: what it has, and what it gives to Ray."""
    given = {
        name: amount
        for name, amount in sorted(amounts.items())
        if not name.startswith(("node:", "memory", "object_store_memory"))
    }
    parts = [
        facts.host,
        f"{facts.cpus} cores",
        "; ".join(facts.gpus) or "no GPU",
        "gives " + (", ".join(f"{amount:g} {name}" for name, amount in given.items()) or "nothing"),
        f"data {', '.join(facts.data)}",
    ]
    if facts.versions.get("torch") != here.get("torch"):
        parts.append(f"torch {facts.versions.get('torch')} (here {here.get('torch')})")
    return ", ".join(parts)
