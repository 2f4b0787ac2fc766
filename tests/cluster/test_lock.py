"""k8s/requirements.lock: whole, within the ranges of pyproject.toml, and nothing of a machine."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

K8S = Path(__file__).parents[2] / "k8s"
LINES = [
    line
    for line in (K8S / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
]
# the Dockerfile takes torch from PyTorch's index; pip and setuptools come with the environment
ELSEWHERE = {"torch", "torchvision", "triton", "latsearch", "pip", "setuptools"}
IN_THE_IMAGE = ("postgres", "k8s", "export")


def locked() -> dict[str, str]:
    return {line.partition("==")[0]: line.partition("==")[2].partition(" ")[0] for line in LINES}


def elsewhere(name: str) -> bool:
    return name in ELSEWHERE or name.startswith(("nvidia-", "cuda-"))


def missing(needed: Requirement, extra: str = "") -> bool:
    """Whether the lock lacks what is needed on the image's machine, or has another version."""
    name = canonicalize_name(needed.name)
    linux = {"extra": extra, "sys_platform": "linux", "platform_machine": "x86_64"}
    if elsewhere(name) or (needed.marker and not needed.marker.evaluate(linux)):
        return False
    return not needed.specifier.contains(locked().get(name, "0.dev0"), prereleases=True)


def test_every_line_is_a_version_and_a_hash() -> None:
    assert len(LINES) > 100
    assert sorted(LINES) == LINES
    for line in LINES:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.+!]+ --hash=sha256:[0-9a-f]{64}", line), line
    assert len(locked()) == len(LINES)


def test_what_pyproject_asks_for_is_there() -> None:
    project = tomllib.loads((K8S.parent / "pyproject.toml").read_text())["project"]
    extras = [each for name in IN_THE_IMAGE for each in project["optional-dependencies"][name]]
    asked = [Requirement(each) for each in (*project["dependencies"], *extras)]
    assert [str(each) for each in asked if missing(each)] == []
    built = tomllib.loads((K8S.parent / "pyproject.toml").read_text())["build-system"]["requires"]
    assert [each for each in built if missing(Requirement(each))] == []


def test_what_those_need_is_there_as_well() -> None:
    extras = {"ray": ("default", "tune"), "mlflow": ("auth",), "psycopg": ("binary",)}
    seen, lacking = 0, []
    for name, version in locked().items():
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # in the image alone
        if found.version != version:
            continue
        seen += 1
        for text in found.requires or []:
            needed = Requirement(text)
            wanted = ("", *extras.get(name, ()))
            if any(missing(needed, extra) for extra in wanted):
                lacking.append(f"{name} {version} needs {needed}")
    assert lacking == []
    assert seen > 20


def test_ray_is_the_rayjobs() -> None:
    template = yaml.safe_load((K8S / "base" / "rayjob.yaml").read_text())
    assert locked()["ray"] == template["spec"]["rayClusterSpec"]["rayVersion"]
    assert f'RAY = "{locked()["ray"]}"' in (K8S / "lock.py").read_text()
