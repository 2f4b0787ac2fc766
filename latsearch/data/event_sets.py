"""The event data sets of the catalogue, each beside its loader."""

from __future__ import annotations

from collections.abc import Mapping

from latsearch.data.known import Dataset

EVENT_SETS: Mapping[str, Dataset] = {}
