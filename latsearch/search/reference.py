"""The reference point of a study's hypervolumes: the worst that a network of its space could be."""

from __future__ import annotations

import random
from collections.abc import Iterator

from latsearch.config import PROFILES, Parameter, Space, StudyConfig, TrialConfig, Value
from latsearch.data import Splits
from latsearch.errors import LatsearchError, UserError
from latsearch.snn.energy import dense_energy
from latsearch.snn.networks import Network, build_any
from latsearch.snn.pipeline import delay_of

_DRAWS = 16  # of the unordered choices, for each family


def reference_point(config: StudyConfig, splits: Splits) -> dict[str, float]:
    """Accuracy of guessing, latency T of the longest network, energy of the densest one.

    Where layers delay spikes the largest delay is added to the latency. Latencies of event data are
    in milliseconds of recording, the longest of which is all of it.

    Raises:
        UserError: no network of the space can be built for these images.
    """
    networks = _densest_networks(config, splits)
    # where T = 1 is the only choice a reference at T would leave every hypervolume at 0
    steps = max(config.space.largest("network.timesteps"), 2.0)
    delay = max(map(delay_of, networks))
    latency = steps + delay
    if splits.duration_ms is not None:
        fewest = max(1, config.space.integers("network.timesteps")[0])
        latency = splits.duration_ms * (1 + delay / fewest)
    profile = PROFILES[config.energy.profile]
    worst = {
        "accuracy": 1 / splits.classes,
        "robust_accuracy": 1 / splits.classes,
        "latency": latency,
    }
    if {"energy", "macs", "energy_bound"} & {*config.objectives, *config.constraints}:
        worst["energy"] = max(dense_energy(network, profile) for network in networks)
    return {name: worst[name] for name in config.objectives}


def _densest_networks(config: StudyConfig, splits: Splits) -> list[Network]:
    """Networks of the space, without memory for weights, some of which are the largest."""
    networks, fault = [], None
    for trial in _largest_trials(config.space):
        try:
            network = build_any(trial.network, splits.input_shape, splits.classes, meta=True)
        except LatsearchError as error:
            fault = error
            continue
        networks.append(network)
    if not networks:
        raise UserError(f"no network of the space fits {splits.name}: {fault}")
    return networks


def _largest_trials(space: Space) -> Iterator[TrialConfig]:
    """Trials with every number at its largest, for each family and random other choices."""
    generator = random.Random(0)
    for family in space.domain("network.family") or ():
        for _ in range(_DRAWS):

            def densest(parameter: Parameter, family: Value = family) -> Value:
                is_family = parameter.name == "network.family"
                return family if is_family else _densest(parameter, generator)

            yield space.trial(space.ask(densest))


def _densest(parameter: Parameter, generator: random.Random) -> Value:
    """The value with which a network has the most operations; a random one of unordered choices."""
    smallest = parameter.name == "network.stem_stride"  # the smaller, the more positions
    if parameter.kind != "categorical":
        end = parameter.low if smallest else parameter.high
        return int(end or 0) if parameter.kind == "int" else end
    numbers = [choice for choice in parameter.choices if isinstance(choice, int | float)]
    if not numbers:
        return generator.choice(parameter.choices)
    return min(numbers) if smallest else max(numbers)
