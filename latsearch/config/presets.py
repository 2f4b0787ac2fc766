"""Presets: named settings of a study, the paper's method and what it is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

from latsearch.config.space import Space, Value
from latsearch.config.text import either

PresetName = Literal["paper", "direct", "rate", "ttfs", "relu", "one-bit"]
PRESET_NAMES: tuple[str, ...] = get_args(PresetName)

# dotted field → value; what the paper's abstract states, and one baseline each
PRESETS: Mapping[str, Mapping[str, Value]] = {
    "paper": {
        "network.encoder": "latency",
        "network.spiking": "relaxed",
        "network.decision": "first_spike",
        "train.loss": "tad",
    },
    "direct": {"network.encoder": "direct"},
    "rate": {"network.encoder": "rate"},
    "ttfs": {"network.encoder": "latency", "network.spiking": "strict"},
    "relu": {"network.encoder": "analog", "network.neuron": "relu", "network.timesteps": 1},
    "one-bit": {"network.encoder": "latency", "network.neuron": "sign", "network.timesteps": 1},
}


def with_preset(study: Any) -> Any:
    """A study's raw mapping with its preset's values in the fields that it does not give.

    What is no mapping, or names no known preset, is left to the checks that follow.
    """
    if not isinstance(study, dict) or study.get("preset") not in PRESET_NAMES:
        return study
    filled = dict(study)
    for name, value in PRESETS[study["preset"]].items():
        section, field = name.split(".")
        given = filled.get(section, {})
        if isinstance(given, dict):
            filled[section] = {field: value, **given}
    return filled


def preset_faults(preset: str | None, space: Space) -> Iterator[tuple[str, str]]:
    """Fields that contradict the preset, as (path, message)."""
    for name, value in PRESETS.get(preset or "", {}).items():
        domain = space.domain(name)
        if domain != (value,):
            yield (
                name,
                f"preset {preset} has {either([value])} here; leave the field out, or the preset",
            )
