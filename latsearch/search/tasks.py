"""Functions of the data called on Ray's workers, or in this process: what is no training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from latsearch.data import Splits
from latsearch.errors import LatsearchError, StudyFailed
from latsearch.search.nodes import Resources
from latsearch.search.worker import limit_threads

import ray  # isort: skip  (nodes.py sets its environment)

T = TypeVar("T")
Task = Callable[[Splits, T], Any]
Make = Callable[[], T]

_ATTEMPTS = 2  # more where a worker dies


def run_tasks(
    task: Task[T], items: Sequence[Make[T]], splits: Splits, resources: Resources
) -> Iterator[tuple[int, Any]]:
    """Call a function for each item on Ray; answers as they come, with the item's index.

    Args:
        task: takes the splits and an item; a function of a module.
        items: each makes an item when its turn comes, as one may hold a large network.
        splits: placed once in the shared memory of each node.
        resources: what a call takes, and how many run at a time.

    Raises:
        LatsearchError: one that the function raised.
        StudyFailed: a worker died again and again, or raised something else.
    """
    placed = ray.put(splits)
    amounts = dict(resources.per_trial)
    cpus, gpus = amounts.pop("CPU", 0.0), amounts.pop("GPU", 0.0)
    remote = ray.remote(num_cpus=cpus, num_gpus=gpus, resources=amounts, max_retries=_ATTEMPTS)(
        _call
    )
    waiting = list(enumerate(items))
    running: dict[Any, int] = {}
    while waiting or running:
        while waiting and len(running) < resources.workers:
            index, make = waiting.pop(0)
            running[remote.remote(task, placed, make(), cpus)] = index
        done, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
        for reference in done:
            yield running.pop(reference), _answer(reference)


def _call(task: Task[T], splits: Splits, item: T, cpus: float) -> Any:
    limit_threads(cpus)
    return task(splits, item)


def _answer(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, LatsearchError):
            raise error.cause from None
        cause = error.cause
        raise StudyFailed(f"{type(cause).__name__}: {cause}") from error
    except ray.exceptions.RayError as error:
        raise StudyFailed(
            f"a worker died again and again: {str(error).strip().splitlines()[0]}"
        ) from error
