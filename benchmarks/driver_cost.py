"""What the driver costs for each finished trial, as a study grows.

Trials that train nothing: each reports a made-up decision curve of 16 rows after each of at most 4
epochs, halving stops two thirds of them after the first and of the rest after the third. What is
left is the driver: storage, rungs, bookkeeping. Measured are

* the driver alone, without Ray: 100, 1,000 and 10,000 trials (with --quick 4,000), 64 at a time, in
  this process;
* the same trials through real Ray, 100 and 1,000 (with --quick 100 alone): wall time, and the
  processor time of the driver's own thread, Ray's event loop included;
* the sampler's ask, which is in none of these figures, at the end of each study.

MLflow is off. Storage is the journal, on the disk of --folder.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from latsearch.config import StudyConfig, Value, parse_study
from latsearch.data.splits import Samples, Splits
from latsearch.objectives import DecisionCurve, EpochReport
from latsearch.search.checkpoints import FolderCheckpoints
from latsearch.search.driver import Assignment, Event, Search, TrialEnded, TrialStarted
from latsearch.search.observations import Observation
from latsearch.search.sampler import OptunaSampler
from latsearch.search.storage import Study
from latsearch.search.worker import WorkerSettings

STUDY = """
version: 1
study: driver-cost
data: {name: digits}
network:
  family: {choices: [mlp, lenet, vgg11]}
  timesteps: {low: 1, high: 8}
  firing_threshold: {low: 0.5, high: 2.0}
  hidden: {low: 8, high: 64, log: true}
train:
  epochs: 4
  lr: {low: 1e-4, high: 1e-1, log: true}
  temperature: {low: 0.1, high: 10.0, log: true}
  weight_decay: {low: 1e-6, high: 1e-2, log: true}
  batch_size: {choices: [32, 64, 128]}
search: {stopping: {rule: halving, reduction_factor: 3, min_epochs: 1}}
resources: {cpus_per_trial: 0.5}
tracking: {enabled: false}
"""
REFERENCE = {"accuracy": 0.1, "latency": 8.0, "energy": 1000.0}
ROWS = 16
AT_ONCE = 64
ASKS = 5


class Trivial:
    """Trains nothing; reports as fast as it is asked."""

    def __init__(self, assignment: Assignment, splits: Splits | None, settings: WorkerSettings):
        self._trial = assignment.trial
        self._number = assignment.number
        self._epoch = 0

    @property
    def done(self) -> bool:
        """Whether the last epoch was reported."""
        return self._epoch >= self._trial.train.epochs

    def step(self) -> EpochReport:
        """A curve that depends on the trial and the epoch."""
        self._epoch += 1
        train, network = self._trial.train, self._trial.network
        noise = np.random.default_rng([self._number, self._epoch])
        skill = 0.9 - 0.05 * abs(np.log10(train.lr) + 2) - 0.2 / (self._epoch + network.timesteps)
        place = np.linspace(0.2, 1.0, ROWS)
        accuracy = np.clip(skill * place**0.3 + noise.normal(0, 0.01, ROWS), 0, 1)
        latency = 1 + (network.timesteps - 1) * place
        curve = DecisionCurve(
            decision_threshold=np.linspace(0.0, 3.0, ROWS),
            kind=("first_spike",) * ROWS,
            accuracy=accuracy,
            accuracy_silent_wrong=accuracy,
            latency=latency,
            latency_p95=latency,
            energy=10 * network.firing_threshold * latency,
            silent_fraction=np.zeros(ROWS),
            tie_fraction=np.zeros(ROWS),
        )
        metrics = {"train_loss": float(noise.random()), "grad_norm": 1.0, "lr": train.lr}
        checkpoint = f"trials/{self._number:05d}/{self._epoch:05d}"  # named, never written
        return EpochReport(self._epoch, curve, metrics, 0.001, checkpoint)


class Timed:
    """A random sampler that notes how long it was asked."""

    def __init__(self, config: StudyConfig):
        self._sampler = OptunaSampler(config.space, len(config.objectives), "random", 0)
        self.seconds = 0.0

    def propose(
        self, history: Sequence[Observation], number: int, attempt: int = 0
    ) -> dict[str, Value]:
        """The sampler's proposal."""
        start = time.perf_counter()
        values = self._sampler.propose(history, number, attempt)
        self.seconds += time.perf_counter() - start
        return values


@dataclass
class Clock:
    """Follows a search from its first trial to the end of its last one."""

    trials: int
    marks: list[tuple[float, float]] = field(default_factory=list)  # wall and thread time

    def __call__(self, event: Event) -> None:
        """Note the time at the first start and at every end."""
        if isinstance(event, TrialEnded) or (isinstance(event, TrialStarted) and not self.marks):
            self.marks.append((time.perf_counter(), time.thread_time()))

    def milliseconds(self, first: int, last: int) -> tuple[float, float]:
        """Wall and processor time a trial between the ends of two trials."""
        (wall, cpu), (wall_end, cpu_end) = self.marks[first], self.marks[last]
        return 1e3 * (wall_end - wall) / (last - first), 1e3 * (cpu_end - cpu) / (last - first)


def new_search(folder: Path, trials: int) -> tuple[Search, Timed, Study]:
    """A search of a new study."""
    config = parse_study(STUDY)
    config = config.model_copy(
        update={"search": config.search.model_copy(update={"trials": trials})}
    )
    sampler = Timed(config)
    study = Study.create(folder, config, REFERENCE)
    return Search(study, sampler), sampler, study


def alone(search: Search) -> float:
    """Run the search without Ray; seconds that its trials took."""
    random, working = Random(0), 0.0
    running: list[tuple[Assignment, Trivial]] = []
    settings = WorkerSettings(FolderCheckpoints(Path()), "", 1, "cpu")
    while not search.done:
        while len(running) < AT_ONCE and not search.idle:
            assignment = search.ask()
            running.append((assignment, Trivial(assignment, None, settings)))
        index = random.randrange(len(running))
        assignment, work = running[index]
        start = time.perf_counter()
        report = work.step()
        working += time.perf_counter() - start
        goes_on = search.report(assignment.number, report)
        if goes_on and work.done:
            search.complete(assignment.number)
        if not goes_on or work.done:
            running[index] = running[-1]
            running.pop()
    return working


def ask_milliseconds(search: Search, name: str) -> float:
    """Median time of a proposal, given all that the search has seen."""
    config = parse_study(STUDY)
    sampler = OptunaSampler(config.space, len(config.objectives), name, 0)
    taken = []
    for number in range(ASKS + 1):
        history = search.history
        start = time.perf_counter()
        sampler.propose(history, len(search.records) + number)
        taken.append(time.perf_counter() - start)
    return 1e3 * float(np.median(taken[1:]))  # the first one fills caches, once a study


def measure_alone(folder: Path, sizes: Sequence[int]) -> dict[str, float]:
    """The driver without Ray, at several sizes of a study."""
    figures = {}
    for trials in sizes:
        search, sampler, study = new_search(folder / f"alone-{trials}", trials)
        start = time.perf_counter()
        working = alone(search)
        seconds = time.perf_counter() - start - working - sampler.seconds
        figures[f"ms_per_trial_{trials}"] = 1e3 * seconds / trials
        figures[f"ask_tpe_ms_{trials}"] = ask_milliseconds(search, "tpe")
        start = time.perf_counter()
        again = Study.open(study.folder, drive=True)
        Search(again, Timed(again.config))
        figures[f"restart_seconds_{trials}"] = time.perf_counter() - start
        figures[f"megabytes_{trials}"] = (
            sum(file.stat().st_size for file in study.folder.rglob("*") if file.is_file()) / 1e6
        )
    return figures


def measure_on_ray(folder: Path, sizes: Sequence[int], profile: bool) -> dict[str, float]:
    """The same trials through Ray."""
    from latsearch.search.engine import run_on_ray
    from latsearch.search.nodes import RayNodes

    nothing = Samples(np.zeros((1, 1, 8, 8), dtype=np.uint8), np.zeros(1, dtype=np.int64))
    splits = Splits("none", nothing, nothing, nothing, 10, (0.0,), (1.0,))
    figures = {}
    with RayNodes(0) as ray:
        for trials in sizes:
            search, sampler, study = new_search(folder / f"ray-{trials}", trials)
            resources = ray.resources(study.config, None)
            clock, profiler = Clock(trials), cProfile.Profile()
            search.observe(clock)
            if profile and trials == sizes[-1]:
                profiler.enable()
            run_on_ray(
                search,
                splits,
                WorkerSettings(study.checkpoints, study.config.energy.profile, 1, "cpu"),
                resources,
                timeout=None,
                deadline=None,
                make_work=Trivial,
            )
            profiler.disable()
            # the first trials wait for the workers' imports, once a run
            wall, cpu = clock.milliseconds(trials // 5, trials)
            ask = 1e3 * sampler.seconds / trials
            figures[f"ray_workers_{trials}"] = float(resources.workers)
            figures[f"ray_ms_per_trial_{trials}"] = wall - ask
            figures[f"ray_driver_cpu_ms_per_trial_{trials}"] = cpu - ask
            if profile and trials == sizes[-1]:
                pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="under a minute on two cores")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--folder", type=Path, help="where studies are put [a temporary folder]")
    parser.add_argument("--profile", action="store_true", help="profile the driver under Ray")
    parser.add_argument("--only", choices=["alone", "ray"], help="one part alone")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if arguments.only != "ray":
            largest = 4_000 if arguments.quick else 10_000
            figures |= measure_alone(folder, (100, 1_000, largest))
        if arguments.only != "alone":
            sizes = (100,) if arguments.quick else (100, 1_000)
            figures |= measure_on_ray(folder, sizes, arguments.profile)
    if "ms_per_trial_10000" in figures:
        figures["growth_100_to_10000"] = figures["ms_per_trial_10000"] / figures["ms_per_trial_100"]
    print(__doc__.split("\n")[0])
    for key, value in figures.items():
        print(f"{key:36} {value:10.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
