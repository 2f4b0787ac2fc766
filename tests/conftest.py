"""Shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.postgres import Postgres, binaries

# Shared machines are slow at times: a slow example is no fault. The same examples in every run.
settings.register_profile("latsearch", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("latsearch")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; the test is skipped where its programs are not installed."""
    programs = binaries()
    if programs is None:
        pytest.skip("needs PostgreSQL's server: apt install postgresql")
    server = Postgres(programs)
    yield server
    server.remove()
