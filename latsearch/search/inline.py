"""The executor without Ray: one trial after the other in this process, for debugging."""

from __future__ import annotations

import time

from latsearch.data import Splits
from latsearch.search.driver import Trainings
from latsearch.search.worker import Failure, Work, WorkerSettings


def run_inline(
    search: Trainings, splits: Splits, settings: WorkerSettings, deadline: float | None
) -> None:
    """Run the search until it is done or the deadline (`time.monotonic`) has passed."""

    def late() -> bool:
        return deadline is not None and time.monotonic() >= deadline

    while not search.done and not late():
        assignment = search.ask()
        try:
            work = Work(assignment, splits, settings)
            while not work.done:
                if late():
                    return
                if not search.report(assignment.number, work.step()):
                    break
            else:
                search.complete(assignment.number)
        except Exception as error:  # whatever a training raises fails its trial, not the study
            failure = Failure.of(error)
            if failure.again:
                search.crash(assignment.number, failure.reason)
            else:
                search.fail(assignment.number, failure.reason, failure.trace)
