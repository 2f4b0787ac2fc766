"""Where each part of a network stands on pipelined hardware, one layer a timestep.

The encoder is at position 1, the output at L. A layer at position l works on timestep t at the
hardware's step t + l - 1, so that a decision on t* falls L - 1 steps later, when that layer has
worked on the timesteps up to t* + L - l.
"""

from __future__ import annotations

from dataclasses import dataclass

from latsearch.snn.custom import CustomNetwork
from latsearch.snn.layers import ResidualBlock
from latsearch.snn.networks import LatencyNetwork, Network


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Positions of a network's parts.

    Attributes:
        projections: of `LatencyNetwork.projections`; a shortcut works beside what it joins.
        units: of `LatencyNetwork.hidden_layers`.
        depth: L.
    """

    projections: tuple[int, ...]
    units: tuple[int, ...]
    depth: int

    @classmethod
    def of(cls, network: LatencyNetwork) -> Pipeline:
        """The positions in a network."""
        projections: list[int] = []
        units: list[int] = []
        at = 1
        for layer in network.hidden:
            if isinstance(layer, ResidualBlock):
                inner = range(at + 1, at + 1 + len(layer.body))
                at += len(inner) + 1
                projections += [*inner, at, *([at] if layer.shortcut is not None else [])]
                units += [*inner, at, *([at] if layer.shortcut_neuron is not None else [])]
            else:
                at += 1
                projections.append(at)
                units.append(at)
        return cls(tuple(projections), tuple(units), at + 1)


def delay_of(network: Network) -> int:
    """Timesteps by which the hardware's pipeline delays every decision."""
    if isinstance(network, CustomNetwork):
        return 0
    return Pipeline.of(network).depth - 1 if network.config.delay == "layer" else 0
