"""Batches of samples: the same wherever the pixels lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latsearch.snn.store import SampleStore

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 2, 3, 4), dtype=np.uint8)
ROWS = np.random.default_rng(1).permutation(50)[:30]


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("rows", [None, ROWS])
def test_batches_are_the_samples_at_the_indices(rows: np.ndarray | None, resident: bool) -> None:
    samples = PIXELS if rows is None else PIXELS[rows]
    store = SampleStore(PIXELS, rows, "cpu", resident=resident)
    assert len(store) == len(samples)
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
    indices = torch.split(order, 7)
    batches = list(store.batches(indices))
    assert len(batches) == len(indices)
    for batch, index in zip(batches, indices, strict=True):
        assert (batch.numpy() == samples[index.numpy()]).all()
    assert (torch.cat(list(store.split(8))).numpy() == samples).all()
    first = store.first(9)
    assert len(first) == 9
    assert (torch.cat(list(first.split(4))).numpy() == samples[:9]).all()


def test_nothing_is_copied_on_a_cpu(tmp_path) -> None:
    file = tmp_path / "pixels.bin"
    PIXELS.tofile(file)
    mapped = np.memmap(file, np.uint8, "r", shape=PIXELS.shape)
    store = SampleStore(mapped, ROWS, "cpu")
    assert store.resident
    assert store._host.data_ptr() == mapped.ctypes.data


def test_a_stream_that_is_left_early_ends() -> None:
    store = SampleStore(PIXELS, None, "cpu", resident=False)
    batches = store.batches(torch.split(torch.arange(50), 5))
    assert (next(batches).numpy() == PIXELS[:5]).all()
    batches.close()


def test_event_frames_are_samples_too() -> None:
    frames = PIXELS.reshape(10, 5, 2, 3, 4)
    (batch,) = SampleStore(frames, None, "cpu").batches([torch.tensor([3, 1])])
    assert (batch.numpy() == frames[[3, 1]]).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resident", [True, False])
def test_on_a_gpu(resident: bool) -> None:
    store = SampleStore(PIXELS, ROWS, "cuda", resident=resident)
    batches = list(store.batches(torch.split(torch.arange(30), 8)))
    assert all(batch.is_cuda for batch in batches)
    assert (torch.cat(batches).cpu().numpy() == PIXELS[ROWS]).all()
