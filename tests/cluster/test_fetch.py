"""`latsearch fetch`: a front and its networks from a real database and a real object storage.

kubectl's port-forward needs a kubelet; a script stands in for it that says what kubectl says, and
names the ports of the real servers.
"""

from __future__ import annotations

import csv
import json
import os
import stat
from pathlib import Path

import pytest

from latsearch.cli import main
from tests.cluster.api_server import FakeApiServer
from tests.cluster.conftest import STUDY, Latsearch
from tests.postgres import Postgres
from tests.s3 import CREDENTIALS, S3Server

RUNS = "s3://latsearch/cluster-runs"


@pytest.fixture(scope="module")
def searched(
    postgres: Postgres, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """A study that has been searched into both; the environment in which it was."""
    folder = tmp_path_factory.mktemp("driver")
    environment = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_server.port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "LATSEARCH_STORAGE": postgres.database(),
        "XDG_CACHE_HOME": str(folder / "driver-cache"),
    }
    (folder / "tiny.yaml").write_text(f"{STUDY}tracking: {{enabled: false}}\n")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        words = ["latsearch", "run", str(folder / "tiny.yaml"), "--workers", "0", "--runs", RUNS]
        patch.setattr("sys.argv", [*words, "--trials", "2"])
        main()
    return environment


def kubectl(folder: Path, ports: dict[str, int]) -> None:
    """A kubectl that forwards what the real one would."""
    cases = "\n".join(f"  svc/{name}) port={port};;" for name, port in ports.items())
    script = f"""#!/bin/sh
echo "$@" >> "{folder}/kubectl.log"
for word in "$@"; do case "$word" in
{cases}
esac; done
[ -n "$port" ] || {{ echo 'error: services "x" not found'; exit 1; }}
echo "Forwarding from 127.0.0.1:$port -> 5432"
exec sleep 600
"""
    (folder / "kubectl").write_text(script)
    (folder / "kubectl").chmod((folder / "kubectl").stat().st_mode | stat.S_IXUSR)


def rows(file: str) -> list[dict[str, str]]:
    with Path(file).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_front_comes_home(
    api: FakeApiServer,
    latsearch: Latsearch,
    searched: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name, value in {**searched, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    assert latsearch("submit", "tiny.yaml", "-y", "--detach", "--runs", RUNS).code == 0
    done = latsearch("fetch", "tiny")
    assert done.code == 0, done.err
    assert "accuracy" in done.out
    front = rows("tiny/front.csv")
    trials = {int(row["trial"]) for row in front}
    assert trials
    assert json.loads(Path("tiny/front.json").read_text())[0]["accuracy"] == float(
        front[0]["accuracy"]
    )
    for trial in trials:
        assert (Path("tiny/networks") / f"{trial:05d}" / "model.safetensors").is_file()
    assert f"networks of {len(trials)} trials" in done.out
    assert not any("head" in request for request in api.requests)
    fastest = latsearch("fetch", "tiny", "--to", "one", "--fastest", "--front-only")
    assert fastest.code == 0, fastest.err
    assert len(rows("one/front.csv")) == 1
    assert not Path("one/networks").exists()
    none = latsearch("fetch", "tiny", "--where", "accuracy > 2", "--knee")
    assert none.code == 2
    gone = latsearch("cancel", "tiny", "--yes")
    assert gone.code == 0
    lost = latsearch("fetch", "tiny")
    assert lost.code == 2
    assert "name the place with --runs" in lost.err
    assert latsearch("fetch", "tiny", "--runs", RUNS, "--to", "again").code == 0
    assert rows("again/front.csv") == front


def test_what_lives_within_the_cluster_is_forwarded(
    api: FakeApiServer,
    latsearch: Latsearch,
    searched: dict[str, str],
    postgres: Postgres,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    kubectl(tmp_path, {"postgres": postgres.port, "minio": s3_server.port})
    inside = searched["LATSEARCH_STORAGE"].replace(
        f"127.0.0.1:{postgres.port}", "postgres.team.svc.cluster.local:5432"
    )
    for name, value in {**searched, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LATSEARCH_STORAGE", inside)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    api.put("configmaps", "latsearch-env", data={"AWS_ENDPOINT_URL": "http://minio:9000"})
    assert latsearch("submit", "tiny.yaml", "-y", "--detach", "--runs", RUNS).code == 0
    done = latsearch("fetch", "tiny")
    assert done.code == 0, done.err
    assert rows("tiny/front.csv")
    asked = (tmp_path / "kubectl.log").read_text().splitlines()
    assert "--namespace team --address 127.0.0.1 --context fake svc/postgres :5432" in asked[0]
    assert "--namespace latsearch" in asked[1]
    assert asked[1].endswith("svc/minio :9000")
    assert os.environ["LATSEARCH_STORAGE"] == inside
    monkeypatch.setenv("LATSEARCH_STORAGE", inside.replace("postgres.team", "nowhere.team"))
    failed = latsearch("fetch", "tiny")
    assert failed.code == 2
    assert 'nowhere:5432 cannot be forwarded: error: services "x" not found' in failed.err
    assert len(failed.err.splitlines()) == 1


def test_fetch_needs_to_know_where(api: FakeApiServer, latsearch: Latsearch) -> None:
    failed = latsearch("fetch", "nothing")
    assert failed.code == 2
    assert failed.err == (
        "nothing: no such job that says where its study is; name the place with --runs\n"
    )
