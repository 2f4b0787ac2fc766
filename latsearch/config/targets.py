"""What hardware descriptions cannot say of a network, known before anything is trained.

NIR (neuromorphic intermediate representation, doi.org/10.1038/s41467-024-52259-9) starts behind the
encoder, which stays with the host. Its neurons spike repeatedly and reset to zero; it has no batch
normalisation but what can be folded into weights, no maximum pooling, and no lasting synapses in
front of a normalisation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from latsearch.config.space import Space, Value
from latsearch.config.text import either

# field → value that NIR cannot say → what to use in its place
NIR_REFUSES: Mapping[str, Mapping[Value, str]] = {
    "family": {"custom": "one of latsearch's families"},
    "neuron": {"relu": "if or lif", "sign": "if or lif"},
    "encoder": {"analog": "latency, rate or direct"},
    "spiking": {"strict": "relaxed"},
    "reset": {"soft": "hard"},
    "synapse": {"step": "delta", "exp": "delta"},
    "downsampling": {"max": "sum or stride"},
    "norm": {"timestep": "pooled"},
    "decision": {
        "margin": "first_spike",
        "entropy": "first_spike",
        "max_softmax": "first_spike",
    },
}


def target_faults(space: Space) -> Iterator[tuple[str, str]]:
    """Values that a study for NIR may not use, as (path, message)."""
    if "nir" not in (space.domain("network.target") or ()):
        return
    names = [*space.fixed, *(parameter.name for parameter in space.parameters)]
    used = set(space.domain("network.family") or ())
    for name in names:
        section, _, field = name.rpartition(".")
        if not section.startswith("network") or field not in NIR_REFUSES:
            continue
        if section != "network" and "stages" not in used:
            continue
        if name == "network.downsampling" and not used & {"lenet", "vgg11", "vgg16"}:
            continue
        refused = NIR_REFUSES[field]
        found = [value for value in space.domain(name) or () if value in refused]
        if found:
            advice = either(dict.fromkeys(refused[value] for value in found))
            yield name, f"NIR cannot say {either(found)}; with target nir use {advice}"
