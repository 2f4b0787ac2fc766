"""A warm start: what the sampler is shown of earlier studies, which stay as they are.

Their trials are observations, never trials of this study. What was taken is kept with the study,
so that it goes on the same where an earlier one was changed or deleted meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from latsearch.config import Space, StudyConfig, TrialConfig, Value
from latsearch.errors import UserError
from latsearch.objectives import FloatArray
from latsearch.search.history import CHUNK
from latsearch.search.observations import Observation, Stage, best, observe, stages
from latsearch.search.storage import Study
from latsearch.search.trials import TrialState

_WORTH_NAMING = 3  # reasons for which trials are skipped


def warm_start(
    study: Study, find: Callable[[str], Path], tell: Callable[[str], None]
) -> Sequence[Observation]:
    """Observations of the earlier studies that a study is to start from.

    Args:
        study: opened to be driven.
        find: the folder of a study by its name or folder.
        tell: takes a line about what was taken, the first time.

    Raises:
        StudyError: there is no such study.
        UserError: it has other data, objectives or prices, or none of its trials fits the space.
    """
    wanted = list(study.config.search.warm_start)
    if not wanted:
        return []
    known = study.warm_start
    if known is None or known["from"] != wanted:
        taken: list[Observation] = []
        for name in wanted:
            found, line = _taken(study, Study.open(find(name)), name)
            taken += found
            tell(line)
        rows = [_to_json(seen) for seen in best(taken, CHUNK)]
        known = {"from": wanted, "observations": rows}
        study.note_warm_start(known)
    return [_from_json(row, len(study.config.objectives)) for row in known["observations"]]


def _taken(study: Study, other: Study, name: str) -> tuple[list[Observation], str]:
    """Observations of another study, and a line that says how many there are."""
    config = study.config
    if other.folder.resolve() == study.folder.resolve():
        raise UserError(f"search.warm_start: {name} is this study itself; leave it out")
    _check(config, other.config, name)
    found, skipped = [], Counter[str]()
    records = other.trials()
    for record in records:
        if record.state is not TrialState.COMPLETE:
            skipped[f"{record.state}"] += 1
            continue
        values = _translated(other.config.space.trial(record.values), config.space)
        if isinstance(values, str):
            skipped[f"outside the space in {values}"] += 1
            continue
        objectives = tuple(config.objectives)
        seen = observe(values, record.curve, objectives, config.constraints)
        cost = other.config.search.screening_cost
        reached = stages(record.log, record.epoch, objectives, config.constraints, cost)
        found.append(replace(seen, stages=reached))
    line = f"warm start from {name}: {len(found)} of {len(records)} trials"
    if skipped:
        reasons = [f"{count} {reason}" for reason, count in skipped.most_common(_WORTH_NAMING)]
        more = len(skipped) - len(reasons)
        line += f"; skipped: {', '.join(reasons)}" + (f", {more} more reasons" if more > 0 else "")
    if not found:
        raise UserError(f"search.warm_start: nothing to learn from: {line}; leave it out")
    return found, line


def _check(ours: StudyConfig, theirs: StudyConfig, name: str) -> None:
    """Refuse a study whose figures are not comparable."""
    pairs: list[tuple[str, Any, Any]] = [
        ("objectives", list(ours.objectives), list(theirs.objectives)),
        ("energy profile", ours.energy.model_dump(), theirs.energy.model_dump()),
    ]
    mine = ours.data.model_dump(mode="json", exclude={"root"})
    other = theirs.data.model_dump(mode="json", exclude={"root"})
    pairs += [(f"data.{key}", mine[key], other.get(key)) for key in mine]
    for what, one, two in pairs:
        if one != two:
            raise UserError(
                f"search.warm_start: {name} has another {what} ({two}, this study {one}): its "
                "figures say nothing about this one; leave it out"
            )


def _translated(trial: TrialConfig, space: Space) -> dict[str, Value] | str:
    """A trial's values in another space, or the first field in which it lies outside of it."""
    theirs = _flat(trial.to_json())
    values = space.ask(lambda parameter: theirs.get(parameter.name))
    for parameter in space.parameters:
        if parameter.name in values and not parameter.searches(values[parameter.name]):
            return parameter.name
    ours = _flat(space.trial(values).to_json())
    differing = sorted(
        name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
    )
    return differing[0] if differing else values


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one, by dotted names."""
    if isinstance(data, Mapping):
        items = [(str(key), value) for key, value in data.items()]
    elif isinstance(data, list | tuple):
        items = [(str(index), value) for index, value in enumerate(data)]
    else:
        return {prefix: data}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return flat


def _to_json(seen: Observation) -> dict[str, Any]:
    return {
        "values": dict(seen.values),
        "losses": np.asarray(seen.losses).tolist(),
        "violation": seen.violation,
        "stages": [
            {**vars(stage), "losses": np.asarray(stage.losses).tolist()} for stage in seen.stages
        ],
    }


def _from_json(data: Mapping[str, Any], objectives: int) -> Observation:
    def array(rows: Any) -> FloatArray:
        return np.array(rows, dtype=float).reshape(-1, objectives)

    return Observation(
        values=data["values"],
        losses=array(data["losses"]),
        violation=float(data["violation"]),
        stages=tuple(Stage(**{**s, "losses": array(s["losses"])}) for s in data["stages"]),
    )
