"""Energy profiles: the price of an operation, with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EnergyProfile:
    """Prices of a network's operations.

    Attributes:
        name: as written in the YAML.
        mac: energy of a multiply-accumulate in pJ.
        ac: energy of an accumulate, one synaptic operation of a binary spike, in pJ.
        neuron: energy of updating one hidden neuron for one timestep in pJ.
        source: where the prices come from.
    """

    name: str
    mac: float
    ac: float
    neuron: float
    source: str


_HOROWITZ = "M. Horowitz, Computing's energy problem, ISSCC 2014: 45 nm, 0.9 V, arithmetic alone"
_NEURON = "a neuron update is priced as one accumulate (its bias), our choice"

PROFILES: Mapping[str, EnergyProfile] = {
    profile.name: profile
    for profile in (
        EnergyProfile("horowitz-45nm-fp32", 4.6, 0.9, 0.9, f"{_HOROWITZ}; {_NEURON}"),
        EnergyProfile("horowitz-45nm-fp16", 1.5, 0.4, 0.4, f"{_HOROWITZ}; {_NEURON}"),
        EnergyProfile("horowitz-45nm-int8", 0.23, 0.03, 0.03, f"{_HOROWITZ}; {_NEURON}"),
    )
}

DEFAULT_PROFILE = PROFILES["horowitz-45nm-fp32"]
