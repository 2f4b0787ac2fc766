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
    """Importance of the parameters to each objective.

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
    shares, missing = {}, []
    for objective in objectives:
        found = _ped_anova(knees, parameters, objective)
        if found is None:
            missing.append(f"It cannot be told for {objective}: the trials do not differ enough.")
        else:
            shares[objective] = found
    missing += [
        f"{parameter.name} is searched in some of the trials only: its share is less certain."
        for parameter in parameters
        if shares and any(parameter.name not in knee.params for knee in knees)
    ]
    return Importance(shares, missing)


def _ped_anova(
    knees: Sequence[Knee], parameters: Sequence[Parameter], objective: str
) -> Mapping[str, float] | None:
    """Shares by parameter, the largest first; None where nothing sets the better trials apart."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    from latsearch.search.distributions import distribution

    distributions = {p.name: distribution(p) for p in parameters}
    study = optuna.create_study(direction=OBJECTIVES[objective].direction)
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=dict(knee.params),
                distributions={name: distributions[name] for name in knee.params},
                value=knee.metrics[objective],
            )
            for knee in knees
            if math.isfinite(knee.metrics[objective])
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is experimental, or that all shares are 0
        evaluator = PedAnovaImportanceEvaluator()
        found = get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(found.values())
    return {name: value / total for name, value in found.items()} if total > 0 else None
