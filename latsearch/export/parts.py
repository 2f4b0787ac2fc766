"""Which parts of a trained network NIR cannot say, and what to use in their place."""

from __future__ import annotations

from latsearch.config.targets import NIR_REFUSES
from latsearch.errors import UserError
from latsearch.snn.layers import Projection
from latsearch.snn.networks import LatencyNetwork
from latsearch.snn.neurons import STATELESS

_ALWAYS = ("neuron", "encoder", "norm", "decision")
_OF_SPIKING = ("spiking", "reset", "synapse")  # fields that ordinary units do not have


def nir_faults(network: LatencyNetwork) -> list[str]:
    """The parts that NIR cannot say, each with what to use instead.

    Example:
        ``["synapse: step (use delta)", "downsampling: max (use sum or stride)"]``
    """
    config = network.config
    fields = _ALWAYS if config.neuron in STATELESS else (*_ALWAYS, *_OF_SPIKING)
    faults = []
    for field in fields:
        value = getattr(config, field)
        if value in NIR_REFUSES[field]:
            faults.append(f"{field}: {value} (use {NIR_REFUSES[field][value]})")
    if any(pool == "max" for pool in _pools(network)):
        faults.append(f"downsampling: max (use {NIR_REFUSES['downsampling']['max']})")
    return faults


def _pools(network: LatencyNetwork) -> list[str | None]:
    projections = [p.pool for p in network.projections() if isinstance(p, Projection)]
    return [*projections, network.output.pool]


def check_nir(network: LatencyNetwork, name: str) -> None:
    """Refuse a network that NIR cannot say.

    Raises:
        UserError: it has such parts; the message names them all, and what to use instead.
    """
    faults = nir_faults(network)
    if faults:
        raise UserError(
            f"{name}: NIR cannot say {', '.join(faults)}; search with network.target: nir, or "
            "export it with --format safetensors,onnx,torch-export"
        )
