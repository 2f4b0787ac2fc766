"""A fake cluster, and the command line against it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from latsearch.cli import main
from latsearch.cluster import following
from tests.cluster.api_server import FakeApiServer

STUDY = """\
version: 1
study: tiny
data: {name: digits}
network: {family: mlp, timesteps: {low: 1, high: 3}}
train: {epochs: 3}
search: {trials: 4}
"""


@dataclass(frozen=True)
class Typed:
    """What a command left behind."""

    code: int
    out: str
    err: str


Latsearch = Callable[..., Typed]


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    server = FakeApiServer()
    yield server
    server.close()


@pytest.fixture
def latsearch(
    api: FakeApiServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Latsearch:
    """The command line, in a folder with `tiny.yaml`, led to the fake cluster by KUBECONFIG."""
    (tmp_path / "tiny.yaml").write_text(STUDY)
    (tmp_path / "kubeconfig").write_text(api.kubeconfig)
    monkeypatch.chdir(tmp_path)
    for variable in ("LATSEARCH_NAMESPACE", "LATSEARCH_IMAGE", "LATSEARCH_TEMPLATE"):
        monkeypatch.delenv(variable, raising=False)
    import kubernetes.config.kube_config as kube_config

    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    quick = {"pause": 0.05, "look_after": 0.1}
    attach = following.attach
    monkeypatch.setattr(following, "attach", lambda *a, **k: attach(*a, **{**quick, **k}))

    def type_in(*words: object) -> Typed:
        monkeypatch.setattr(sys, "argv", ["latsearch", *map(str, words)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return Typed(code, out, err)

    return type_in
