"""Thousands of simulated workers, some of which die: throughput, driver cost, lost trials.

    python benchmarks/simulated_workers.py --workers 1000 10000

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
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from latbench.table import Table

from latsearch.config import StoppingConfig, parse_study
from latsearch.objectives import DecisionCurve, EpochReport
from latsearch.search.driver import Search, study_hypervolume
from latsearch.search.sampler import sampler_for
from latsearch.search.simulate import Cluster, Simulation, memory_study
from latsearch.search.trials import TrialState

TABLE = Path(__file__).parent / "latbench" / "digits.parquet"
ROWS = 8
RATES = "{choices: [1e-3, 5e-3, 2e-2]}"
CONTINUOUS = "{low: 1e-3, high: 2e-2, log: true}"


def thinned(curve: DecisionCurve) -> DecisionCurve:
    """The curve with evenly spaced rows."""
    kept = np.unique(np.linspace(0, len(curve) - 1, ROWS).astype(int))
    columns = {
        f.name: tuple(curve.kind[i] for i in kept)
        if f.name == "kind"
        else getattr(curve, f.name)[kept]
        for f in fields(curve)
    }
    return DecisionCurve(**columns)


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


def simulate(table: Table, workers: int, trials: int, failing: float, sampler: str) -> dict:
    """Figures of one search."""
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
    start = time.perf_counter()
    simulation.run()
    wall = time.perf_counter() - start
    records = study.trials()
    states = {state: sum(r.state is state for r in records) for state in TrialState}
    lost = sum(sorted(r.log) != list(range(1, r.epoch + 1)) for r in records)
    unfinished = sum(not r.state.finished for r in records)
    return {
        "trials": len(records),
        "lost_trials": trials - len(records) + unfinished + lost,
        "failed_trials": states[TrialState.FAILED],
        "deaths": simulation.deaths,
        "virtual_seconds": simulation.now,
        "trials_a_virtual_second": len(records) / simulation.now,
        "busy_share": simulation.compute / (simulation.now * workers),
        "hypervolume": study_hypervolume(study, records),
        "tell_ms_a_trial": 1e3 * simulation.driver_seconds["tell"] / trials,
        "ask_ms_a_trial": 1e3 * simulation.driver_seconds["ask"] / trials,
        "wall_seconds": wall,
    }


def main() -> None:
    """Simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="100 and 1,000 workers, a minute")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 100, 1000, 10_000])
    parser.add_argument("--trials", type=int, default=10_000, help="of each search")
    parser.add_argument("--failing", type=float, default=0.05, help="share of trainings that die")
    parser.add_argument("--sampler", default="random", help="who proposes")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.workers, arguments.trials = [100, 1000], 1000
    table = Table(TABLE)
    found: dict[str, float] = {}
    print(__doc__.split("\n", 1)[0])
    for workers in arguments.workers:
        figures = simulate(table, workers, arguments.trials, arguments.failing, arguments.sampler)
        print(f"{workers} workers, {arguments.sampler}")
        for name, value in figures.items():
            print(f"  {name:26}{value:14.6g}")
            found[f"{name}_{workers}"] = value
        if figures["lost_trials"]:
            raise SystemExit("trials were lost")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
