"""Encoding: how an image or event frames become what the first hidden layer receives."""

from __future__ import annotations

from latsearch.snn.encoding.encoders import Encoder, LatencyEncoder, RateEncoder, build_encoder
from latsearch.snn.encoding.latency import latency_spikes, levels

__all__ = [
    "Encoder",
    "LatencyEncoder",
    "RateEncoder",
    "build_encoder",
    "latency_spikes",
    "levels",
]
