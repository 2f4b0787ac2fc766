"""How much each parameter matters to each objective, by Optuna's PED-ANOVA."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from latsearch.config import Parameter
from latsearch.objectives import OBJECTIVES
from latsearch.report.content import Knee

FEWEST_TRIALS = 10


@dataclass(frozen=True)
class Importance:
    """Importance of the parameters, or why there is none.

    Attributes:
        shares: by objective and parameter; those of an objective add up to 1.
        missing: what is not there and why, one sentence each.
    """

    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    missing: Sequence[str] = ()


def importance(
    knees: Sequence[Knee], parameters: Sequence[Parameter], objectives: Sequence[str]
) -> Importance:
    """Importance of the parameters that every complete trial has.

    Args:
        knees: of the complete trials.
        parameters: what is searched.
        objectives: names of the objectives.
    """
    if len(knees) < FEWEST_TRIALS:
        return Importance(
            missing=[
                f"Importance needs at least {FEWEST_TRIALS} complete trials; there are "
                f"{len(knees)}."
            ]
        )
    everywhere = [p for p in parameters if all(p.name in knee.params for knee in knees)]
    missing = [
        f"{p.name} is searched in some of the trials only." for p in parameters
        if p not in everywhere
    ]  # fmt: skip
    shares = {}
    for objective in objectives:
        found = _ped_anova(knees, everywhere, objective)
        if found is None:
            missing.append(f"It cannot be told for {objective}: the trials do not differ enough.")
        else:
            shares[objective] = found
    return Importance(shares, missing)


def _ped_anova(
    knees: Sequence[Knee], parameters: Sequence[Parameter], objective: str
) -> Mapping[str, float] | None:
    """Shares by parameter, those of the largest first; None where they do not exist."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    from latsearch.search.distributions import distribution

    distributions = {p.name: distribution(p) for p in parameters}
    measured = [knee for knee in knees if math.isfinite(knee.metrics[objective])]
    study = optuna.create_study(direction=OBJECTIVES[objective].direction)
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: knee.params[name] for name in distributions},
                distributions=distributions,
                value=knee.metrics[objective],
            )
            for knee in measured
        ]
    )
    if not distributions or len({knee.metrics[objective] for knee in measured}) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
        except (RuntimeError, ValueError):  # no trial is better than the others
            return None
    return found if all(math.isfinite(share) for share in found.values()) else None
