"""Shared by all tests."""

from __future__ import annotations

from hypothesis import settings

# Shared machines are slow at times: a slow example is no fault. The same examples in every run.
settings.register_profile("latsearch", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("latsearch")
