"""A search of 2,000 small trials: what driver, workers, Ray and files take as time goes on.

Real trainings (one epoch on a few hundred of scikit-learn's digits) under real Ray, two workers,
the default sampler and MLflow publisher. Every --interval seconds the program reads from /proc
what the processes below the driver take, and what is in the study's folder, in the temporary
folder and in /dev/shm, and appends a row to --results. The run has a temporary folder of its own
(TMPDIR), so that what it leaves there is its own.

Memory is given twice: ``_mb`` is the proportional share (PSS: a page that n processes share counts
1/n to each), ``_heap_mb`` the anonymous part of the resident set: what was allocated and written.
Growth is the slope of a least-squares line over the trials after the warm-up (--warm-up, a quarter
of the search), in MB for 1,000 trials, with its standard error (samples are taken as independent).

Resumable: with the same --folder and --results a measurement that was interrupted goes on; rows
have the number of the driver's process, and slopes are of the process that saw the most trials.
At the end: processes that the run left behind, zombies, files in its temporary folder and /dev/shm.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from latsearch.search.storage import Study  # noqa: E402
from tests.processes import (  # noqa: E402
    GCS,
    RAYLET,
    WORKER,
    command,
    descendants,
    marked,
    processes,
)

SPACE = """
version: 1
study: long
data: {{name: digits, validation: 300, train_samples: 300}}
network:
  family: mlp
  timesteps: {{low: 1, high: 2}}
  width: 4
  hidden: {{low: 8, high: 32}}
  firing_threshold: {{low: 0.5, high: 2.0}}
train:
  epochs: 1
  batch_size: 64
  temperature: {{low: 0.1, high: 10.0, log: true}}
  lr: {{low: 1e-3, high: 2e-2, log: true}}
search: {{trials: {trials}, seed: 0}}
"""
MARK = "LATSEARCH_LONG_RUN"
LAST = 60.0  # seconds in which Ray's own processes have to see that the driver is gone
GROUPS = ("driver", "workers", "raylet", "gcs", "others")
FIELDS = (
    "driver_pid", "seconds", "trials",
    *(f"{group}_{what}" for group in GROUPS for what in ("mb", "heap_mb")),
    "workers", "processes", "zombies", "driver_threads", "driver_files_open",
    "run_mb", "run_files", "temporary_mb", "temporary_files", "shared_memory_mb",
)  # fmt: skip
SLOPES = (
    *(f"{group}_{what}" for group in GROUPS for what in ("mb", "heap_mb")),
    *("run_mb", "temporary_mb", "shared_memory_mb"),
)


# --- what is measured ---------------------------------------------------------------------------


def memory(pid: int) -> tuple[float, float]:
    """Proportional share and anonymous memory of a process in MB; zeros where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        share = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return share["Pss"] / 1e3 * 1.024, share["Anonymous"] / 1e3 * 1.024
    except (OSError, KeyError, IndexError, ValueError):
        return 0.0, 0.0


def group_of(pid: int, driver: int) -> str:
    """Which group of processes one belongs to."""
    text = command(pid)
    if pid == driver:
        return "driver"
    words = {WORKER: "workers", RAYLET: "raylet", GCS: "gcs"}
    first = text.split(" ")[0]
    for word, group in words.items():
        if word in (text if group == "workers" else first):
            return group
    return "others"


def folder_size(folder: Path) -> tuple[float, int]:
    """MB and number of the files below a folder; links are not followed."""
    size = count = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_blocks * 512
                count += 1
    return size / 1e6, count


def shared_memory(pids: Sequence[int]) -> float:
    """MB of /dev/shm that files hold which these processes have open, deleted ones too."""
    held: dict[int, int] = {}
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                if os.readlink(link).startswith("/dev/shm/"):
                    there = os.stat(link)
                    held[there.st_ino] = there.st_blocks * 512
    return sum(held.values()) / 1e6


def sample(driver: int, folder: Path) -> dict[str, float]:
    """What the processes of the search take now."""
    pids = [driver, *descendants(driver)]
    row: dict[str, float] = dict.fromkeys(FIELDS, 0.0)
    for pid in pids:
        group, (share, heap) = group_of(pid, driver), memory(pid)
        row[f"{group}_mb"] += share
        row[f"{group}_heap_mb"] += heap
        row["workers"] += group == "workers"
    states = {pid: state for pid, _, state in processes()}
    row["processes"] = len(pids)
    row["zombies"] = sum(states.get(pid) == "Z" for pid in pids)
    with suppress(OSError):
        row["driver_threads"] = len(os.listdir(f"/proc/{driver}/task"))
        row["driver_files_open"] = len(os.listdir(f"/proc/{driver}/fd"))
    row["run_mb"], row["run_files"] = folder_size(folder / "runs")
    row["temporary_mb"], row["temporary_files"] = folder_size(folder / "t")
    row["shared_memory_mb"] = shared_memory(pids)
    return row


def ended(folder: Path) -> int:
    """Trials that have ended."""
    study = folder / "runs" / "long"
    if not Study.exists(study):
        return 0
    return sum(record.state.finished for record in Study.open(study).trials())


# --- the run ------------------------------------------------------------------------------------


def search(folder: Path, trials: int, interval: float, results: Path, seen: float) -> int:
    """Start the search or go on with it, and append a row every ``interval`` seconds."""
    (folder / "t").mkdir(parents=True, exist_ok=True)
    (folder / "long.yaml").write_text(SPACE.format(trials=trials))
    mark = secrets.token_hex(8)
    (folder / "mark").write_text(mark)
    environment = {
        **os.environ, MARK: mark, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY),
        "TMPDIR": str(folder / "t"), "RAY_TMPDIR": str(folder / "t"),
        "LATSEARCH_CACHE": str(folder / "cache"),
    }  # fmt: skip
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "latsearch", "run", "long.yaml", "--workers", "2"],
            cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    start = time.monotonic()
    while process.poll() is None:
        time.sleep(interval)
        row = sample(process.pid, folder)
        row |= {"driver_pid": process.pid, "trials": ended(folder)}
        row["seconds"] = seen + time.monotonic() - start
        if row["driver_mb"]:
            append(results, row)
    return process.returncode


def append(results: Path, row: Mapping[str, float]) -> None:
    fresh = not results.exists()
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow({name: f"{row[name]:.1f}".removesuffix(".0") for name in FIELDS})


def read(results: Path) -> dict[str, np.ndarray]:
    """The rows as columns."""
    if not results.exists():
        return {name: np.empty(0) for name in FIELDS}
    with results.open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in FIELDS}


def leftovers(folder: Path) -> dict[str, list[str]]:
    """What is left once the search has ended: processes, temporary files, shared memory."""
    mark, deadline = (folder / "mark").read_text(), time.monotonic() + LAST
    while (pids := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.5)
    files = [str(f.relative_to(folder)) for f in (folder / "t").rglob("*") if not f.is_dir()]
    begun = (folder / "mark").stat().st_mtime
    mapped = {
        os.path.realpath(link)
        for pid, _, _ in processes()
        for link in Path(f"/proc/{pid}/map_files").glob("*")
        if os.access(f"/proc/{pid}", os.R_OK)
    }
    shared = [
        str(file)
        for file in Path("/dev/shm").iterdir()
        if file.stat().st_mtime > begun and str(file) not in mapped
    ]
    return {
        "processes": [f"{pid} {command(pid)[:60]}" for pid in pids],
        "temporary": files,
        "shared": shared,
    }


# --- figures ------------------------------------------------------------------------------------


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of the least-squares line, and its standard error."""
    off = x - x.mean()
    spread = float(off @ off)
    slope = float(off @ (y - y.mean())) / spread
    rest = y - y.mean() - slope * off
    return slope, float(np.sqrt(rest @ rest / max(1, len(x) - 2) / spread))


def figures(rows: Mapping[str, np.ndarray], warm_up: float) -> dict[str, float]:
    """Slopes in MB for 1,000 trials after the warm-up, and the last values."""
    pids, counts = np.unique(rows["driver_pid"], return_counts=True)
    spans = [np.ptp(rows["trials"][rows["driver_pid"] == pid]) for pid in pids]
    longest = rows["driver_pid"] == pids[int(np.argmax(spans))]
    searching = (
        rows["workers"] > 0
    )  # not while Ray starts, nor while MLflow is completed at the end
    late = longest & searching & (rows["trials"] >= warm_up)
    found: dict[str, float] = {
        "trials": float(rows["trials"].max()),
        "samples": float(len(rows["trials"])),
        "drivers": float(len(counts)),
        "minutes": round(float(rows["seconds"].max()) / 60, 1),
        "warm_up_trials": warm_up,
        "zombies_most": float(rows["zombies"][searching].max(initial=0.0)),
    }
    for name in SLOPES:
        y = rows[name][late]
        if len(y) > 2 and np.ptp(rows["trials"][late]) > 0:
            slope, error = line(rows["trials"][late] / 1000, y)
            found[f"{name}_per_1000_trials"] = round(slope, 2)
            found[f"{name}_per_1000_trials_error"] = round(error, 2)
            found[f"{name}_last"] = round(float(y[-1]), 1)
    return found


def plot(rows: Mapping[str, np.ndarray], warm_up: float, to: Path) -> None:
    """Memory and files over the trials."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    panels = (
        ("memory allocated (MB)", [f"{group}_heap_mb" for group in GROUPS]),
        ("proportional share of memory (MB)", [f"{group}_mb" for group in GROUPS]),
        ("files (MB)", ["run_mb", "temporary_mb", "shared_memory_mb"]),
    )
    for axis, (title, names) in zip(axes, panels, strict=True):
        for name in names:
            label = name.removesuffix("_mb").removesuffix("_heap").replace("_", " ")
            axis.plot(rows["trials"], rows[name], ".-", markersize=3, linewidth=0.8, label=label)
        axis.axvline(warm_up, color="0.6", linewidth=0.8, linestyle=":")
        axis.set(title=title, xlabel="trials ended", ylim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(to, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--interval", type=float, default=20.0, help="seconds between samples")
    parser.add_argument("--warm-up", type=int, help="trials before slopes [a quarter of all]")
    parser.add_argument("--folder", type=Path, help="short path of the run [a temporary folder]")
    parser.add_argument("--results", type=Path, help="CSV to which samples are appended")
    parser.add_argument("--plot", type=Path, help="write a picture of the samples to this file")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="12 trials")
    options = parser.parse_args()
    trials, interval = (12, 1.0) if options.quick else (options.trials, options.interval)
    warm_up = options.warm_up or trials // 4
    with tempfile.TemporaryDirectory(prefix="long-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        results = options.results or folder / "long_run.csv"
        before = read(results)["seconds"]
        code = search(folder, trials, interval, results, before.max(initial=0.0))
        rows, left = read(results), leftovers(folder)
        found = figures(rows, warm_up)
        found |= {"exit_code": code} | {f"left_{k}": len(v) for k, v in left.items()}
        if options.plot:
            plot(rows, warm_up, options.plot)
    for name in left:
        for text in left[name][:20]:
            print(f"left behind ({name}): {text}")
    print("MB for 1,000 trials is the slope after the warm-up, ± its standard error")
    for name, value in found.items():
        print(f"{name:44} {value:10g}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if code or left["processes"] or found["zombies_most"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
