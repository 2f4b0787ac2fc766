"""Networks that are the user's own code (docs/extending.md): built, checked, counted."""

from __future__ import annotations

from latsearch.snn.custom.building import build_custom
from latsearch.snn.custom.energy import CUSTOM_CONVENTIONS, CustomMeter
from latsearch.snn.custom.network import CustomNetwork

__all__ = ["CUSTOM_CONVENTIONS", "CustomMeter", "CustomNetwork", "build_custom"]
