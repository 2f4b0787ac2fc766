"""Whether spikes pay against an ordinary network of equal shape with few-bit activations.

T timesteps of spikes carry at most T + 1 codes, so the fair rival is a network whose activations
have ``b = ceil(log2(T + 1))`` bits (Yan et al., arXiv 2409.08290), run once. Both have one stem,
which is left out, and weights of eight bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from latsearch.config.energy import PROFILES

_INT8 = PROFILES["horowitz-45nm-int8"]
_WEIGHT_BITS = 8
_NJ_PER_PJ = 1e-3

# spikes a synapse and inference below which spiking networks compete, by what else is assumed
DAMPFHOFFER = (0.15, 1.38)
# Yan et al.'s limit of the spike rate, spikes a neuron and timestep, known for one T alone
YAN_TIMESTEPS, YAN_RATE = 5, 0.057


@dataclass(frozen=True, slots=True)
class QuantisedRival:
    """A spiking network beside an ordinary one of equal shape with quantised activations.

    Attributes:
        bits: of the rival's activations.
        spikes_per_synapse: synaptic operations of an inference for each synapse behind the stem.
        break_even: spikes a synapse at which both take the same energy, arithmetic alone.
        spiking: nJ of the spiking network's accumulates behind the stem.
        quantised: nJ of the rival's multiply-accumulates behind the stem.
    """

    bits: int
    spikes_per_synapse: float
    break_even: float
    spiking: float
    quantised: float

    @property
    def cheaper(self) -> bool | None:
        """Whether the spiking network takes less; None between the published limits.

        Above break-even it does not, whatever memory costs. Below it the published limits decide,
        which include memory.
        """
        low, high = DAMPFHOFFER
        if self.spikes_per_synapse > min(high, self.break_even):
            return False
        return True if self.spikes_per_synapse < low else None

    def words(self) -> str:
        """The figures in a sentence."""
        low, high = DAMPFHOFFER
        return (
            f"{self.spikes_per_synapse:.3g} spikes a synapse and inference behind the stem: "
            f"{self.spiking:.3g} nJ of accumulates against {self.quantised:.3g} nJ of a "
            f"{self.bits}-bit network's multiply-accumulates, arithmetic alone at {_INT8.name}, "
            f"equal at {self.break_even:.3g}. With memory, spikes compete below {low:g} to "
            f"{high:g} (Dampfhoffer 2023); at T = {YAN_TIMESTEPS} below a spike rate of "
            f"{YAN_RATE:.1%} (Yan et al., arXiv 2409.08290)."
        )


def activation_bits(timesteps: int) -> int:
    """Bits that hold the T + 1 codes of T timesteps.

    Example:
        >>> [activation_bits(t) for t in (1, 2, 3, 4, 8)]
        [1, 2, 2, 3, 4]
    """
    return math.ceil(math.log2(timesteps + 1))


def multiply_accumulate(bits: int) -> float:
    """Energy in pJ of a MAC of eight-bit weights and `bits`-bit activations, our interpolation.

    An array multiplier has a row for each bit of the activation, so the int8 multiplication (MAC
    less accumulate) is scaled by ``bits / 8``; the accumulate is as wide as before.

    Example:
        >>> round(multiply_accumulate(8), 4), round(multiply_accumulate(3), 4)
        (0.23, 0.105)
    """
    return (_INT8.mac - _INT8.ac) * bits / _WEIGHT_BITS + _INT8.ac


def quantised_rival(timesteps: int, operations: float, synapses: float) -> QuantisedRival:
    """Compare a spiking network with its quantised rival.

    Args:
        timesteps: T.
        operations: synaptic operations of an inference behind the stem.
        synapses: those of one pass of the ordinary network, its MACs behind the stem.

    Raises:
        ValueError: there are no synapses.
    """
    if synapses <= 0:
        raise ValueError(f"a network has synapses, got {synapses:g}")
    bits = activation_bits(timesteps)
    price = multiply_accumulate(bits)
    return QuantisedRival(
        bits=bits,
        spikes_per_synapse=operations / synapses,
        break_even=price / _INT8.ac,
        spiking=_NJ_PER_PJ * operations * _INT8.ac,
        quantised=_NJ_PER_PJ * synapses * price,
    )
