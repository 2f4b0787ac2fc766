"""What the paper states and what is our choice, field by field, as a table."""

from __future__ import annotations

from dataclasses import fields
from typing import Literal, get_args, get_origin

from latsearch.config.forms import base_type
from latsearch.config.trial import NetworkConfig, TrainConfig, field_types

STATED = "stated"
OURS = "ours"

# field → whether the paper's abstract states its default, and what switching it does
CHOICES: dict[str, tuple[str, str]] = {
    "network.encoder": (
        STATED,
        "`rate`, `direct`: the codes it is compared with, on the same stem; `analog`: no code; "
        "`frames`: event data",
    ),
    "network.encoder_map": (OURS, "`log`: strong features are told apart later, weak ones sooner"),
    "network.encoder_surrogate_width": (
        OURS,
        "narrow: a feature learns only near a level; wide: from everywhere",
    ),
    "network.neuron": (OURS, "`lif` forgets; `relu`, `sign`: ordinary networks of equal shape"),
    "network.tau_mem": (OURS, "shorter: a spike's potential is forgotten sooner"),
    "network.learn_tau_mem": (OURS, "the leak is learned, one number a layer"),
    "network.firing_threshold": (
        OURS,
        "rescales the normalisation before it; surrogate and γ are tied to it",
    ),
    "network.reset": (OURS, "`soft` keeps what exceeds the firing threshold; NIR has `hard` alone"),
    "network.spiking": (STATED, "`strict`: one spike a neuron at most, time to first spike"),
    "network.synapse": (
        OURS,
        "`delta`: a spike acts for one step, so that sums forget when it came; `step`: early "
        "spikes count more; `exp`: between the two",
    ),
    "network.tau_syn": (OURS, "longer: nearer to `step`"),
    "network.surrogate": (OURS, "shape of the spike's derivative, all of unit area"),
    "network.surrogate_width": (OURS, "wide: more neurons learn, less exactly"),
    "network.norm": (OURS, "`timestep`: statistics and affine of each timestep; not for NIR"),
    "network.output_tau_mem": (OURS, "a leak lets late spikes count more"),
    "network.output_centred": (
        OURS,
        "off: a threshold means something else for every sample",
    ),
    "network.output_bias": (OURS, "on: potentials drift with every timestep"),
    "network.decision": (
        STATED,
        "decide by margin, entropy or softmax of the potentials instead",
    ),
    "train.loss": (
        STATED,
        "`tet`, `tet_step`: all timesteps alike; `last`: the last alone",
    ),
    "train.temperature": (OURS, "low: the surest timestep alone; high: all alike"),
    "train.tad_weighting": (OURS, "`inverse`: 1/H, far steeper near certainty"),
    "train.tad_gradient": (OURS, "on: confidence itself is trained"),
    "train.logits": (OURS, "`mean`: logits do not grow with t"),
    "train.anchor": (OURS, "ties potentials to a fixed decision threshold"),
    "train.anchor_threshold": (OURS, "the threshold of the anchor"),
    "train.lambda_spike": (OURS, "more: fewer spikes, less energy"),
    "train.relu_epochs": (OURS, "start from the weights of a ReLU network"),
}


def method_table() -> str:
    """The table as Markdown: field, values, default, who says so, effect."""
    lines = [
        "| field | values | default | default is | effect when switched |",
        "| --- | --- | --- | --- | --- |",
    ]
    sections = (("network", NetworkConfig), ("train", TrainConfig))
    for section, config in sections:
        for column in fields(config):
            name = f"{section}.{column.name}"
            if name in CHOICES:
                source, effect = CHOICES[name]
                said = "stated in the paper" if source == STATED else "our choice"
                values = _values(config, column.name)
                default = "none" if column.default is None else str(column.default).lower()
                lines.append(f"| `{name}` | {values} | {default} | {said} | {effect} |")
    return "\n".join(lines)


def _values(config: type, field: str) -> str:
    kind = base_type(field_types(config)[field])
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    return {bool: "true, false", int: "a whole number", float: "a number"}[kind]
