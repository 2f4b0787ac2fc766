"""Hypervolume against compute: our search and others, on recorded trainings (docs/latbench.md).

    python benchmarks/search_efficiency.py --quick
    python benchmarks/search_efficiency.py --results runs.jsonl --json figures.json --plot plot.png
    python benchmarks/search_efficiency.py --summary --results benchmarks/latbench/runs.jsonl
    python benchmarks/search_efficiency.py --share 0.99 --settings "same curves" --workers 1 \
        --results benchmarks/latbench/runs.jsonl

Compares the compute until 95 % of the hypervolume of all recorded trainings is reached. Every run
is a line of the results file: the program may be killed and repeated, and only carries out what is
missing. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from latbench.contest import Limits, PeerRun, run_ours
from latbench.ours import SCREENED, VARIANTS, variant
from latbench.peers import PEERS, Encoding, make_peer
from latbench.scoring import Judge, Score
from latbench.summary import figures, plot, print_table
from latbench.table import Table

from latsearch.search.simulate import Cluster

FOLDER = Path(__file__).parent / "latbench"
SHARE = 0.95
CURVES, DOCUMENTED = "same curves", "as documented"
# runs end here, for a proposal costs much more than looking up a training; one that did not reach
# the share by then counts as censored
MOST_TRAININGS = {"optuna-gp": 120}
OTHERS = 600
OURS = {**VARIANTS, **SCREENED}
LIVE_METHODS, LIVE_SEEDS = ("ours", "optuna-gp", "random"), 5


@dataclass(frozen=True)
class Run:
    """One search."""

    grid: str
    setting: str
    method: str
    workers: int
    seed: int


@lru_cache(maxsize=2)
def judges(grid: str) -> list[Judge]:
    """A judge for each seed that a search may see; both score by the other one."""
    screenings = FOLDER / f"{grid}_screening.parquet"
    table = Table(FOLDER / f"{grid}.parquet", screenings if screenings.exists() else None)
    return [Judge(table, seen, table.about["reference"]) for seen in range(2)]


def carry_out(run: Run, goal: float) -> dict[str, Any]:
    """A run's line of the results; it ends at a share of the hypervolume, the goal."""
    warnings.simplefilter("ignore")
    judge = judges(run.grid)[run.seed % 2]
    start = time.perf_counter()
    most = MOST_TRAININGS.get(run.method, OTHERS)
    limits = Limits(goal, judge.cost, most)
    if run.method in OURS:
        score = _ours(judge, run, limits)
    else:
        curves = run.setting == CURVES
        encoding = Encoding(judge.table.axes, threshold=not curves)
        peer = make_peer(run.method, encoding, run.seed, judge.table.epochs)
        score = PeerRun(judge, peer, run.workers, curves).run(limits)
    reached = score.until(goal)
    return {
        **asdict(run),
        "goal": goal,
        "compute": reached[0] if reached else None,
        "seconds": reached[1] if reached else None,
        "trainings": reached[2] if reached else score.trainings,
        "share": score.share,
        "table_cost": judge.cost,
        "history": [[round(entry[0], 3), round(entry[3], 4)] for entry in score.history],
        "wall": round(time.perf_counter() - start, 1),
    }


def _ours(judge: Judge, run: Run, limits: Limits) -> Score:
    settings = variant(run.method)
    config = settings.study(judge.table.study, run.seed, judge.table.size)
    return run_ours(
        judge,
        config,
        limits,
        Cluster(run.workers),
        curves=settings.curves,
        costs=settings.costs,
        ceilings=settings.ceilings,
    )


def planned(arguments: argparse.Namespace) -> Iterator[Run]:
    """All runs, the cheapest questions first."""
    for workers, method in itertools.product(arguments.workers, arguments.methods):
        settings = [CURVES] if method in OURS else arguments.settings
        if method in OURS and method != "ours" and workers > 1:
            continue
        for setting, seed in itertools.product(settings, range(arguments.seeds)):
            yield Run(arguments.grid, setting, method, workers, seed)


def results(file: Path) -> list[dict[str, Any]]:
    """The lines of a results file; a line that a kill cut off is dropped."""
    if not file.exists():
        return []
    lines = []
    for line in file.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def with_goal(lines: Sequence[dict[str, Any]], goal: float) -> list[dict[str, Any]]:
    """The lines of searches that went on until a share of the hypervolume."""
    return [line for line in lines if line.get("goal", SHARE) == goal]


def complete(file: Path, runs: Sequence[Run], goal: float, processes: int) -> None:
    """Carry out the runs that the results file lacks."""
    names = [field.name for field in fields(Run)]
    known = {tuple(line[name] for name in names) for line in with_goal(results(file), goal)}
    left = [run for run in runs if tuple(asdict(run).values()) not in known]
    if not left:
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool, file.open("a") as out:
        for line in pool.imap_unordered(partial(carry_out, goal=goal), left):
            out.write(json.dumps(line) + "\n")
            out.flush()


def confirm_live(arguments: argparse.Namespace) -> None:
    """Carry out what is missing of the live comparison, one search at a time, and print it."""
    from latbench.live import live

    file = arguments.results or Path("live.jsonl")
    known = {(line["method"], line["seed"]) for line in results(file) if line.get("live")}
    for seed, method in itertools.product(range(LIVE_SEEDS), LIVE_METHODS):
        if (method, seed) not in known:
            line = live(FOLDER / f"{arguments.grid}.yaml", method, seed, arguments.live)
            with file.open("a") as out:
                out.write(json.dumps(line) + "\n")
    print(f"hypervolume of the test rows after {arguments.live:g} s of live trainings")
    for method in LIVE_METHODS:
        lines = [line for line in results(file) if line.get("live") and line["method"] == method]
        volumes = sorted(line["hypervolume"] for line in lines)
        counts = sorted(line["trainings"] for line in lines)
        middle = len(lines) // 2
        print(f"{method:24} median {volumes[middle]:.3f} of {[round(v, 3) for v in volumes]}, "
              f"{counts[middle]} trainings")  # fmt: skip


def print_bounds(arguments: argparse.Namespace) -> None:
    """Print the compute that busy workers need at least, whatever they are given to train."""
    for judge, full in itertools.product(judges(arguments.grid), (True, False)):
        seconds = judge.earliest(arguments.share, full=full)
        counts = "full trainings" if full else "stopped after any epoch"
        computes = [f"{count} workers {seconds * count:.1f} s" for count in arguments.workers]
        print(f"seed {judge.seen}, {counts:24} {', '.join(computes)}")


def main() -> None:
    """Carry out, summarise, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="3 seeds of a few methods, a minute")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw hypervolume against compute into this file")
    parser.add_argument("--results", type=Path, help="file of finished runs; is continued")
    parser.add_argument("--summary", action="store_true", help="only of the runs that are there")
    parser.add_argument("--bound", action="store_true", help="only what no search can do better")
    parser.add_argument("--grid", choices=["digits", "fashion_mnist"], default="digits")
    parser.add_argument("--share", type=float, default=SHARE, help="of the hypervolume to reach")
    parser.add_argument("--seeds", type=int, default=30, help="runs of each method")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64], help="simulated")
    parser.add_argument("--methods", nargs="+", default=[*VARIANTS, *PEERS], metavar="NAME")
    parser.add_argument("--settings", nargs="+", default=[CURVES, DOCUMENTED], metavar="NAME")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="real ones")
    parser.add_argument(
        "--live",
        type=float,
        metavar="SECONDS",
        help=f"instead: {', '.join(LIVE_METHODS)} with live trainings, {LIVE_SEEDS} seeds each, "
        "for this wall time each (180 is what the documentation means); nothing else should run",
    )
    arguments = parser.parse_args()
    if arguments.live:
        confirm_live(arguments)
        return
    if arguments.bound:
        print_bounds(arguments)
        return
    if unknown := set(arguments.methods) - {*OURS, *PEERS}:
        parser.error(f"unknown {', '.join(unknown)}; known: {', '.join([*OURS, *PEERS])}")
    if {*SCREENED} & {*arguments.methods} and arguments.grid != "fashion_mnist":
        parser.error("screenings were recorded of --grid fashion_mnist alone")
    if unknown := set(arguments.settings) - {CURVES, DOCUMENTED}:
        parser.error(f"unknown {', '.join(unknown)}; known: {CURVES}, {DOCUMENTED}")
    if arguments.quick:
        arguments.seeds, arguments.workers = 3, [1]
        arguments.methods = ["ours", "random", "optuna-tpe", "syne-moasha-corrected"]
    wanted = [name for name in arguments.methods if name.startswith("syne-")]
    if wanted and not arguments.summary and find_spec("syne_tune") is None:
        parser.error(f"{', '.join(wanted)} needs Syne Tune: pip install -e '.[bench]'")
    with tempfile.TemporaryDirectory() as scratch:
        file = arguments.results or Path(scratch) / "runs.jsonl"
        if not arguments.summary:
            complete(file, list(planned(arguments)), arguments.share, arguments.processes)
        lines = with_goal(results(file), arguments.share)
        lines = [line for line in lines if line["grid"] == arguments.grid]
    print(__doc__.split("\n", 1)[0])
    print_table(lines)
    found = figures(lines)
    for workers in arguments.workers:
        if workers > 1:
            more = figures(lines, workers)
            found |= {f"{name}_{workers}_workers": value for name, value in more.items()}
    print(json.dumps(found, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.plot:
        plot(lines, arguments.plot)


if __name__ == "__main__":
    main()
