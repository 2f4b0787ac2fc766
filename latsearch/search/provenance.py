"""Where a training ran: what has to be the same for it to give the same again."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import latsearch

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "optuna", "ray")


def provenance(seed: int, device: str, parts: int, *, commit: str | None) -> dict[str, Any]:
    """Versions, seed, device, threads, … of a training that starts, or goes on, in this process.

    Args:
        seed: of the training.
        device: as torch names it.
        parts: in how many parts a batch is computed.
        commit: of the code, as `code_commit` found it where the search was started.
    """
    import torch

    cuda = torch.device(device).type == "cuda"
    return {
        "versions": versions(),
        "commit": commit,
        "seed": seed,
        "device": torch.cuda.get_device_name(device) if cuda else device,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "parts": parts,
    }


@cache
def versions() -> Mapping[str, str]:
    """Versions of latsearch, of Python, and of the packages that figures depend on."""
    import torch

    found = {"latsearch": latsearch.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"torch": torch.__version__}  # with the CUDA that it was built for


@cache
def processor() -> str:
    """The processor's name; its architecture where the system does not say more."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def code_commit() -> str | None:
    """Commit of latsearch's checkout, with ``+`` where it was changed; else the working folder's.

    None where neither is under version control.
    """
    home = Path(latsearch.__file__).parents[1]
    folder = home if (home / ".git").exists() else Path.cwd()
    commit = git("rev-parse", "HEAD", folder=folder)
    return commit and commit + ("+" if git("status", "--porcelain", "-uno", folder=folder) else "")


def git(*words: str, folder: Path | None = None) -> str | None:
    """What a git command prints; None where it fails, or is not there."""
    try:
        answer = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    """In what two such records differ, in words: ``torch 2.5.1, then 2.6.0``.

    The seed and the parts of a batch belong to the training, not to where it ran.
    """
    found = [
        f"{name} {one['versions'].get(name, 'absent')}, then {two['versions'].get(name, 'absent')}"
        for name in sorted({*one["versions"], *two["versions"]})
        if one["versions"].get(name) != two["versions"].get(name)
    ]
    for name in ("commit", "device", "processor", "threads", "deterministic"):
        if one.get(name) != two.get(name):
            found.append(f"{name} {one.get(name)}, then {two.get(name)}")
    return found
