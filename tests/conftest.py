"""Shared by all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.postgres import Postgres, binaries
from tests.s3 import CREDENTIALS, S3Server

# Shared machines are slow at times: a slow example is no fault. The same examples in every run.
settings.register_profile("latsearch", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("latsearch")

# A shell starts its background jobs with Ctrl-C ignored, and whatever they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; the test is skipped where its programs are not installed."""
    programs = binaries()
    if programs is None:
        pytest.skip("needs PostgreSQL's server: apt install postgresql")
    server = Postgres(programs)
    yield server
    server.remove()


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded data go to a folder of the tests, not among the user's caches."""
    before = os.environ.get("LATSEARCH_CACHE")
    os.environ["LATSEARCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    del os.environ["LATSEARCH_CACHE"]
    if before is not None:
        os.environ["LATSEARCH_CACHE"] = before


@pytest.fixture(autouse=True)
def _no_token_left() -> Iterator[None]:
    """What lets Ray send its token (`use_token`) does so for one test, not for all that follow."""
    before = os.environ.get("RAY_AUTH_MODE")
    yield
    os.environ.pop("RAY_AUTH_MODE", None)
    if before is not None:
        os.environ["RAY_AUTH_MODE"] = before


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server with a bucket."""
    server = S3Server()
    yield server
    server.remove()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 server, with its credentials in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return s3_server
