"""Latency-coded spiking networks: encoder, neurons, architectures, decisions, losses, energy."""

from __future__ import annotations

from latsearch.snn.checkpoint import CheckpointError
from latsearch.snn.decoding import Decision, decide, decision_curve
from latsearch.snn.encoding import latency_spikes
from latsearch.snn.energy import EnergyMeter, conventions, dense_energy
from latsearch.snn.losses import decision_loss
from latsearch.snn.networks import LatencyNetwork, build_network
from latsearch.snn.neurobench import neurobench_results
from latsearch.snn.runtime import EarlyExit

__all__ = [
    "CheckpointError",
    "Decision",
    "EarlyExit",
    "EnergyMeter",
    "LatencyNetwork",
    "build_network",
    "conventions",
    "decide",
    "decision_curve",
    "decision_loss",
    "dense_energy",
    "latency_spikes",
    "neurobench_results",
]
