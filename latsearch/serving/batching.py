"""Micro-batching: what waits for the network goes through it together.

No request waits for others to come: while one batch is computed the next one gathers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from latsearch.snn.decoding import Decision

Decide = Callable[[Tensor], Decision]


class Busy(Exception):
    """More images wait than may; nothing was taken."""


@dataclass(eq=False)
class _Waiting:
    """Images of one request, and where their decisions go."""

    images: Tensor
    answer: asyncio.Future[Decision]


class Batcher:
    """Runs a network on batches of whatever waits, on a thread of its own.

    Made and used in one event loop.

    Args:
        decide: the network: decisions of images ``[n, ...]``.
        max_batch: images of a batch at most.
        max_waiting: images that may wait.

    Attributes:
        batches: how many have gone through.
        images: how many images they held.
    """

    def __init__(self, decide: Decide, *, max_batch: int, max_waiting: int):
        self._decide = decide
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._queue: deque[_Waiting] = deque()
        self._count = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._running: asyncio.Task[None] | None = None
        self.batches = 0
        self.images = 0

    @property
    def waiting(self) -> int:
        """Images that wait, those of the batch being computed not among them."""
        return self._count

    async def submit(self, images: Tensor) -> Decision:
        """The decisions of images ``[n, ...]``.

        Raises:
            Busy: too many wait already.
            Exception: whatever the network raised.
        """
        if self._count + len(images) > self._max_waiting:
            raise Busy(f"{self._count} images wait already, {self._max_waiting} may")
        one = _Waiting(images, asyncio.get_running_loop().create_future())
        self._queue.append(one)
        self._count += len(images)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        try:
            return await one.answer
        finally:
            self._forget(one)

    async def close(self) -> None:
        """Wait for what is in the queue, and end the thread."""
        if self._running is not None:
            await self._running
        self._pool.shutdown()

    def _forget(self, one: _Waiting) -> None:
        """Take a request out of the queue whose client has gone."""
        if one in self._queue:
            self._queue.remove(one)
            self._count -= len(one.images)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                batch = self._next()
                images = torch.cat([one.images for one in batch])
                try:
                    decision = await loop.run_in_executor(self._pool, self._decide, images)
                except Exception as error:  # whatever it is, the requests have to be told
                    for one in batch:
                        _answer(one, error)
                    continue
                self.batches += 1
                self.images += len(images)
                start = 0
                for one in batch:
                    end = start + len(one.images)
                    _answer(one, _rows(decision, start, end))
                    start = end
        finally:
            self._running = None

    def _next(self) -> list[_Waiting]:
        """The longest waiting requests that fit into a batch together; one at least."""
        batch = [self._queue.popleft()]
        size = len(batch[0].images)
        while self._queue and size + len(self._queue[0].images) <= self._max_batch:
            batch.append(self._queue.popleft())
            size += len(batch[-1].images)
        self._count -= size
        return batch


def _answer(one: _Waiting, answer: Decision | Exception) -> None:
    if one.answer.done():  # its client has gone
        return
    if isinstance(answer, Exception):
        one.answer.set_exception(answer)
    else:
        one.answer.set_result(answer)


def _rows(decision: Decision, start: int, end: int) -> Decision:
    return Decision(*(getattr(decision, field.name)[start:end] for field in fields(Decision)))
