"""The YAML's `data.events`: how recordings of an event camera become frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from latsearch.config.forms import Model

EVENT_DATASETS = ("nmnist", "cifar10-dvs", "dvs-gesture", "shd", "event-folder")
"""The data sets of recordings; all others are of images."""

EVENT_ENCODER = "frames"
"""The encoder of networks for recordings."""


def with_event_encoder(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """A study as its file has it; with the encoder that recordings need where it names none."""
    data, network = raw.get("data"), raw.get("network", {})
    if not isinstance(data, Mapping) or not isinstance(network, Mapping):
        return raw
    if data.get("name") not in EVENT_DATASETS:
        return raw
    return {**raw, "network": {"encoder": EVENT_ENCODER, **network}}


class EventsConfig(Model):
    """How recordings are read and binned to frames (docs/events.md)."""

    duration_ms: float | None = Field(
        default=None,
        gt=0,
        le=1e7,
        description="milliseconds of each recording that a network sees, cut into T equal bins; "
        "null: the data set's usual ones",
    )
    downsample: int = Field(
        default=1,
        ge=1,
        le=64,
        description="side of the square of sensor pixels whose events are counted together",
    )
    width: int | None = Field(
        default=None, ge=1, le=4096, description="columns of the sensor; for event-folder alone"
    )
    height: int | None = Field(
        default=None, ge=1, le=4096, description="rows of the sensor; for event-folder alone"
    )
    partial: bool = Field(
        default=False, description="accept fewer recordings than the data set was published with"
    )
