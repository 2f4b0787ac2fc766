"""Stores and servers for the tests of tracking."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from latsearch.tracking.location import default_uri
from latsearch.tracking.publishing import prepare_environment
from latsearch.tracking.ui import ui_server
from tests.tracking.synthetic import SyntheticStudy

prepare_environment()


@pytest.fixture
def synthetic(tmp_path: Path) -> SyntheticStudy:
    """A study of 30 trials, of which none has started."""
    return SyntheticStudy(tmp_path / "runs" / "synthetic")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without experiments, which takes seconds to make."""
    folder = tmp_path_factory.mktemp("empty")
    MlflowClient(default_uri(folder)).search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def new_store(empty_database: Path, tmp_path: Path) -> Callable[[str], str]:
    """Makes a store in a folder of the given name; its URI."""

    def make(name: str) -> str:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        shutil.copy(empty_database, folder)
        return default_uri(folder)

    return make


@pytest.fixture
def uri(new_store: Callable[[str], str]) -> str:
    """The default store of that study's runs folder."""
    return new_store("runs")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for a server that is away."""
    monkeypatch.setattr("latsearch.tracking.publishing._PAUSES", (0.05, 0.05))


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens at."""
    return unused_port()


@dataclass(frozen=True)
class Served:
    """An MLflow server: its address, and the store behind it."""

    address: str
    store: str


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server on a store of its own."""
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    store = default_uri(tmp_path_factory.mktemp("server"))
    with ui_server(store, unused_port()) as (address, _):
        yield Served(address, store)


@pytest.fixture(scope="session")
def server(served: Served) -> str:
    """Address of that server."""
    return served.address


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
