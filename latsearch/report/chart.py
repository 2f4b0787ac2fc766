"""A chart as plotly.js takes it: a plain JSON object, whose words are escaped by who makes it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from latsearch.objectives import OBJECTIVES

Json = dict[str, Any]

# drawn in a grey that fits the page's colours, which the page knows
QUIET = {"role": "quiet"}
# tell apart on white and on black, also for colour-blind readers (Okabe and Ito)
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a6d00", "#7f7fff")
_FEW_DECADES = (0.6, 2.1)  # between them plotly's own labels run into each other
_DASHES = ("solid", "dash", "dot")


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        id: of its element.
        title: what it shows, also for those who cannot see it.
        traces: plotly's traces.
        layout: plotly's layout without colours, which the page adds.
        views: by name, what changes when the reader chooses it: ``visible`` and a layout.
    """

    id: str
    title: str
    traces: Sequence[Json]
    layout: Json = field(default_factory=dict)
    views: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> Json:
        """A JSON object; what is not finite becomes null, the rest keeps six digits."""
        plain = {
            "id": self.id,
            "traces": list(self.traces),
            "layout": self.layout,
            "views": dict(self.views),
        }
        return {key: _plain(value) for key, value in plain.items()}


def axis(name: str, values: Iterable[float], unit: str = "") -> Json:
    """The axis of an objective, with its unit and scale, for the values to be drawn."""
    objective = OBJECTIVES[name]
    if objective.unit == "fraction":
        heading = name.replace("_", " ")
        return {"title": {"text": heading}, "type": "linear", "tickformat": ".1~%"}
    there = [value for value in values if math.isfinite(value) and value > 0]
    title = {"text": f"{name} / {unit}"}
    if objective.log and there:
        return {"title": title, **log_scale(min(there), max(there))}
    return {"title": title, "type": "linear", "tickformat": ""}


def log_scale(low: float, high: float) -> Json:
    """A logarithmic axis for values from ``low`` to ``high``, labelled with plain numbers."""
    look: Json = {"type": "log", "minorloglabels": "complete", "tickformat": "~r"}
    decades = math.log10(high / low)
    if decades < _FEW_DECADES[0]:
        return look
    # 1, 2, 5, 10, … or the powers of ten alone
    return {**look, "dtick": "D2" if decades <= _FEW_DECADES[1] else 1}


def line_style(index: int) -> Json:
    """Colour and dashes of the index-th line."""
    dash = _DASHES[index // len(COLORS) % len(_DASHES)]
    return {"color": COLORS[index % len(COLORS)], "dash": dash}


def drawable(trace: Json) -> bool:
    """Whether a trace has anything to draw."""
    return any(isinstance(y, int | float) and math.isfinite(y) for y in trace["y"])


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return value
