"""KubeRay's CRD as a strict JSON schema; from the files beside the project, where they are."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

CRDS = Path(__file__).parents[3] / "shared" / "crds"


def crds_are_here() -> bool:
    return (CRDS / "ray.io_rayjobs.yaml").is_file()


@cache
def rayjob_schema() -> dict[str, Any]:
    """The schema of RayJob v1 that refuses unknown fields, as a strict API server does."""
    text = (CRDS / "ray.io_rayjobs.yaml").read_text()
    crd = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    version = next(v for v in crd["spec"]["versions"] if v["name"] == "v1")
    schema = _strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def schema_faults(job: dict[str, Any]) -> list[tuple[str, str]]:
    """(path, message) of all that a strict API server would refuse in a RayJob."""
    validator = Draft202012Validator(rayjob_schema())
    return [
        (".".join(map(str, error.absolute_path)), error.message)
        for error in validator.iter_errors(job)
    ]


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    strict = {key: _strict(value) for key, value in node.items()}
    if node.get("type") == "object" and not node.get("x-kubernetes-preserve-unknown-fields"):
        strict.setdefault("additionalProperties", False)  # what no schema names is pruned
    if isinstance(node.get("properties"), dict):
        strict["properties"] = {key: _strict(value) for key, value in node["properties"].items()}
    if node.get("nullable") and isinstance(node.get("type"), str):
        strict["type"] = [node["type"], "null"]
    return strict
