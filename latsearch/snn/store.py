"""Samples where batches of them can be taken: on the device where they fit, else streamed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latsearch.snn.images import as_tensor

_SHARE = 0.25  # of a GPU's free memory that the samples may take
_AHEAD = 2  # batches on their way while one is used


class SampleStore:
    """Pixels of samples, of which batches arrive on a device.

    On a CPU they stay where they are, e.g. in a file that all processes map into memory. On a GPU
    they are copied there once where they take less than a quarter of its free memory; otherwise a
    thread gathers the next batches in page-locked memory while the device works.

    Args:
        pixels: ``[M, ...]`` uint8, which are not changed.
        rows: ``[N]``, which of the pixels are the samples; None: all of them.
        device: where batches are wanted.
        resident: whether to copy them to the device; None: where they fit.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        rows: NDArray[np.intp] | None,
        device: torch.device | str,
        *,
        resident: bool | None = None,
    ):
        self.device = torch.device(device)
        self._rows = None if rows is None else torch.from_numpy(np.asarray(rows, dtype=np.int64))
        self._host = as_tensor(pixels, "cpu")
        self.resident = self._fits() if resident is None else resident
        if self.resident and self.device.type != "cpu":
            whole = self._host if self._rows is None else self._host.index_select(0, self._rows)
            self._host = whole.to(self.device)
            self._rows = None

    def __len__(self) -> int:
        return len(self._host if self._rows is None else self._rows)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """The samples at each of the indices, on the device."""
        if self.resident:
            yield from map(self._gathered, indices)
            return
        waiting: deque[Future[Tensor]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="gather") as pool:
            for index in indices:
                waiting.append(pool.submit(self._sent, index))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def split(self, size: int) -> Iterator[Tensor]:
        """All samples in order, in batches of a size."""
        return self.batches(torch.split(torch.arange(len(self)), size))

    def first(self, count: int) -> SampleStore:
        """The first samples alone."""
        part = object.__new__(SampleStore)
        part.device, part.resident, part._host = self.device, self.resident, self._host
        rows = torch.arange(len(self)) if self._rows is None else self._rows
        part._rows = rows[:count].to(self._host.device)
        return part

    def _gathered(self, index: Tensor) -> Tensor:
        """Samples from where the pixels are."""
        place = self._host.device
        rows = index.to(place) if self._rows is None else self._rows[index.to(self._rows.device)]
        return self._host.index_select(0, rows.to(place))

    def _sent(self, index: Tensor) -> Tensor:
        batch = self._gathered(index)
        if self.device.type == "cuda":
            batch = batch.pin_memory()  # or the copy would not run beside the computation
        return batch.to(self.device, non_blocking=True)

    def _fits(self) -> bool:
        if self.device.type != "cuda":
            return True
        free = torch.cuda.mem_get_info(self.device)[0]
        return len(self) * int(self._host[0].nbytes) <= _SHARE * float(free)
