"""What publishing to MLflow costs: large studies, a search's speed, a server that goes away.

publish   Studies of 300 and 3,000 trials, made from trials that are recorded first: real trainings
          on scikit-learn's digits, drawn again and again with 3 % of noise on their figures. Each
          is published to an empty sqlite store, then published again; all rows of the database are
          compared before and after.
view      Those studies in MLflow's UI in headless Chromium: seconds until the preset charts are
          drawn, with the server just started; needs playwright, and `publish` before with --keep.
overhead  The same search with one seed, without and with publishing to sqlite: seconds
          from the start of its driver to the last report, and of the whole call, in which MLflow
          is completed at the end. Where other work disturbs the clock, the processor time that the
          driver's process takes beside the trainings tells more: also as a part of all cores'.
outage    The same search against a server that stays, and against one that is killed (SIGKILL)
          while the middle third of its trials end and then comes back. The speed is compared in
          that third; afterwards every metric has to be there once.

The parts run alone with --part, and add their figures to the same --json file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from latsearch import api
from latsearch.config import StudyConfig, parse_study
from latsearch.objectives import EpochReport
from latsearch.report import attach_report
from latsearch.reporting import study_front
from latsearch.search.driver import Event, Search, TrialEnded
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState
from latsearch.tracking import default_uri, publish
from latsearch.tracking.publishing import prepare_environment
from latsearch.tracking.ui import ui_server

SPACE = """
version: 1
study: {name}
data: {{name: digits}}
network:
  family: mlp
  timesteps: {{low: 1, high: 4}}
  width: {{low: 4, high: 16, log: true}}
  stem_stride: {{choices: [1, 2]}}
  hidden: {{low: 16, high: 96, log: true}}
  firing_threshold: {{low: 0.5, high: 2.0}}
  synapse: {{choices: [delta, step]}}
train:
  epochs: {epochs}
  batch_size: 32
  temperature: {{low: 0.1, high: 10.0, log: true}}
  lr: {{low: 1e-3, high: 2e-2, log: true}}
constraints: {{silent_fraction: {{max: 0.05}}}}
search: {{trials: {trials}, sampler: random, seed: {seed}}}
tracking: {{enabled: {enabled}, uri: {uri}}}
"""
NOISE = 0.03
DRAWN = """() => [...document.querySelectorAll('.js-plotly-plot')].filter(
    chart => chart._fullData?.some(trace => trace.type.startsWith('scatter') && trace.x?.length)
).length >= 3"""
Figures = dict[str, float]


def config(
    name: str, trials: int, epochs: int, *, uri: str | None = None, enabled: bool = True, seed=0
) -> StudyConfig:
    """A small search of the digits."""
    text = SPACE.format(
        name=name,
        trials=trials,
        epochs=epochs,
        seed=seed,
        uri=json.dumps(uri),
        enabled=str(enabled).lower(),
    )
    return parse_study(text)


# --- publish ------------------------------------------------------------------------------------


def record_trials(folder: Path, trials: int, epochs: int) -> list[TrialRecord]:
    """Real trainings, with everything that they report."""
    settings = config("recorded", trials, epochs, enabled=False)
    done = api.run(settings, api.RunOptions(workers=0, runs=folder))  # goes on where it was
    return list(Study.open(done.folder).trials())


def large_study(folder: Path, recorded: list[TrialRecord], trials: int) -> Study:
    """A study of many trials, drawn from the recorded ones with noise; an earlier one as it is."""
    if Study.exists(folder):
        return Study.open(folder)
    random = np.random.default_rng(0)
    epochs = max(record.epoch for record in recorded)
    study = Study.create(
        folder,
        config(f"of-{trials}", trials, epochs),
        {"accuracy": 0.1, "latency": 4, "energy": 500},
    )
    token = study.start_session()
    for _ in range(trials):
        chosen = recorded[random.integers(len(recorded))]
        number = study.new_trial(chosen.values)
        log = {}
        for epoch, entry in sorted(chosen.log.items()):
            report = noisy(EpochReport.from_json(entry), random)
            study.append_report(number, report, token)
            log[epoch] = {**report.to_json(), "time": time.time()}
        study.end_trial(replace(chosen, number=number, log=log), TrialState.COMPLETE)
    return Study.open(folder)


def noisy(report: EpochReport, random: np.random.Generator) -> EpochReport:
    """The report with its figures a little changed, as another seed would."""
    factors = {name: 1 + NOISE * random.standard_normal() for name in ("latency", "energy")}
    curve = replace(
        report.curve,
        accuracy=1 - (1 - report.curve.accuracy) * (1 + NOISE * random.standard_normal()),
        latency=np.maximum(1, report.curve.latency * factors["latency"]),
        energy=report.curve.energy * factors["energy"],
    )
    return replace(report, curve=curve, checkpoint=None)


def measure_publishing(folder: Path, quick: bool) -> Figures:
    """Seconds of a first and a second publication, and what the second changed."""
    recorded = record_trials(folder / "recorded", *((3, 2) if quick else (16, 5)))
    figures: Figures = {}
    for trials in (60,) if quick else (300, 3000):
        runs = folder / f"of-{trials}"
        study = large_study(runs / "study", recorded, trials)
        uri = empty_store(runs)
        start = time.perf_counter()
        report = publish(study, uri, attach=attach_report)
        first = time.perf_counter() - start
        before = database_dump(uri)
        start = time.perf_counter()
        again = publish(study, uri, attach=attach_report)
        second = time.perf_counter() - start
        front = study_front(study, study.trials())
        figures |= {
            f"publish_{trials}_seconds": first,
            f"publish_{trials}_again_seconds": second,
            f"publish_{trials}_again_written": float(again.written),
            f"publish_{trials}_again_changed_rows": float(changed(before, database_dump(uri))),
            f"publish_{trials}_runs": float(1 + report.trials + report.points),
            f"publish_{trials}_front": float(len(front)),
            f"publish_{trials}_front_in_html": float(points_in_html(runs, report.run_id)),
            f"publish_{trials}_database_mb": (runs / "mlflow.db").stat().st_size / 1e6,
        }
    return figures


def empty_store(runs: Path) -> str:
    """An sqlite store with tables and nothing in them, which takes MLflow seconds to make."""
    from mlflow import MlflowClient

    (runs / "mlflow.db").unlink(missing_ok=True)
    shutil.rmtree(runs / "mlartifacts", ignore_errors=True)
    uri = default_uri(runs)
    MlflowClient(uri).search_experiments()
    return uri


def database_dump(uri: str) -> Counter[tuple[str, str]]:
    """Every row of every table of an MLflow database."""
    rows: Counter[tuple[str, str]] = Counter()
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in names:
            rows.update((table, repr(row)) for row in database.execute(f'SELECT * FROM "{table}"'))
    return rows


def changed(before: Counter[tuple[str, str]], after: Counter[tuple[str, str]]) -> int:
    """Rows that are on one side alone."""
    return ((before - after) + (after - before)).total()


def points_in_html(runs: Path, run_id: str) -> int:
    """Members of the front in the interactive plot, which draws each in four charts."""
    [file] = (runs / "mlartifacts").glob(f"{run_id}/artifacts/pareto/front.html")
    return file.read_text(encoding="utf-8").count(", decision threshold ") // 4


# --- view ---------------------------------------------------------------------------------------


def measure_view(folder: Path, quick: bool) -> Figures:
    """Seconds from asking for the address of the front to its three scatter charts."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    figures: Figures = {}
    for trials in (60,) if quick else (300, 3000):
        runs = folder.with_name("publish") / f"of-{trials}"
        uri = default_uri(runs)
        report = publish(Study.open(runs / "study"), uri, attach=attach_report)
        with ui_server(uri, free_port()) as (address, _), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            page.set_default_timeout(120_000)
            start = time.perf_counter()
            page.goto(f"{address}/{report.view}")
            page.wait_for_function(DRAWN)
            figures[f"view_{trials}_seconds"] = time.perf_counter() - start
            browser.close()
    return figures


# --- overhead -----------------------------------------------------------------------------------


def measure_overhead(folder: Path, quick: bool) -> Figures:
    """How much longer a search takes that is published; one pair, the unpublished one first."""
    trials, epochs, workers = (4, 2, 0) if quick else (16, 20, 2)
    # what a process imports once is not to be counted on one side alone
    warm = config("warm", 1, 1, enabled=False)
    api.run(warm, api.RunOptions(workers=0, runs=folder))
    figures: Figures = {}
    for what in ("without", "with"):
        settings = config(what, trials, epochs, enabled=what == "with")
        options = api.RunOptions(workers=workers, runs=folder / what)
        clock = ProcessorTime()
        start = time.perf_counter()
        done = api.run(settings, options, watch=clock.watch)
        figures[f"overhead_whole_seconds_{what}"] = time.perf_counter() - start
        figures[f"overhead_search_seconds_{what}"] = done.status.seconds
        figures[f"overhead_driver_cpu_seconds_{what}"] = clock.seconds
    for part, name in (("search", "overhead_percent"), ("whole", "overhead_whole_percent")):
        without = figures[f"overhead_{part}_seconds_without"]
        figures[name] = 100 * (figures[f"overhead_{part}_seconds_with"] / without - 1)
    cpu = figures["overhead_driver_cpu_seconds_with"]
    cpu -= figures["overhead_driver_cpu_seconds_without"]
    cores = max(1, workers)
    figures["overhead_cpu_percent"] = 100 * cpu / figures["overhead_search_seconds_without"] / cores
    return figures


class ProcessorTime:
    """What this process, the driver, computes while a search runs; the trainings are in others."""

    seconds = 0.0

    @contextmanager
    def watch(self, study: Study, search: Search, workers: int) -> Iterator[Callable[..., None]]:
        """Measure it."""
        start = time.process_time()
        yield lambda event: None
        self.seconds = time.process_time() - start


# --- outage -------------------------------------------------------------------------------------


class Outage:
    """A server that is killed once a third of the trials have ended, and back after two thirds."""

    def __init__(self, store: str, port: int, trials: int, *, disturb: bool):
        self._stack = ExitStack()
        self._store, self._port, self._trials, self._disturb = store, port, trials, disturb
        self._restart: threading.Thread | None = None
        self.ends: list[float] = []
        self.uri, self._server = self._stack.enter_context(ui_server(store, port))

    @contextmanager
    def watch(self, study: Study, search: Search, workers: int) -> Iterator[Callable[..., None]]:
        """Follow the search."""
        yield self._note

    def _note(self, event: Event) -> None:
        if not isinstance(event, TrialEnded):
            return
        self.ends.append(time.perf_counter())
        if self._disturb and len(self.ends) == self._trials // 3:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
        if self._disturb and len(self.ends) == 2 * self._trials // 3:
            self._restart = threading.Thread(target=self._come_back)
            self._restart.start()

    def _come_back(self) -> None:
        self._stack.enter_context(ui_server(self._store, self._port))

    @property
    def middle_third(self) -> float:
        """Seconds in which the middle third of the trials ended."""
        third = self._trials // 3
        return self.ends[2 * third - 1] - self.ends[third - 1]

    def wait(self) -> None:
        """Wait until the server is back."""
        if self._restart is not None:
            self._restart.join()

    def close(self) -> None:
        """Stop the server."""
        self.wait()
        self._stack.close()


def say(line: str) -> None:
    """Print a warning of the search."""
    print(f"  {line}")


def measure_outage(folder: Path, quick: bool) -> Figures:
    """The speed of a search in the middle third, and its metrics afterwards."""
    trials, epochs, workers = (6, 2, 0) if quick else (18, 10, 2)
    middle: dict[bool, float] = {}
    metrics: dict[bool, Counter[tuple[str, str, int]]] = {}
    for disturb in (False, True):
        runs = folder / f"outage-{disturb}"
        runs.mkdir(parents=True)
        store = default_uri(runs / "server")
        (runs / "server").mkdir()
        outage = Outage(store, free_port(), trials, disturb=disturb)
        try:
            settings = config("outage", trials, epochs, uri=outage.uri)
            options = api.RunOptions(workers=workers, runs=runs)
            done = api.run(settings, options, watch=outage.watch, warn=say)
            outage.wait()
            # as the warning says
            publish(Study.open(done.folder), outage.uri, attach=attach_report)
        finally:
            outage.close()
        middle[disturb] = outage.middle_third
        metrics[disturb] = metric_counts(store)
    twice = sum(count > 1 for count in metrics[True].values())
    expected, found = set(metrics[False]), set(metrics[True])
    return {
        "outage_middle_third_seconds": middle[True],
        "outage_middle_third_seconds_undisturbed": middle[False],
        "outage_speed_ratio": middle[False] / middle[True],
        "outage_metrics": float(len(found)),
        "outage_metrics_twice": float(twice),
        "outage_metrics_missing": float(len(of_trials(expected) - of_trials(found))),
    }


def metric_counts(store: str) -> Counter[tuple[str, str, int]]:
    """How often each metric of each run is there for each step; runs by their names."""
    with sqlite3.connect(store.removeprefix("sqlite:///")) as database:
        rows = database.execute(
            "SELECT runs.name, metrics.key, metrics.step FROM metrics JOIN runs USING (run_uuid) "
            "WHERE runs.lifecycle_stage = 'active'"
        )
        return Counter(rows)


def of_trials(metrics: set[tuple[str, str, int]]) -> set[tuple[str, str, int]]:
    """Metrics of the epochs: the ranks and the front depend on the order in which trials end."""
    return {m for m in metrics if m[0].startswith("trial ") and m[1].startswith(("val/", "train/"))}


def free_port() -> int:
    """A port that nobody listens at."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


PARTS: dict[str, Callable[[Path, bool], Figures]] = {
    "publish": measure_publishing,
    "view": measure_view,
    "overhead": measure_overhead,
    "outage": measure_outage,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="under a minute on two cores")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part")
    parser.add_argument("--json", type=Path, help="also add the figures to this file")
    parser.add_argument("--keep", type=Path, help="keep the studies and stores in this folder")
    arguments = parser.parse_args()
    prepare_environment()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="publishing-"))
    figures: Figures = {}
    try:
        for part in arguments.part or [part for part in PARTS if part != "view"]:
            found = PARTS[part](folder / part, arguments.quick)
            figures |= found
            for name, value in found.items():
                print(f"{name:44} {value:10.3f}", flush=True)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        known = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
        arguments.json.write_text(json.dumps(known | figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
