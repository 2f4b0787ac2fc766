"""What a sampler knows of a trial: `Observation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np

from latsearch import pareto
from latsearch.config import Value
from latsearch.objectives import DecisionCurve, FloatArray
from latsearch.search.results import Constraints, Objectives, best_rows, curve_losses, violations
from latsearch.search.trials import SCREENED

_HALVINGS = 4  # of a trial's budget, at which a model sees its curve
_ROWS_A_TRIAL = 4  # a curve's rows that a model sees; more weigh one training too much


@dataclass(frozen=True, eq=False)
class Stage:
    """What a training had reached at some of its epochs.

    Attributes:
        share: of its full budget of epochs; of a screening, what its samples are of it.
        seconds: of training until there.
        losses: ``[R, M]`` rows of its curve that keep the constraints, in order of rising
            decision threshold; where none does, the least violating ones.
        violation: by how much they break the constraints; 0 where they keep them.
    """

    share: float
    seconds: float
    losses: FloatArray
    violation: float


@dataclass(frozen=True, eq=False)
class Observation:
    """What a sampler knows of one trial.

    Attributes:
        values: values of its searched parameters.
        losses: ``[R, M]`` rows of its curve on the scale of fronts, M objectives, in order of
            rising decision threshold; None while it runs. No rows where it failed or was stopped
            early: what was measured before the full budget is no figure of a full training.
        violation: by how much its rows break the constraints; 0 where they keep them, inf where
            the point was refused without a training.
        stages: what it had reached at its last epoch, and at a half, a quarter, … of its budget;
            of ended trials, those that were stopped early among them.
    """

    values: Mapping[str, Value]
    losses: FloatArray | None
    violation: float = 0.0
    stages: tuple[Stage, ...] = ()

    @property
    def trained(self) -> bool:
        """Whether it was trained, and has ended."""
        return self.losses is not None and self.violation < np.inf

    @property
    def measured(self) -> bool:
        """Whether a full training measured it."""
        return self.losses is not None and len(self.losses) > 0


def observe(
    values: Mapping[str, Value],
    curve: DecisionCurve | None,
    objectives: Objectives,
    constraints: Constraints,
) -> Observation:
    """The observation of an ended trial; ``curve`` is None where it failed or was stopped."""
    if curve is None:
        return Observation(values, np.empty((0, len(objectives))))
    losses = curve_losses(curve, objectives)
    rows = best_rows(curve, objectives, constraints)
    if not rows:
        broken = violations(curve, constraints)
        least = int(np.argmin(broken))
        return Observation(values, losses[[least]], float(broken[least]))
    chosen = losses[rows]
    worst = chosen.max(axis=0) + 1e-9
    return Observation(values, chosen[pareto.thin(chosen, worst, _ROWS_A_TRIAL)])


def stages(
    log: Mapping[int, Mapping[str, Any]],
    budget: int,
    objectives: Objectives,
    constraints: Constraints,
    screening: float = 0.0,
) -> tuple[Stage, ...]:
    """What a trial had reached at the epochs that a model is shown.

    Args:
        log: its reports as JSON objects by epoch.
        budget: epochs of its full training.
        objectives: of the study.
        constraints: of the study.
        screening: samples of the screening, in epochs of the full training; of its report alone.
    """
    if not log:
        return ()
    halves = {budget >> k for k in range(_HALVINGS)}
    found, seconds = [], 0.0
    for epoch in sorted(log):
        seconds += float(log[epoch]["seconds"])
        if epoch in halves or epoch in (SCREENED, max(log)):
            curve = DecisionCurve.from_json(log[epoch]["curve"])
            losses = curve_losses(curve, objectives)
            broken = violations(curve, constraints)
            kept = np.flatnonzero(broken <= max(0.0, broken.min()))
            share = (epoch or screening) / budget
            found.append(Stage(share, seconds, losses[kept], float(broken.min())))
    return tuple(found)


def best(history: Sequence[Observation], most: int) -> list[Observation]:
    """At most ``most`` observations in their order: those with a row on the best fronts.

    Where there are more, only measured ones that keep the constraints are among them.
    """
    if len(history) <= most:
        return list(history)
    able = [i for i, seen in enumerate(history) if seen.measured and seen.violation <= 0]
    if not able:
        return []
    rows = [np.asarray(history[i].losses) for i in able]
    starts = np.cumsum([0, *(len(losses) for losses in rows[:-1])])
    fronts = np.minimum.reduceat(moocore.pareto_rank(np.concatenate(rows)), starts)
    chosen = sorted(able[i] for i in np.argsort(fronts, kind="stable")[:most])
    return [history[i] for i in chosen]


def best_and_newest(history: Sequence[Observation], most: int) -> list[Observation]:
    """At most ``most`` observations in their order: half of them the newest, the others the best.

    It keeps the cost of a proposal flat in long studies.
    """
    if len(history) <= most:
        return list(history)
    newest = len(history) - most // 2
    return [*best(history[:newest], most - most // 2), *history[newest:]]
