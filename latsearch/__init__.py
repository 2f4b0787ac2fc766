"""latsearch: Pareto-optimal latency-coded spiking neural networks.

>>> import latsearch
>>> result = latsearch.run("digits")  # doctest: +SKIP
>>> network = latsearch.load("digits", trial=result.front[0].trial)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latsearch.api import ExportOptions as ExportOptions
    from latsearch.api import RunOptions as RunOptions
    from latsearch.api import export_model as export_model
    from latsearch.api import front as front
    from latsearch.api import load as load
    from latsearch.api import run as run
    from latsearch.api import status as status
    from latsearch.config import load_study as load_study
    from latsearch.snn.decoding import decide as decide
    from latsearch.snn.decoding import decision_curve as decision_curve
    from latsearch.snn.networks import build_network as build_network

__version__ = "0.1.0"

# where each name lives; imported when it is first used, since torch and Ray take seconds
_HOMES = {
    "ExportOptions": "latsearch.api",
    "RunOptions": "latsearch.api",
    "export_model": "latsearch.api",
    "front": "latsearch.api",
    "load": "latsearch.api",
    "run": "latsearch.api",
    "status": "latsearch.api",
    "load_study": "latsearch.config",
    "decide": "latsearch.snn.decoding",
    "decision_curve": "latsearch.snn.decoding",
    "build_network": "latsearch.snn.networks",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'latsearch' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
