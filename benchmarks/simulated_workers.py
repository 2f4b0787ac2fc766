"""Thousands of simulated workers, some of which die: throughput, driver cost, lost trials.

    python benchmarks/simulated_workers.py --workers 1000 10000
    python benchmarks/simulated_workers.py --workers 1 10 100 1000 10000 --plot docs/workers.png

Runs the real search (`latsearch.search.driver`) on the virtual clock of `search/simulate.py`, with
the recorded trainings of latbench. The learning rate is continuous here, so that no proposal is a
duplicate; a proposal is answered by the nearest recorded one. Curves are thinned to 8 rows to keep
100,000 reports in memory. What the driver needs is real time on this machine.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from latbench.table import Table

from latsearch import pareto
from latsearch.config import StoppingConfig, parse_study
from latsearch.objectives import NUMERIC_COLUMNS, DecisionCurve, EpochReport
from latsearch.search.driver import Event, Search, TrialEnded, study_hypervolume
from latsearch.search.results import best_rows, curve_losses, reference_losses
from latsearch.search.sampler import sampler_for
from latsearch.search.simulate import Cluster, Simulation, memory_study
from latsearch.search.storage import Study
from latsearch.search.trials import TrialState

TABLE = Path(__file__).parent / "latbench" / "digits.parquet"
ROWS = 8
RATES = "{choices: [1e-3, 5e-3, 2e-2]}"
CONTINUOUS = "{low: 1e-3, high: 2e-2, log: true}"


def thinned(curve: DecisionCurve) -> DecisionCurve:
    """The curve with evenly spaced rows."""
    kept = np.unique(np.linspace(0, len(curve) - 1, ROWS).astype(int))
    columns = {name: getattr(curve, name)[kept] for name in NUMERIC_COLUMNS}
    return DecisionCurve(kind=tuple(curve.kind[i] for i in kept), **columns)


class Recorded:
    """The reports of the nearest recorded training."""

    def __init__(self, table: Table):
        self._table = table
        self._known: dict[int, list[EpochReport]] = {}

    def __call__(self, assignment):
        """See `latsearch.search.simulate.Outcome`."""
        rates = self._table.axes["train.lr"]
        wanted = math.log(assignment.trial.train.lr)
        lr = min(rates, key=lambda rate: abs(math.log(rate) - wanted))
        train = replace(assignment.trial.train, lr=lr)
        number = self._table.number_of(replace(assignment.trial, train=train))
        if number not in self._known:
            reports = self._table.reports(number, 0)
            self._known[number] = [replace(r, curve=thinned(r.curve)) for r in reports]
        return self._known[number]


def simulate(
    table: Table, workers: int, trials: int, failing: float, sampler: str
) -> tuple[dict[str, float], list[tuple[float, float]]]:
    """Figures of one search, and its hypervolume by virtual seconds."""
    study_text = table.about["grid"].replace(RATES, CONTINUOUS)
    config = parse_study(study_text)
    stopping = StoppingConfig(rule="halving", reduction_factor=3, min_epochs=3)
    update = {"trials": trials, "sampler": sampler, "stopping": stopping}
    search_config = config.search.model_copy(update=update)
    config = config.model_copy(update={"search": search_config})
    study = memory_study(config, table.about["reference"])
    search = Search(study, sampler_for(config, study.reference))
    cluster = Cluster(workers, failing=failing, replacement=1.0)
    simulation = Simulation(search, Recorded(table), cluster, checkpoint_every=4)
    volumes = watched(study, search, simulation)
    start = time.perf_counter()
    simulation.run()
    wall = time.perf_counter() - start
    records = study.trials()
    states = {state: sum(r.state is state for r in records) for state in TrialState}
    lost = sum(sorted(r.log) != list(range(1, r.epoch + 1)) for r in records)
    silent = sum((r.reason or "").startswith("silent") for r in records)
    unfinished = sum(not r.state.finished for r in records)
    figures = {
        "trials": len(records),
        "lost_trials": trials - len(records) + unfinished + lost,
        "silent_trials": silent,
        "failed_trials": states[TrialState.FAILED] - silent,
        "deaths": simulation.deaths,
        "virtual_seconds": simulation.now,
        "trials_a_virtual_second": len(records) / simulation.now,
        "busy_share": simulation.compute / (simulation.now * workers),
        "hypervolume": study_hypervolume(study, records),
        "tell_ms_a_trial": 1e3 * simulation.driver_seconds["tell"] / trials,
        "ask_ms_a_trial": 1e3 * simulation.driver_seconds["ask"] / trials,
        "wall_seconds": wall,
    }
    return figures, volumes


def watched(study: Study, search: Search, simulation: Simulation) -> list[tuple[float, float]]:
    """Grows while the search runs: hypervolume whenever the front did, by virtual seconds."""
    objectives, constraints = tuple(study.config.objectives), study.config.constraints
    reference = reference_losses(study.reference, objectives)
    volumes: list[tuple[float, float]] = []
    front = np.empty((0, len(objectives)))

    def observe(event: Event) -> None:
        nonlocal front
        if not isinstance(event, TrialEnded):
            return
        curve = search.records[event.number].curve
        if event.state is TrialState.FAILED or curve is None:
            return
        rows = best_rows(curve, objectives, constraints)
        found = np.concatenate([front, curve_losses(curve, objectives)[rows]])
        found = found[pareto.nondominated(found)]
        if len(found) != len(front) or not np.array_equal(found, front):
            front = found
            volumes.append((simulation.now, pareto.hypervolume(front, reference)))

    search.observe(observe)
    return volumes


def plot(
    figures: Mapping[int, Mapping[str, float]],
    volumes: Mapping[int, Sequence[tuple[float, float]]],
    file: Path,
) -> None:
    """Draw throughput by workers, and hypervolume by virtual time, a line a cluster."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    counts = sorted(figures)
    rates = [figures[count]["trials_a_virtual_second"] for count in counts]
    left.plot(counts, rates, "o-", label="simulated")
    ideal = [rates[0] * count / counts[0] for count in counts]
    left.plot(counts, ideal, ":", color="grey", label="in proportion to the workers")
    left.set(xscale="log", yscale="log", xlabel="workers", ylabel="trials a virtual second")
    left.legend()
    for count in counts:
        seconds, volume = zip(*volumes[count], strict=True)
        right.step(seconds, volume, where="post", label=f"{count:,} workers")
    right.set(xscale="log", xlabel="virtual seconds", ylabel="hypervolume")
    right.legend(loc="lower right")
    for panel in (left, right):
        panel.grid(alpha=0.25)
    figure.savefig(file, dpi=140)
    plt.close(figure)


def main() -> None:
    """Simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="100 and 1,000 workers, a minute")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw throughput and hypervolume into this file")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 100, 1000, 10_000])
    parser.add_argument("--trials", type=int, default=10_000, help="of each search")
    parser.add_argument("--failing", type=float, default=0.05, help="share of trainings that die")
    parser.add_argument("--sampler", default="random", help="who proposes")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.workers, arguments.trials = [100, 1000], 1000
    table = Table(TABLE)
    found: dict[str, float] = {}
    all_figures, all_volumes = {}, {}
    print(__doc__.split("\n", 1)[0])
    for workers in arguments.workers:
        figures, volumes = simulate(
            table, workers, arguments.trials, arguments.failing, arguments.sampler
        )
        all_figures[workers], all_volumes[workers] = figures, volumes
        print(f"{workers} workers, {arguments.sampler}")
        for name, value in figures.items():
            print(f"  {name:26}{value:14.6g}")
            found[f"{name}_{workers}"] = value
        if figures["lost_trials"]:
            raise SystemExit("trials were lost")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.plot:
        plot(all_figures, all_volumes, arguments.plot)


if __name__ == "__main__":
    main()
