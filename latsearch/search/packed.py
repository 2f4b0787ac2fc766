"""Reports in memory, where those of thousands of trials stay for as long as a study is open."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from latsearch.search.mending import REPORT

_LARGE = ("curve", "decision_times", "metrics", "ran")  # some 30 kB as Python's objects


class PackedReport(Mapping[str, Any]):
    """An entry of a trial's log whose curve is compressed: 2 kB in place of 30.

    Reads like the entry itself. A curve is unpacked each time it is asked for, which takes less
    than making a `DecisionCurve` of it.

    Args:
        entry: as JSON has it.
    """

    __slots__ = ("_large", "_small")

    def __init__(self, entry: Mapping[str, Any]):
        self._small = {key: value for key, value in entry.items() if key not in _LARGE}
        self._large = {
            key: zlib.compress(json.dumps(entry[key], separators=(",", ":")).encode(), 1)
            for key in _LARGE
            if key in entry
        }

    def __getitem__(self, key: str) -> Any:
        packed = self._large.get(key)
        return self._small[key] if packed is None else json.loads(zlib.decompress(packed))

    def __iter__(self) -> Iterator[str]:
        yield from self._small
        yield from self._large

    def __len__(self) -> int:
        return len(self._small) + len(self._large)

    def __eq__(self, other: object) -> bool:
        return dict(self) == dict(other) if isinstance(other, Mapping) else NotImplemented

    def __repr__(self) -> str:
        return f"PackedReport({dict(self)})"


def pack_reports(attributes: dict[str, Any]) -> None:
    """Pack the reports among the attributes of a trial, or of a journal's entry, in place."""
    for key, value in attributes.items():
        if key.startswith(REPORT) and not isinstance(value, PackedReport):
            attributes[key] = PackedReport(value)
