"""Requests that wait together are computed together, and get their own rows."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from latsearch.serving.batching import Batcher, Busy
from latsearch.snn.decoding import Decision


class Network:
    """Answers each image with its own number, once it is let."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, images: Tensor) -> Decision:
        self.sizes.append(len(images))
        self.entered.release()
        assert self.gate.wait(60)
        if (images < 0).any():
            raise ValueError("negative")
        numbers = images[:, 0].numpy().astype(np.int64)
        no = np.zeros(len(images), np.bool_)
        return Decision(numbers, numbers + 1, no, no)


def images(*numbers: int) -> Tensor:
    return torch.tensor(numbers).float()[:, None]


async def until_entered(network: Network) -> None:
    assert await asyncio.to_thread(network.entered.acquire, timeout=60)


def test_what_waits_goes_together() -> None:
    async def scenario() -> None:
        network = Network()
        batcher = Batcher(network, max_batch=4, max_waiting=100)
        network.gate.clear()
        first = asyncio.create_task(batcher.submit(images(1)))
        await until_entered(network)
        others = [asyncio.create_task(batcher.submit(images(*n))) for n in ([2, 3], [4], [5, 6])]
        await asyncio.sleep(0)
        assert batcher.waiting == 5
        network.gate.set()
        answers = await asyncio.gather(first, *others)
        assert [a.prediction.tolist() for a in answers] == [[1], [2, 3], [4], [5, 6]]
        assert network.sizes == [1, 3, 2]  # a request is not torn apart
        assert (batcher.batches, batcher.images, batcher.waiting) == (3, 6, 0)
        await batcher.close()

    asyncio.run(scenario())


def test_a_request_larger_than_a_batch_goes_alone() -> None:
    async def scenario() -> None:
        network = Network()
        batcher = Batcher(network, max_batch=2, max_waiting=100)
        answer = await batcher.submit(images(*range(7)))
        assert answer.prediction.tolist() == list(range(7))
        assert network.sizes == [7]
        await batcher.close()

    asyncio.run(scenario())


def test_too_much_is_turned_away() -> None:
    async def scenario() -> None:
        network = Network()
        batcher = Batcher(network, max_batch=4, max_waiting=3)
        network.gate.clear()
        first = asyncio.create_task(batcher.submit(images(1)))
        await until_entered(network)
        waiting = asyncio.create_task(batcher.submit(images(2, 3)))
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="2 images wait already, 3 may"):
            await batcher.submit(images(4, 5))
        last = asyncio.create_task(batcher.submit(images(6)))  # one has room
        await asyncio.sleep(0)
        network.gate.set()
        answers = await asyncio.gather(first, waiting, last)
        assert [a.prediction.tolist() for a in answers] == [[1], [2, 3], [6]]
        await batcher.close()

    asyncio.run(scenario())


def test_a_client_that_leaves_gives_its_place_back() -> None:
    async def scenario() -> None:
        network = Network()
        batcher = Batcher(network, max_batch=4, max_waiting=2)
        network.gate.clear()
        first = asyncio.create_task(batcher.submit(images(1)))
        await until_entered(network)
        gone = asyncio.create_task(batcher.submit(images(2, 3)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        assert batcher.waiting == 0
        after = asyncio.create_task(batcher.submit(images(4, 5)))
        await asyncio.sleep(0)
        network.gate.set()
        assert (await after).prediction.tolist() == [4, 5]
        assert (await first).prediction.tolist() == [1]
        assert network.sizes == [1, 2]
        await batcher.close()

    asyncio.run(scenario())


def test_a_failure_is_told_and_the_next_batch_goes_on() -> None:
    async def scenario() -> None:
        network = Network()
        batcher = Batcher(network, max_batch=4, max_waiting=10)
        with pytest.raises(ValueError, match="negative"):
            await batcher.submit(images(-1))
        assert (await batcher.submit(images(7))).prediction.tolist() == [7]
        await batcher.close()

    asyncio.run(scenario())
