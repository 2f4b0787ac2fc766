"""What a search needs on this machine, checked: `latsearch doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "tonic")
_LEAST_FREE = 2 * 2**30  # bytes


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        what: the thing.
        found: what was found, and what to do where it is not good.
        good: whether it is as it should be.
        fatal: whether no search can run like this.
    """

    what: str
    found: str
    good: bool = True
    fatal: bool = False


def examine(runs: Path) -> list[Finding]:
    """Look at versions, devices, compiler, Ray, data sets and folders."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _versions,
        _devices,
        _compiler,
        _ray,
        _datasets,
        lambda: _folders(runs),
    )
    return [finding for check in checks for finding in check()]


def _versions() -> Iterator[Finding]:
    yield Finding("python", platform.python_version())
    for package in ("latsearch", *_PACKAGES):
        try:
            yield Finding(package, version(package))
        except PackageNotFoundError:
            yield Finding(package, f"is missing: pip install {package}", False, True)


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            yield Finding(f"gpu {index}", f"{properties.name}, {memory:.0f} GiB")
    else:
        yield Finding("gpu", "none; trials run on the CPU (resources.gpus_per_trial: 0)")


def _compiler() -> Iterator[Finding]:
    found = next(filter(None, map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))), None)
    if found:
        yield Finding("compiler", f"{found}, for fused kernels through torch.compile")
    else:
        yield Finding(
            "compiler",
            "no C++ compiler: long trainings run without fused kernels; install g++",
            good=False,
        )


def _ray() -> Iterator[Finding]:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        yield Finding(
            "ray address",
            f"RAY_ADDRESS={address} is set; `latsearch run` uses it with --address auto",
        )
    token = os.environ.get("RAY_AUTH_TOKEN_PATH") or str(Path.home() / ".ray" / "auth_token")
    if os.environ.get("RAY_AUTH_TOKEN"):
        yield Finding("ray token", "from RAY_AUTH_TOKEN")
    elif Path(token).is_file():
        yield Finding("ray token", f"in {token}")
    else:
        yield Finding("ray token", f"none yet; Ray writes one to {token} when it first starts")
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
        yield Finding("loopback", "127.0.0.1 can be bound")
    except OSError as error:
        yield Finding("loopback", f"127.0.0.1 cannot be bound, Ray needs it: {error}", False, True)


def _datasets() -> Iterator[Finding]:
    from latsearch.data import catalogue

    for info in catalogue():
        if info.folder or info.name == "digits":
            yield Finding(f"data {info.name}", str(info.folder or info.how_to_get))
        else:
            yield Finding(f"data {info.name}", f"not here; {info.how_to_get}")


def _folders(runs: Path) -> Iterator[Finding]:
    for what, folder in (("runs folder", runs), ("temporary folder", Path(tempfile.gettempdir()))):
        there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
        free = shutil.disk_usage(there).free
        if not os.access(there, os.W_OK | os.X_OK):
            yield Finding(what, f"{folder} cannot be written; choose another", False, True)
        elif free < _LEAST_FREE:
            yield Finding(what, f"{folder} has only {free / 2**30:.1f} GiB free", good=False)
        else:
            yield Finding(what, f"{folder}, {free / 2**30:.0f} GiB free")
