"""Energy profiles: the price of an operation, with its source and conventions (docs/energy.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class LayerMemory:
    """What a layer reads and writes, in bytes of four a value.

    Attributes:
        weights: of its synapses.
        potentials: of the neurons behind them.
        inputs: of what it receives in a timestep.
    """

    weights: int
    potentials: int
    inputs: int


@dataclass(frozen=True, slots=True)
class Prices:
    """What operations of one layer cost, in pJ: those of its synapses, and a neuron's update."""

    mac: float
    ac: float
    neuron: float


@dataclass(frozen=True, slots=True)
class EnergyProfile:
    """Prices of a network's operations.

    Attributes:
        name: as written in the YAML.
        mac: energy of a multiply-accumulate in pJ.
        ac: energy of an accumulate, one synaptic operation of a binary spike, in pJ.
        neuron: energy of updating one hidden neuron for one timestep in pJ.
        source: where the prices come from.
        pooled_mac: whether an input that pooling has added up takes one multiply-accumulate a
            synapse (NeuroBench's convention), not an accumulate for each of its spikes.
        host_mac: whether multiply-accumulates run on a host beside the chip.
        sram: energy of a four-byte access in pJ by size of the memory in bytes, rising; empty where
            memory accesses are free.
    """

    name: str
    mac: float
    ac: float
    neuron: float
    source: str
    pooled_mac: bool = False
    host_mac: bool = False
    sram: tuple[tuple[int, float], ...] = ()

    def prices(self, memory: LayerMemory) -> Prices:
        """The prices for a layer.

        An accumulate reads a weight, and reads and writes a potential; a multiply-accumulate reads
        its input besides; a neuron's update reads and writes its potential.
        """
        weight, potential = self.access(memory.weights), self.access(memory.potentials)
        accumulate = weight + 2 * potential
        return Prices(
            mac=self.mac + accumulate + self.access(memory.inputs),
            ac=self.ac + accumulate,
            neuron=self.neuron + 2 * potential,
        )

    def access(self, size: int) -> float:
        """Energy in pJ of a four-byte access to a memory of `size` bytes.

        Interpolated between the known sizes; beyond them as the nearest one, a larger memory being
        made of banks.

        Example:
            >>> round(PROFILES["memory-45nm-fp32"].access(20 * 1024), 3)
            15.0
        """
        if not self.sram:
            return 0.0
        if size <= self.sram[0][0]:
            return self.sram[0][1]
        for (small, low), (large, high) in zip(self.sram, self.sram[1:], strict=False):
            if size <= large:
                return low + (high - low) * (size - small) / (large - small)
        return self.sram[-1][1]


_HOROWITZ = "M. Horowitz, Computing's energy problem, ISSCC 2014: 45 nm, 0.9 V, arithmetic alone"
_NEURON = "a neuron update is priced as one accumulate (its bias), our choice"
_SRAM = (
    "with SRAM of 10 / 20 / 100 pJ a four-byte access at 8 kB / 32 kB / 1 MB (Lemaire et al., "
    "arXiv 2210.13107, as in SpikingJelly 2.0), by the size of each layer's memories; which "
    "accesses an operation makes is our choice"
)
_CHIPS = (
    "energy of a synaptic operation from table 3 of the SENECA paper (PMC10326429), which calls it "
    "for high-level comparison only; neuron updates are not priced there and free here"
)


def _chip(name: str, synaptic_operation: float) -> EnergyProfile:
    """A chip's price of a synaptic operation; the host's multiply-accumulates at 45 nm, fp32."""
    return EnergyProfile(name, 4.6, synaptic_operation, 0.0, _CHIPS, host_mac=True)


_FP32 = EnergyProfile("horowitz-45nm-fp32", 4.6, 0.9, 0.9, f"{_HOROWITZ}; {_NEURON}")

PROFILES: Mapping[str, EnergyProfile] = {
    profile.name: profile
    for profile in (
        _FP32,
        EnergyProfile("horowitz-45nm-fp16", 1.5, 0.4, 0.4, f"{_HOROWITZ}; {_NEURON}"),
        EnergyProfile("horowitz-45nm-int8", 0.23, 0.03, 0.03, f"{_HOROWITZ}; {_NEURON}"),
        replace(_FP32, name="horowitz-45nm-fp32-pooled-macs", pooled_mac=True),
        replace(
            _FP32,
            name="memory-45nm-fp32",
            source=f"{_HOROWITZ}; {_SRAM}; {_NEURON}",
            sram=((8 * 1024, 10.0), (32 * 1024, 20.0), (1024 * 1024, 100.0)),
        ),
        _chip("loihi", 23.6),
        _chip("spinnaker2", 10.0),
        _chip("seneca", 2.8),
    )
}

DEFAULT_PROFILE = PROFILES["horowitz-45nm-fp32"]
