"""Figures and values as a report writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_FORMATS: Mapping[str, str] = {
    "decision_threshold": "{:.4g}",
    "accuracy": "{:.2%}",
    "latency": "{:.3f}",
    "energy": "{:,.1f}",
    "silent_fraction": "{:.1%}",
    "robust_accuracy": "{:.2%}",
}


def figure(name: str, value: float | None) -> str:
    """A figure of an operating point; a dash where it was not measured.

    Example:
        >>> figure("accuracy", 0.975), figure("decision_threshold", math.inf)
        ('97.50%', 'readout')
    """
    if value is None or math.isnan(value):
        return "–"
    if name == "decision_threshold" and math.isinf(value):
        return "readout"
    return _FORMATS[name].format(value)


def value_text(value: Any) -> str:
    """A parameter's value in short; a dash where the trial does not use it.

    Example:
        >>> value_text(0.0123456), value_text("mlp")
        ('0.01235', 'mlp')
    """
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
