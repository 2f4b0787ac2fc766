"""Searches in which everything goes wrong that does, and what comes out of them.

Every run is a search of 40 trials (real trainings on scikit-learn's digits, real Ray, two workers)
and four faults, drawn by the run's seed: which ones, and after how many reports each. Even runs
store the study in a journal on a small file system of their own (as root; else in a folder) and
publish to MLflow's database beside it; odd ones use a PostgreSQL and an MLflow server of their own.

processes      SIGKILL for the driver, one worker, all workers, Ray's raylet, Ray's GCS,
               PostgreSQL, MLflow's server
storage        a full disk, a run folder that becomes read-only, PostgreSQL that stands still
clock          a step of up to two hours there or back (of Python's `time.time`: tests/chaos/clock)
damage         a bit, zeros from somewhere on, or an early end: in a checkpoint's file, in a line of
               the journal (a trial's start, report or end), in a page of MLflow's database

A driver that ends is started again with the same command, until the study is finished. Then its
storage is checked: trials lost (not there, or not complete), trials done twice (written to after
their end, or the same parameters as another), epochs without a report. Epochs repeated are those
that were reported and trained again, by the driver's own lines. Seconds to go on are the longest
time without a further report between a fault and the next one: the fault's own length, Ray's start
and whatever else is included.

Runs are appended to --results: what is there is not run again.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from latsearch.search.trials import TrialRecord  # noqa: E402
from tests.chaos.faults import DAMAGE, FAULTS, possible  # noqa: E402
from tests.chaos.outcome import again, longest_pause, note_ended, outcome, said  # noqa: E402
from tests.chaos.scene import EPOCHS, EVERY, Scene, short_folder  # noqa: E402
from tests.postgres import Postgres, binaries  # noqa: E402

FIELDS = (
    "seed", "storage", "trials", "complete", "lost", "twice", "epochs_missing", "repeated_by_kill",
    "repeated_by_damage", "drivers", "hangs", "published", "seconds", "faults", "said",
)  # fmt: skip
FILE_SYSTEM = 128  # MB of the small one


@dataclass(frozen=True)
class Happened:
    """A fault, with when it happened and what was there before."""

    kind: str
    moment: int
    time: float
    mark: int
    before: list[TrialRecord]


def plan(seed: int, trials: int, faults: int, in_database: bool) -> list[tuple[str, int]]:
    """Faults of a run, and the number of reports after which each happens."""
    random = Random(seed)
    kinds = random.sample(possible(in_database), faults)
    moments = sorted(random.sample(range(2, trials * EPOCHS * 9 // 10), faults))
    return list(zip(kinds, moments, strict=True))


def one_run(
    seed: int, server: Postgres | None, trials: int, planned: Sequence[tuple[str, int]]
) -> dict[str, Any]:
    """Run a search with its faults; the row of the results."""
    kinds = [kind for kind, _ in planned]
    random = Random(seed + 1_000_000)
    folder, start = short_folder(), time.monotonic()
    ended: dict[int, Any] = {}
    happened: list[Happened] = []
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if {"full-disk", "read-only"} & set(kinds):
            runs = folder / "runs"
            runs.mkdir()
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={FILE_SYSTEM}m", "tmpfs", runs], check=True
            )
            stack.callback(subprocess.run, ["umount", "-l", runs], check=False)
        scene = stack.enter_context(
            Scene(
                folder,
                trials=trials,
                seed=seed,
                server=server,
                tracking=server is None,
                mlflow=server is not None,
                clock="clock" in kinds,
            )
        )
        scene.start()
        for kind, moment in planned:
            scene.keep_going(moment)
            if scene.finished:
                break
            before = scene.records()
            note_ended(before, ended)
            happened.append(Happened(kind, moment, time.monotonic(), len(scene.log()), before))
            FAULTS[kind](scene, random)
            scene.keep_going(scene.reports() + 1)
        scene.keep_going(None)
        log, end = scene.log(), time.monotonic()
        repeated, told, done = {"kill": 0, "damage": 0}, [], []
        for fault, after in itertools.zip_longest(happened, happened[1:]):
            own = log[fault.mark : after.mark if after else None]
            until = after.time if after else end
            seconds = longest_pause(scene.changes, fault.time, until)
            died = [records for moment, records in scene.deaths if fault.time < moment < until]
            epochs = max(again([*died, fault.before][0], own).values(), default=0)
            cause = "damage" if fault.kind in DAMAGE else "kill"
            repeated[cause] = max(repeated[cause], epochs)
            told += said(own)[:4]
            done.append(f"{fault.kind}@{fault.moment}:{seconds:.1f}s:{epochs}")
        records = scene.records()
        found = outcome(records, trials, EPOCHS, ended)
        row = {
            "seed": seed,
            "storage": "journal" if server is None else "postgresql",
            "trials": trials,
            "complete": sum(r.state.value == "complete" for r in records),
            "lost": len(found.lost),
            "twice": len(found.twice),
            "epochs_missing": len(found.missing),
            "repeated_by_kill": repeated["kill"],
            "repeated_by_damage": repeated["damage"],
            "drivers": scene.starts,
            "hangs": scene.hangs,
            "published": published(scene, kinds),
            "seconds": round(time.monotonic() - start),
            "faults": " ".join(done),
            "said": " | ".join(line.replace(str(folder), "…")[:300] for line in told),
        }
    return row


def published(scene: Scene, kinds: list[str]) -> int:
    """Trials that MLflow has at the end; from a new database where the old one was damaged."""
    if "mlflow-page" in kinds:
        (scene.runs / "mlflow.db").unlink(missing_ok=True)
    if scene.mlflow is not None:
        scene.mlflow.wait()
    done = scene.call("publish", str(scene.study))
    if done.returncode != 0:
        raise RuntimeError(f"publish: {done.stdout}{done.stderr}")
    from mlflow import MlflowClient

    uri = scene.mlflow.url if scene.mlflow else f"sqlite:///{scene.runs}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    trials = client.search_runs(experiments, "tags.`latsearch.kind` = 'trial'", max_results=1000)
    return len(trials)


# --- results ------------------------------------------------------------------------------------


def read(results: Path | None) -> list[dict[str, str]]:
    if results is None or not results.exists():
        return []
    with results.open(newline="") as file:
        return list(csv.DictReader(file))


def append(results: Path, row: Mapping[str, Any]) -> None:
    fresh = not results.exists()
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def by_kind(rows: list[dict[str, str]]) -> dict[str, list[float]]:
    """Seconds to go on after the faults of each kind."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for fault in row["faults"].split():
            kind, rest = fault.split("@")
            found.setdefault(kind, []).append(float(rest.split(":")[1].removesuffix("s")))
    return found


def figures(rows: list[dict[str, str]]) -> dict[str, float]:
    """Figures over all runs."""

    def total(name: str) -> int:
        return sum(int(row[name]) for row in rows)

    seconds = [s for each in by_kind(rows).values() for s in each]
    return {
        "runs": len(rows),
        "faults": len(seconds),
        "trials": total("trials"),
        "trials_lost": total("lost"),
        "trials_done_twice": total("twice"),
        "epochs_missing": total("epochs_missing"),
        "epochs_repeated_per_kill_most": max(int(row["repeated_by_kill"]) for row in rows),
        "epochs_repeated_per_damage_most": max(int(row["repeated_by_damage"]) for row in rows),
        "checkpoint_every": EVERY,
        "drivers_started": total("drivers"),
        "hangs": total("hangs"),
        "trials_not_published": total("trials") - total("published"),
        "seconds_to_go_on_median": round(median(seconds), 1),
        "seconds_to_go_on_most": round(max(seconds), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", help="these runs [0 to RUNS - 1]")
    parser.add_argument("--results", type=Path, help="CSV to which runs are appended")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="4 trials, a worker is killed")
    options = parser.parse_args()
    # as Ctrl-C: what was started for a run is ended with it
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    runs, trials, faults = (1, 4, 1) if options.quick else (options.runs, 40, 4)
    rows = read(options.results)
    known = {int(row["seed"]) for row in rows}
    programs = binaries()
    for seed in (s for s in options.seeds or range(runs) if s not in known):
        server = None
        if seed % 2:
            if programs is None:
                sys.exit("needs PostgreSQL's server: apt install postgresql")
            server = Postgres(programs)
        try:
            planned = plan(seed, trials, faults, server is not None)
            row = one_run(seed, server, trials, [("worker", 4)] if options.quick else planned)
        finally:
            if server is not None:
                server.remove()
        rows.append({name: str(value) for name, value in row.items()})
        if options.results:
            append(options.results, row)
        print({k: v for k, v in row.items() if k != "said"}, flush=True)
    print(f"\n{'fault':14} {'times':>5}  seconds to go on: median, most")
    for kind, each in sorted(by_kind(rows).items()):
        print(f"{kind:14} {len(each):5}  {median(each):8.1f} {max(each):8.1f}")
    found = figures(rows)
    for name, value in found.items():
        print(f"{name:34} {value:8g}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if found["trials_lost"] or found["trials_done_twice"] or found["hangs"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
