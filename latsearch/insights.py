"""What mattered in a search: importance of its parameters, and slices through its trials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from latsearch.config import StudyConfig
from latsearch.errors import UserError
from latsearch.runs import DEFAULT_RUNS, Runs, find_study
from latsearch.search.storage import Study

if TYPE_CHECKING:  # the report's imports wait until they are needed
    from latsearch.report.content import Knee
    from latsearch.report.importance import Importance
    from latsearch.report.slices import Slice


def importance(run: str | Path, runs: Runs = DEFAULT_RUNS) -> Importance:
    """How much each parameter of a study mattered to each objective, of its complete trials."""
    from latsearch.report.importance import importance as shares_of

    config, knees = _knees(run, runs)
    return shares_of(knees, config.space.parameters, tuple(config.objectives))


def slices(run: str | Path, parameter: str, runs: Runs = DEFAULT_RUNS) -> list[Slice]:
    """What the complete trials of a study reached, by their values of a parameter.

    Raises:
        UserError: the study does not search it.
    """
    from latsearch.report.slices import slices as slices_of

    config, knees = _knees(run, runs)
    searched = {known.name: known for known in config.space.parameters}
    if parameter not in searched:
        raise UserError(
            f"--slice {parameter!r}: is not searched by this study; it searches "
            f"{', '.join(searched) or 'nothing'}"
        )
    return slices_of(knees, searched[parameter], tuple(config.objectives))


def _knees(run: str | Path, runs: Runs) -> tuple[StudyConfig, list[Knee]]:
    """A study's configuration, and the knee rows of its complete trials."""
    from latsearch.report.content import knees_of

    study = Study.open(find_study(run, runs))
    return study.config, knees_of(study.trials(), study.config)
