"""What a node has and sees, asked before a search trusts it (no ray)."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from latsearch.errors import StudyError
from latsearch.search.checkpoints import Checkpoints
from latsearch.search.objects import first_line

_PACKAGES = ("latsearch", "torch", "ray", "numpy")
_LAG = 20.0  # seconds after which another machine's sign is seen
_MUST_AGREE = ("python", "latsearch", "ray")


@dataclass(frozen=True)
class NodeFacts:
    """A node as it sees itself.

    Attributes:
        host: its name.
        versions: by package, and of ``python``.
        cpus: cores.
        gpus: each with its memory, as its driver names them.
        sees: signs that it sees where the study's checkpoints are.
        fault: why it could not leave a sign there itself; None where it did.
        data: data sets whose files it has.
    """

    host: str
    versions: Mapping[str, str]
    cpus: int
    gpus: tuple[str, ...]
    sees: tuple[str, ...]
    fault: str | None
    data: tuple[str, ...]


def look_around(checkpoints: Checkpoints | None, sign: str, data: bool = False) -> NodeFacts:
    """Look at the machine that this runs on, and leave a sign among the checkpoints."""
    sees: tuple[str, ...] = ()
    fault = None
    if checkpoints is not None:
        try:
            sees = _signs_with(sign, checkpoints)
            checkpoints.sign(f"{sign}-{os.getpid()}-{socket.gethostname()}")
        except Exception as error:  # whatever storage does is what was asked for
            fault = first_line(error)
    return NodeFacts(
        host=socket.gethostname(),
        versions=_versions(),
        cpus=os.cpu_count() or 1,
        gpus=tuple(_gpus()),
        sees=sees,
        fault=fault,
        data=tuple(_data()) if data else (),
    )


def _signs_with(sign: str, checkpoints: Checkpoints) -> tuple[str, ...]:
    """The signs that are seen, once the wanted one is: a shared folder shows it with a delay."""
    deadline = time.monotonic() + _LAG
    while sign not in (signs := tuple(checkpoints.signs())) and time.monotonic() < deadline:
        time.sleep(0.5)
    return signs


def check_answers(answers: Mapping[str, object], checkpoints: Checkpoints, sign: str) -> None:
    """Check that all nodes fit together and see one and the same storage.

    Args:
        answers: what `look_around` returned or raised, by the nodes' names.
        checkpoints: the study's, into which ``sign`` was put before.
        sign: the driver's sign.

    Raises:
        StudyError: a node is no good.
    """
    here = _versions()
    for name, answer in answers.items():
        if isinstance(answer, TimeoutError):
            continue  # it may be busy, or just gone: workers look again
        fault = node_fault(name, answer, here, checkpoints, sign)
        if fault:
            raise StudyError(fault)


def node_fault(
    name: str, answer: object, here: Mapping[str, str], checkpoints: Checkpoints, sign: str
) -> str | None:
    """What is wrong with a node, in one line with its remedy; None where nothing is."""
    if not isinstance(answer, NodeFacts):
        reason = first_line(answer) if isinstance(answer, BaseException) else str(answer)
        if "No module named" in str(answer):
            reason = f"it lacks latsearch or what that needs: install {here['latsearch']} there"
        return f"{name}: {reason}"
    for package in _MUST_AGREE:
        theirs, ours = answer.versions.get(package), here[package]
        if package == "python":  # what is pickled here is unpickled there
            theirs, ours = _minor(str(theirs)), _minor(ours)
        if theirs != ours:
            return f"{name} has {package} {theirs}, this machine {ours}: install the same on both"
    advice = "give --runs a folder that all machines share under one path, or s3://BUCKET/PREFIX"
    if answer.fault:
        return f"{name} cannot write to {checkpoints} ({answer.fault}): {advice}"
    if sign not in answer.sees:
        return f"{name} does not see what this machine writes to {checkpoints}: {advice}"
    return None


def check_here(checkpoints: Checkpoints, sign: str) -> None:
    """Check on a worker's node, which may have joined later, that it sees the driver's sign.

    Raises:
        StudyError: it does not.
    """
    answer = look_around(checkpoints, sign)
    fault = node_fault(f"node {answer.host}", answer, _versions(), checkpoints, sign)
    if fault:
        raise StudyError(fault)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _minor(python: str) -> str:
    return ".".join(python.split(".")[:2])


def _gpus() -> Iterator[str]:
    """GPUs as NVIDIA's tool lists them: asking torch would take seconds on every node."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        yield from (line.strip() for line in done.stdout.splitlines() if line.strip())


def _data() -> Iterator[str]:
    from latsearch.data import catalogue

    yield from (info.name for info in catalogue() if info.folder)
