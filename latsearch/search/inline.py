"""The executor without Ray: one trial after the other in this process, for debugging."""

from __future__ import annotations

import time

from latsearch.data import Splits
from latsearch.objectives import EpochReport
from latsearch.search.driver import Trainings
from latsearch.search.interrupts import check
from latsearch.search.worker import Failure, Work, WorkerSettings, ran, take_failure


def run_inline(
    search: Trainings, splits: Splits, settings: WorkerSettings, deadline: float | None
) -> None:
    """Run the search until it is done or the deadline (`time.monotonic`) has passed."""

    def late() -> bool:
        return deadline is not None and time.monotonic() >= deadline

    def step(work: Work | None) -> tuple[Work | None, EpochReport | Failure]:
        """The next epoch; a work that failed is given up with all its memory."""
        try:
            work = work or Work(assignment, splits, settings)
            return work, work.step()
        except Exception as error:  # whatever a training raises fails its trial, not the study
            return None, Failure.of(error, ran(assignment, settings))

    while not search.done and not late():
        check()
        assignment = search.ask()
        work: Work | None = None
        while not late():
            work, told = step(work)
            if isinstance(told, Failure):
                take_failure(search, assignment.number, told)
                break
            if not search.report(assignment.number, told):
                break
            if told.epoch >= assignment.trial.train.epochs:
                search.complete(assignment.number)
                break
