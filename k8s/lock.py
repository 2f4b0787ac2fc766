"""Writes k8s/requirements.lock: what goes into the image, with versions and hashes.

    python k8s/lock.py            with Python 3.11 on Linux x86-64, as in the image

pip resolves what pyproject.toml asks for and tells the hash of each file. torch and what it brings
for GPUs is left out: the Dockerfile takes it from PyTorch's own index, in the variant that is asked
for. Run it again after every change of the dependencies, and for other machines (arm64) there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "k8s/requirements.lock"
RAY = "2.60.0"  # as rayVersion of k8s/base/rayjob.yaml
# MLflow's server asks for users (auth) and keeps its tables in PostgreSQL, where it is told with
# psycopg2's name; boto3 is its way to object storage; hatchling builds latsearch itself
ASKED = (
    *(f"{ROOT}[postgres,k8s,export]", "mlflow[auth]", "psycopg2-binary", "boto3"),
    *(f"ray[default,tune]=={RAY}", "hatchling"),
)
_FROM_PYTORCH = ("torch", "torchvision", "triton")
_FROM_PYTORCH_TOO = ("nvidia-", "cuda-")
_HEAD = """\
# Written by k8s/lock.py; do not edit. Linux x86-64, Python 3.11. torch is not here: the Dockerfile
# has its version, and PyTorch's index its variants.
"""


def main() -> None:
    """Resolve, and write the file."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--only-binary", ":all:", "--report", str(report)]
        subprocess.run([*command, *ASKED], check=True)
        LOCK.write_text(lock(json.loads(report.read_text())))


def lock(report: dict[str, list[dict[str, dict[str, object]]]]) -> str:
    """The lock file's text, from pip's report."""
    lines = []
    for found in report["install"]:
        name = str(found["metadata"]["name"]).lower().replace("_", "-").replace(".", "-")
        if name == "latsearch" or name in _FROM_PYTORCH or name.startswith(_FROM_PYTORCH_TOO):
            continue
        archive = found["download_info"]["archive_info"]
        assert isinstance(archive, dict)
        version = found["metadata"]["version"]
        lines.append(f"{name}=={version} --hash=sha256:{archive['hashes']['sha256']}\n")
    return _HEAD + "".join(sorted(lines))


if __name__ == "__main__":
    main()
