"""Strong scaling of a search with real trainings: one worker against two, on this machine.

Compared are (a) one and two plain training loops, without any search, each a process of its own:
what the cores give; (b) the same trainings in a search on Ray with one and two workers. A rate is
epochs a second, in a search from the moment that every worker has reported to the last report, so
that starting Ray and importing torch do not count. Efficiency is (b)'s speedup over (a)'s.

Epochs take some tenths of a second here, as short as they get on real data; what a trial costs
beside its epochs, and the driver's work on the same two cores, weigh the more the shorter they are.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a worker has one core

import latsearch
from latsearch.config import StudyConfig, parse_study
from latsearch.config.energy import DEFAULT_PROFILE
from latsearch.data import load
from latsearch.search.driver import Event, Search, TrialReported
from latsearch.search.storage import Study
from latsearch.training import Trainer

SPACE = """
version: 1
study: scaling
data: {{name: digits, validation: 0.25}}
network: {{family: lenet, timesteps: 8, width: 24, hidden: 128}}
train: {{epochs: {epochs}, batch_size: 32, lr: {{low: 1e-3, high: 2e-3}}}}
search: {{trials: {trials}, sampler: random}}
run: {{checkpoint_every: 5}}
tracking: {{enabled: false}}
"""


def plain(text: str, seconds: float, ready: Barrier, rate: Any) -> None:
    """Train without a search for some seconds; the rate goes to ``rate``."""
    import torch

    torch.set_num_threads(1)
    config = parse_study(text)
    splits = load(config.data).without_test()
    trial = config.space.trial({"train.lr": 1e-3})
    trainer = Trainer(trial, splits, seed=0, profile=DEFAULT_PROFILE, device="cpu")
    trainer.step()  # the first epoch is slower
    ready.wait()
    start, epochs = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        if trainer.epoch == trial.train.epochs:
            trainer = Trainer(trial, splits, seed=0, profile=DEFAULT_PROFILE, device="cpu")
        trainer.step()
        epochs += 1
    with rate.get_lock():
        rate.value += epochs / (time.perf_counter() - start)


def plain_rate(text: str, processes: int, seconds: float) -> float:
    """Epochs a second of several plain loops together."""
    context = multiprocessing.get_context("spawn")
    ready, rate = context.Barrier(processes), context.Value("d", 0.0)
    loops = [
        context.Process(target=plain, args=(text, seconds, ready, rate)) for _ in range(processes)
    ]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
        if loop.exitcode:
            raise RuntimeError(f"a plain loop ended with {loop.exitcode}")
    return float(rate.value)


def search_rate(config: StudyConfig, workers: int) -> float:
    """Epochs a second of a search."""
    reports: list[tuple[float, int]] = []

    @contextmanager
    def watch(study: Study, search: Search, count: int) -> Iterator[Any]:
        def note(event: Event) -> None:
            if isinstance(event, TrialReported):
                reports.append((time.perf_counter(), event.number))

        yield note

    with tempfile.TemporaryDirectory(prefix="latsearch-scaling-") as runs:
        options = latsearch.RunOptions(workers=workers, runs=Path(runs))
        latsearch.run(config, options, watch)
    seen: set[int] = set()
    for index, (moment, number) in enumerate(reports):
        seen.add(number)
        if len(seen) == workers:
            return (len(reports) - 1 - index) / (reports[-1][0] - moment)
    raise RuntimeError("not every worker reported")


def main() -> None:
    """Measure, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json", type=Path, help="write the figures")
    options = parser.parse_args()
    trials, epochs, seconds = (4, 8, 4.0) if options.quick else (12, 20, 20.0)
    text = SPACE.format(trials=trials, epochs=epochs)
    loops = {count: plain_rate(text, count, seconds) for count in (1, 2)}
    searches = {count: search_rate(parse_study(text), count) for count in (1, 2)}
    figures = summary(loops, searches)
    print(f"{'epochs a second':<22}{'1 process':>12}{'2 processes':>14}{'speedup':>10}")
    for name, rates in (("plain training loops", loops), ("search on Ray", searches)):
        print(f"{name:<22}{rates[1]:>12.2f}{rates[2]:>14.2f}{rates[2] / rates[1]:>10.2f}")
    efficiency, share = figures["scaling_efficiency"], figures["one_worker_of_plain"]
    print(
        f"efficiency {efficiency:.2f} of what the cores give; one worker runs at {share:.2f} of a "
        f"plain loop ({trials} trials, {epochs} epochs each)"
    )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def summary(loops: Mapping[int, float], searches: Mapping[int, float]) -> dict[str, float]:
    """The figures as a flat object."""
    ideal, real = loops[2] / loops[1], searches[2] / searches[1]
    return {
        "plain_epochs_per_second_1": loops[1],
        "plain_epochs_per_second_2": loops[2],
        "search_epochs_per_second_1": searches[1],
        "search_epochs_per_second_2": searches[2],
        "core_bound_speedup": ideal,
        "search_speedup": real,
        "scaling_efficiency": real / ideal,
        "one_worker_of_plain": searches[1] / loops[1],
    }


if __name__ == "__main__":
    main()
