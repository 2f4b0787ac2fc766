"""Our search as it is compared: its defaults, frozen on digits, and without each ingredient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latsearch.config import ScreeningConfig, StoppingConfig, StudyConfig

# what docs/latbench.md calls ours; chosen on digits alone
STOPPING = StoppingConfig(rule="halving", reduction_factor=2, min_epochs=3)
SAMPLER = "curves"
SCREENING = ScreeningConfig(data=0.125, epochs=2, reduction_factor=2)  # recorded of one grid


@dataclass(frozen=True)
class Variant:
    """Our search, whole or without something.

    Attributes:
        curves: whether a training is a curve, or its knee row alone.
        search: settings of the study's section `search`.
        costs: whether the sampler knows what trainings cost, or takes them all for equal.
        ceilings: whether it knows the most that configurations allow.
    """

    curves: bool
    search: Mapping[str, Any]
    costs: bool = True
    ceilings: bool = True

    def study(self, study: StudyConfig, seed: int, trials: int) -> StudyConfig:
        """The grid's study with these settings."""
        update = {"seed": seed, "trials": trials, **self.search}
        return study.model_copy(update={"search": study.search.model_copy(update=update)})


_OURS = {"sampler": SAMPLER, "stopping": STOPPING}
VARIANTS: Mapping[str, Variant] = {
    "ours": Variant(True, _OURS),
    "ours-without-curves": Variant(False, _OURS),
    "ours-without-stopping": Variant(True, {**_OURS, "stopping": None}),
    "ours-without-costs": Variant(True, _OURS, costs=False),
    "ours-without-ceilings": Variant(True, _OURS, ceilings=False),
    "ours-with-tpe": Variant(True, {**_OURS, "sampler": "tpe"}),
    "ours-with-gp": Variant(True, {**_OURS, "sampler": "gp"}),
    "ours-with-random": Variant(True, {**_OURS, "sampler": "random"}),
}


_ALONE = {"stopping": None}
# what a screening is worth, beside early stopping and in its place
SCREENED: Mapping[str, Variant] = {
    "ours-with-screening": Variant(True, {**_OURS, "screening": SCREENING}),
    "ours-screened-tpe": Variant(True, {**_ALONE, "sampler": "tpe", "screening": SCREENING}),
    "ours-full-tpe": Variant(True, {**_ALONE, "sampler": "tpe"}),
    "ours-screened-random": Variant(True, {**_ALONE, "sampler": "random", "screening": SCREENING}),
    "ours-full-random": Variant(True, {**_ALONE, "sampler": "random"}),
}


def variant(name: str) -> Variant:
    """A variant by its name."""
    return {**VARIANTS, **SCREENED}[name]
