"""k8s/make-secrets.sh: makes what the manifests ask for, once, and shows no password."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import yaml

K8S = Path(__file__).parents[2] / "k8s"

# stands in for `create secret generic` and `get secret`, with a folder a Secret and a file a key
KUBECTL = """#!/usr/bin/env bash
set -eu
[ "$1 $2" = "--namespace latsearch" ]; shift 2
echo "$@" >> "$SECRETS/commands"
case "$1" in
get)
  [ -d "$SECRETS/$3" ] || exit 1
  for word in "$@"; do case "$word" in
    go-template=*) cat "$SECRETS/$3/$(sed -E 's/.*\\.data "([^"]+)".*/\\1/' <<<"$word")";;
  esac; done;;
create)
  mkdir "$SECRETS/$4"
  for word in "${@:5}"; do
    word=${word#--from-file=}; cp "${word#*=}" "$SECRETS/$4/${word%%=*}"
  done;;
esac
"""


def test_secrets_are_made_once_and_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "SECRETS": str(secrets),
    }
    command = ["bash", str(K8S / "make-secrets.sh")]
    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    made = {file: file.read_text() for file in secrets.glob("*/*")}
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert {file: file.read_text() for file in secrets.glob("*/*")} == made
    assert again.stdout.count("is there, left as it is") == 4
    there = {(file.parent.name, file.name): text for file, text in made.items()}
    password = there["latsearch-postgres", "latsearch"]
    assert len(password) == 48
    assert there["latsearch-driver", "LATSEARCH_STORAGE"] == (
        f"postgresql://latsearch:{password}@postgres:5432/latsearch"
    )
    assert there["latsearch-postgres", "mlflow"] in there["latsearch-mlflow", "auth.ini"]
    shown = first.stdout + first.stderr + again.stdout + (secrets / "commands").read_text()
    assert not re.search(r"[0-9a-f]{48}", shown)
    for name, key in asked():
        assert (name, key) in there, (name, key)


def asked() -> set[tuple[str, str]]:
    """The keys that manifests name."""
    found = set()
    for file in (K8S / "components").rglob("*.yaml"):
        for thing in yaml.safe_load_all(file.read_text()):
            text = yaml.safe_dump(thing)
            for match in re.finditer(r"secretKeyRef:\s+key: (\S+)\s+name: (\S+)", text):
                found.add((match[2], match[1]))
    assert len(found) >= 8
    return found
