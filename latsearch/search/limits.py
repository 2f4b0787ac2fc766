"""Constraints that are known to be broken before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping

from latsearch.config import PROFILES, NetworkConfig, StudyConfig, Value
from latsearch.errors import LatsearchError
from latsearch.objectives import BEFORE_TRAINING


class Limits:
    """The study's constraints on a network's size: its weights are never made.

    Args:
        config: the study.
        input_shape: ``(C, H, W)`` of its images.
        classes: how many.
    """

    def __init__(self, config: StudyConfig, input_shape: tuple[int, int, int], classes: int):
        self._space = config.space
        self._profile = PROFILES[config.energy.profile]
        self._shape = input_shape
        self._classes = classes
        self._bounds = {n: b for n, b in config.constraints.items() if n in BEFORE_TRAINING}
        self._known: dict[NetworkConfig, str | None] = {}

    def broken(self, values: Mapping[str, Value]) -> str | None:
        """Which constraint a trial with these values would break, in words; None for none.

        A network that does not fit the images breaks none: its trial says so by itself.
        """
        if not self._bounds:
            return None
        network = self._space.trial(values).network
        if network not in self._known:
            self._known[network] = self._check(network)
        return self._known[network]

    def _check(self, network: NetworkConfig) -> str | None:
        try:
            figures = self.figures(network)
        except LatsearchError:
            return None
        for name, bound in self._bounds.items():
            value = figures[name]
            if bound.max is not None and value > bound.max:
                return f"{name} = {value:,.10g} is above constraints.{name}.max = {bound.max:,g}"
            if bound.min is not None and value < bound.min:
                return f"{name} = {value:,.10g} is below constraints.{name}.min = {bound.min:,g}"
        return None

    def figures(self, network: NetworkConfig) -> dict[str, float]:
        """The network's figures by the names of `BEFORE_TRAINING`."""
        # torch takes seconds to import: only a study with such a constraint waits for it
        from latsearch.snn.energy import dense_energy, dense_operations
        from latsearch.snn.networks import build_any

        built = build_any(network, self._shape, self._classes, meta=True)
        return {
            "parameters": float(built.parameter_count()),
            "macs": sum(dense_operations(built)),
            "energy_bound": dense_energy(built, self._profile),
        }
