"""How fast samples reach the training, and what eight workers' data take of memory.

50,000 generated images are written in CIFAR-10's true format and loaded as the real set is.

Speed: samples a second up to the first layer's input, one thread each, over whole epochs: shuffled,
cropped with a padding of 4, mirrored, normalised, in batches of 128. Ours is the trainer's own path
(`latsearch.training.Trainer`): uint8 in the shared cache, augmented in batches. The other side is
the tutorials': `torchvision.datasets.CIFAR10` with `RandomCrop`, `RandomHorizontalFlip`, `ToTensor`
and `Normalize` on PIL images in a `DataLoader`, with 0 and with 2 worker processes; the faster of
the two counts.

Memory: worker processes that get the loaded splits as the search's workers do, pickled, and go
through an epoch of training and validation batches, one and then eight at a time. What counts is
the proportional set size (PSS) above that of the same process before it got them: pages that
processes share are counted once in all.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latsearch.config import DataConfig
from latsearch.config.energy import DEFAULT_PROFILE
from latsearch.config.trial import NetworkConfig, TrainConfig, TrialConfig
from latsearch.data import Splits, load
from latsearch.snn.store import SampleStore
from latsearch.training import Trainer

_BATCH = 128
_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10,000 images, fewer rounds")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    count = 10_000 if options.quick else 50_000
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LATSEARCH_CACHE"] = str(Path(folder, "cache"))
        write_cifar10(Path(folder), count)
        config = DataConfig(name="cifar10", root=folder, validation=0.1)
        start = time.perf_counter()
        splits = load(config, verify=False)
        first = time.perf_counter() - start
        start = time.perf_counter()
        load(config, verify=False)
        figures = {"first_load_seconds": first, "load_seconds": time.perf_counter() - start}
        figures |= speed(splits, Path(folder), rounds=1 if options.quick else 3)
        pickled = pickle.dumps(splits.without_test())
        del splits  # this process would bear a share of the mapped pages
        gc.collect()
        figures |= memory(pickled)
    print_table(figures, count)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def write_cifar10(root: Path, count: int) -> None:
    """Random images as CIFAR-10's pickles."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        data = random.integers(0, 256, (count // 5, 3072), dtype=np.uint8)
        labels = random.integers(0, 10, count // 5).tolist()
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": labels}, protocol=2))
    names = {"label_names": [str(label) for label in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names))


# --- speed --------------------------------------------------------------------------------------


def speed(splits: Splits, folder: Path, rounds: int) -> dict[str, float]:
    """Samples a second of both sides, the best of some rounds, in turn."""
    trial = TrialConfig(
        network=NetworkConfig(family="mlp", width=1, hidden=1, stem_stride=4),
        train=TrainConfig(batch_size=_BATCH, crop_padding=4, horizontal_flip=True),
    )
    trainer = Trainer(trial, splits, seed=0, profile=DEFAULT_PROFILE)
    sides: dict[str, Callable[[], Iterator[int]]] = {
        "latsearch": partial(ours, trainer),
        "dataloader_0_workers": partial(tutorial, folder, 0),
        "dataloader_2_workers": partial(tutorial, folder, 2),
    }
    best = dict.fromkeys(sides, 0.0)
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            samples = sum(side())
            best[name] = max(best[name], samples / (time.perf_counter() - start))
    figures = {f"{name}_samples_a_second": value for name, value in best.items()}
    fastest = max(best["dataloader_0_workers"], best["dataloader_2_workers"])
    return figures | {"speedup_vs_dataloader": best["latsearch"] / fastest}


def ours(trainer: Trainer) -> Iterator[int]:
    """An epoch of the trainer's batches."""
    for images, _ in trainer._batches():
        yield len(images)


def tutorial(folder: Path, workers: int) -> Iterator[int]:
    """An epoch of the tutorials' DataLoader."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import CIFAR10

    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(_MEAN, _STD),
        ]
    )
    names = ("train_list", "test_list")
    unchecked: dict[str, Any] = {
        name: [(file, None) for file, _ in getattr(CIFAR10, name)] for name in names
    }
    unchecked["meta"] = {**CIFAR10.meta, "md5": None}
    dataset = type("Generated", (CIFAR10,), unchecked)(folder, train=True, transform=transform)
    for images, _ in DataLoader(dataset, batch_size=_BATCH, shuffle=True, num_workers=workers):
        yield len(images)


# --- memory -------------------------------------------------------------------------------------


def memory(splits: bytes) -> dict[str, float]:
    """Megabytes of data in one process, and in eight together."""
    one, eight = (total_memory(splits, workers) for workers in (1, 8))
    return {
        "memory_1_worker_mb": one,
        "memory_8_workers_mb": eight,
        "memory_8_workers_vs_1": eight / one,
    }


def total_memory(splits: bytes, workers: int) -> float:
    """MB that all workers' data take together while all of them hold them."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(workers), context.Queue()
    processes = [
        context.Process(target=worker, args=(splits, barrier, results)) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    taken = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    return sum(taken)


def worker(pickled: bytes, barrier: Barrier, results: Any) -> None:
    """Take the splits, go through an epoch, and tell by how much the process has grown."""
    torch.set_num_threads(1)
    warm_up()
    barrier.wait()  # all have imported: what they share of libraries is shared by now
    before = own_memory()
    barrier.wait()
    splits: Splits = pickle.loads(pickled)
    for part in (splits.train, splits.validation):
        for batch in SampleStore(part.pixels, part.rows, "cpu").split(_BATCH):
            assert int(batch.sum()) > 0
    barrier.wait()  # all have read all of it
    mapped = mapped_memory(str(splits.train.pixels.filename))
    taken = own_memory() - before + mapped
    barrier.wait()
    results.put(taken / 1e6)


def warm_up() -> None:
    """Do with other samples what the measurement does, so that buffers and imports are there."""
    few: Splits = pickle.loads(pickle.dumps(load(DataConfig(name="digits"))))
    pixels = np.zeros((_BATCH, 3, 32, 32), np.uint8)
    store = SampleStore(pixels, np.arange(_BATCH), "cpu")
    for _ in range(len(few.train) // 8):
        for batch in store.split(_BATCH):
            int(batch.sum())


def own_memory() -> int:
    """Bytes of the process that lie in no file; libraries, which others share, do not count."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss_Anon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("the kernel tells no PSS of anonymous memory")


def mapped_memory(file: str) -> int:
    """Bytes of the file that the process has mapped, pages shared with others in proportion."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split(maxsplit=5)
        if not name.endswith(":"):
            inside = bool(rest) and rest[-1] == file
        elif inside and name == "Pss:":
            total += 1024 * int(rest[0])
    return total


def print_table(figures: dict[str, float], count: int) -> None:
    """What was compared, and the figures."""
    print(f"{count:,} images of 32x32x3 in CIFAR-10's format; one thread")
    for name in ("latsearch", "dataloader_0_workers", "dataloader_2_workers"):
        print(f"{name:32} {figures[f'{name}_samples_a_second']:12,.0f} samples/s")
    print(f"{'speedup over the faster of them':32} {figures['speedup_vs_dataloader']:12.1f}")
    for name in ("first_load_seconds", "load_seconds"):
        print(f"{name:32} {figures[name]:12.2f}")
    for name in ("memory_1_worker_mb", "memory_8_workers_mb", "memory_8_workers_vs_1"):
        print(f"{name:32} {figures[name]:12.2f}")


if __name__ == "__main__":
    main()
