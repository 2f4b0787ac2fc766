"""A search whose driver is killed again and again, and the study that comes out of it.

Real trainings on digits under real Ray. The driver's process is killed with SIGKILL at random
moments, drawn uniformly over the reports of the whole search, and started again with the same
command until the study is finished. Then the storage is checked: every trial once, every epoch
once, no two trials with the same values, nothing that was finished written again.

Resumable: with the same --folder a measurement that was itself interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from latsearch.search.trials import TrialRecord  # noqa: E402
from tests.chaos.outcome import records_in, reports_in  # noqa: E402

SPACE = """
version: 1
study: killed
data: {{name: digits, validation: 0.25}}
network:
  family: mlp
  timesteps: {{low: 1, high: 4}}
  width: 8
  hidden: {{low: 16, high: 64}}
train:
  epochs: {epochs}
  batch_size: 32
  lr: {{low: 1e-3, high: 1e-2, log: true}}
search:
  trials: {trials}
  seed: 1
  stopping: {{rule: median, min_epochs: 2}}
run: {{checkpoint_every: 2}}
tracking: {{enabled: false}}
"""
EPOCHS = 6
PATIENCE = 600.0  # seconds without a new report after which something is wrong


def reports(folder: Path) -> int:
    """Reports in the study's journal."""
    return reports_in(folder / "runs" / "killed")


def records(folder: Path) -> list[TrialRecord]:
    """The study's trials as its storage has them."""
    return records_in(folder / "runs" / "killed")


def start(folder: Path) -> subprocess.Popen[bytes]:
    """The same command, every time."""
    return subprocess.Popen(
        [sys.executable, "-m", "latsearch", "run", "killed.yaml"],
        cwd=folder,
        stdout=(folder / "log.txt").open("ab"),
        stderr=subprocess.STDOUT,
    )


def kill_at(folder: Path, moment: int, delay: float) -> dict[str, Any]:
    """Run until so many reports are there and a little longer, then kill the driver."""
    process = start(folder)
    began = changed = time.monotonic()
    seen = reports(folder)
    moment = max(moment, seen + 1)  # after a late kill of the last driver: this one too is to work
    while seen < moment and process.poll() is None:
        time.sleep(0.02)
        now = reports(folder)
        if now > seen:
            seen, changed = now, time.monotonic()
        if time.monotonic() - changed > PATIENCE:
            process.kill()
            raise SystemExit(f"no report in {PATIENCE:g} s; {folder / 'log.txt'} may say why")
    time.sleep(delay)
    ended_before = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = records(folder)
    return {
        "moment": moment,
        "reports": reports(folder),
        "alive": not ended_before,
        "seconds": round(time.monotonic() - began, 1),
        "ended": {str(r.number): sorted(r.log) for r in there if r.state.finished},
        "running": sum(not r.state.finished for r in there),
    }


def faults(folder: Path, trials: int, kills: list[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the final study."""
    found = []
    final = records(folder)
    if [r.number for r in final] != list(range(trials)):
        found.append(f"trials {[r.number for r in final]}")
    journal = (folder / "runs" / "killed" / "study.journal").read_text().splitlines()
    written = [
        (entry["trial_id"], key)
        for entry in map(json.loads, journal)
        for key in entry.get("user_attr", {})
        if key.startswith("report:")
    ]
    if len(written) != len(set(written)):
        found.append(f"{len(written) - len(set(written))} epochs are written twice")
    for record in final:
        if not record.state.finished or record.reason:
            found.append(f"trial {record.number}: {record.state} {record.reason or ''}")
        if sorted(record.log) != list(range(1, record.epoch + 1)):
            found.append(f"trial {record.number}: epochs {sorted(record.log)}")
    points = {json.dumps(dict(record.values), sort_keys=True) for record in final}
    if len(points) != len(final):
        found.append(f"{len(final) - len(points)} trials train what another one does")
    for kill in kills:
        for number, epochs in kill["ended"].items():
            if sorted(final[int(number)].log) != epochs:
                found.append(f"trial {number} was finished at a kill and written to again")
    return found


def main() -> None:
    """Kill, go on, check, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--quick", action="store_true", help="1 kill in a search of 4 trials")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--folder", type=Path, help="where the study is [a temporary folder]")
    arguments = parser.parse_args()
    kills, trials = (1, 4) if arguments.quick else (arguments.kills, arguments.trials)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "killed.yaml").write_text(SPACE.format(epochs=EPOCHS, trials=trials))
        log = folder / "kills.jsonl"
        done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        random = Random(arguments.seed)
        # about half of the trials are stopped early: a moment beyond the last report is a late one
        moments = sorted(random.randrange(trials * EPOCHS * 3 // 5) for _ in range(kills))
        delays = [random.uniform(0.0, 1.0) for _ in range(kills)]
        for moment, delay in list(zip(moments, delays, strict=True))[len(done) :]:
            done.append(kill_at(folder, moment, delay))
            with log.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
            print(
                f"kill {len(done):2} after {done[-1]['reports']:3} reports: "
                f"{len(done[-1]['ended'])} trials ended, {done[-1]['running']} interrupted",
                flush=True,
            )
        process = start(folder)
        code = process.wait()
        wrong = faults(folder, trials, done)
        final = records(folder)
    figures = {
        "kills": len(done),
        "kills_of_a_living_driver": sum(kill["alive"] for kill in done),
        "trials": len(final),
        "complete": sum(r.state.value == "complete" for r in final),
        "pruned": sum(r.state.value == "pruned" for r in final),
        "last_exit_code": code,
        "faults": len(wrong),
    }
    for line in wrong:
        print("fault:", line)
    for key, value in figures.items():
        print(f"{key:26} {value:6}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    if wrong or code:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
