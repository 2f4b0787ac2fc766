"""The most that a network's figures can be, computed before it is trained: `Ceilings`."""

from __future__ import annotations

from collections.abc import Mapping

from latsearch.config import PROFILES, StudyConfig, Value


class Ceilings:
    """The largest latency and energy of a configuration, whatever it learns.

    Latency: a decision at T, delayed by the layers where those delay spikes; in the unit of the
    study's latencies. Energy: every neuron spikes at every timestep. Only those that are
    objectives are computed; the network's weights are never made, but for code of the user's.

    Args:
        config: the study.
        input_shape: ``(C, H, W)`` of its images, ``(P, H, W)`` of event frames.
        classes: how many.
        duration_ms: of a recording of events; None for images.
    """

    def __init__(
        self,
        config: StudyConfig,
        input_shape: tuple[int, int, int],
        classes: int,
        duration_ms: float | None = None,
    ):
        self._config = config
        self._shape = input_shape
        self._classes = classes
        self._duration_ms = duration_ms

    def __call__(self, values: Mapping[str, Value]) -> dict[str, float]:
        """The ceilings by objective, in the objective's unit.

        Raises:
            LatsearchError: the network does not fit the data, is code that fails, or cannot be
                counted.
        """
        objectives = self._config.objectives
        if not {"latency", "energy"} & {*objectives}:
            return {}
        # torch takes seconds to import: only a search that asks for ceilings waits for it
        from latsearch.snn.energy import dense_energy
        from latsearch.snn.networks import build_any
        from latsearch.snn.pipeline import delay_of

        network = self._config.space.trial(values).network
        built = build_any(network, self._shape, self._classes, meta=True)
        found = {}
        if "latency" in objectives:
            timestep = 1.0 if self._duration_ms is None else self._duration_ms / network.timesteps
            found["latency"] = timestep * (network.timesteps + delay_of(built))
        if "energy" in objectives:
            found["energy"] = dense_energy(built, PROFILES[self._config.energy.profile])
        return found
