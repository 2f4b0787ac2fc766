"""What goes wrong: each fault is done to a scene whose driver runs, and is over when it returns.

After a fault that ends the driver, or may, the scene's `keep_going` starts the same command again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from latsearch.search.trials import TrialState
from tests.chaos.scene import Scene
from tests.processes import GCS, RAYLET, WORKER, below, send, wait_until

PATIENCE = 120.0
Fault = Callable[[Scene, Random], None]


# --- processes ----------------------------------------------------------------------------------


def kill_driver(scene: Scene, random: Random) -> None:
    """SIGKILL for the driver; the same command is started again."""
    time.sleep(random.uniform(0, 0.5))
    scene.kill_driver()
    scene.start()


def kill_worker(scene: Scene, random: Random) -> None:
    """SIGKILL for one worker that trains."""
    assert scene.driver is not None
    workers = below(scene.driver.pid, WORKER)
    if workers:
        send(random.choice(workers), signal.SIGKILL)


def kill_workers(scene: Scene, random: Random) -> None:
    """SIGKILL for all workers at once."""
    assert scene.driver is not None
    for pid in below(scene.driver.pid, WORKER):
        send(pid, signal.SIGKILL)


def kill_raylet(scene: Scene, random: Random) -> None:
    """SIGKILL for Ray's daemon of this machine."""
    assert scene.driver is not None
    for pid in below(scene.driver.pid, RAYLET):
        send(pid, signal.SIGKILL)


def kill_gcs(scene: Scene, random: Random) -> None:
    """SIGKILL for Ray's control server."""
    assert scene.driver is not None
    for pid in below(scene.driver.pid, GCS):
        send(pid, signal.SIGKILL)


def kill_mlflow(scene: Scene, random: Random) -> None:
    """SIGKILL for MLflow's server, which comes back some seconds later."""
    assert scene.mlflow is not None
    scene.mlflow.wait()  # a kill while it makes its tables leaves MLflow a database it cannot use
    scene.mlflow.kill()
    time.sleep(random.uniform(1, 10))
    scene.mlflow.start()


# --- storage ------------------------------------------------------------------------------------


def kill_postgres(scene: Scene, random: Random) -> None:
    """SIGKILL for all of PostgreSQL's processes; it comes back some seconds later."""
    assert scene.server is not None
    scene.server.kill()
    time.sleep(random.uniform(0, 5))
    scene.server.start()


def stall_postgres(scene: Scene, random: Random) -> None:
    """PostgreSQL's processes stand still for some seconds, with their connections open."""
    assert scene.server is not None
    scene.server.signal(signal.SIGSTOP)
    time.sleep(random.uniform(3, 12))
    scene.server.signal(signal.SIGCONT)


def fill_disk(scene: Scene, random: Random) -> None:
    """The file system of the runs folder is full for some seconds."""
    fill = scene.runs / "fill"
    with fill.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    time.sleep(random.uniform(3, 12))
    fill.unlink()


def make_read_only(scene: Scene, random: Random) -> None:
    """The runs folder is read-only for some seconds, as after an error of its disk.

    A read-only view is mounted over it: what is open for writing stays so, as there too.
    """
    where = str(scene.runs)
    subprocess.run(["mount", "--bind", where, where], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", where], check=True)
    time.sleep(random.uniform(3, 12))
    subprocess.run(["umount", "-l", where], check=True)


def step_clock(scene: Scene, random: Random) -> None:
    """The wall clock of the driver and its workers jumps by up to two hours, there or back."""
    seconds = random.choice([-1, 1]) * random.randrange(60, 7200)
    (scene.folder / "clock").write_text(f"{seconds:+d}")


# --- damaged files ------------------------------------------------------------------------------


def spoil(data: bytes, random: Random) -> tuple[str, bytes]:
    """What is left of some bytes, and how they were spoiled."""
    place = random.randrange(len(data))
    how = random.choice(["bit", "zeros", "cut"])
    if how == "bit":
        return how, data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[
            place + 1 :
        ]
    if how == "zeros":
        return how, data[:place] + b"\0" * len(data[place:])
    return how, data[:place]


def damage_checkpoint(scene: Scene, random: Random) -> None:
    """The driver is killed, and a file of an interrupted trial's newest checkpoint spoiled."""

    def interrupted() -> list[Path]:
        return [
            scene.study / record.checkpoint
            for record in scene.records()
            if record.state is TrialState.RUNNING and record.checkpoint
        ]

    wait_until(lambda: scene.finished or interrupted(), "a checkpoint", PATIENCE, pause=0.02)
    scene.kill_driver()
    for folder in interrupted()[:1]:
        file = folder / random.choice(["model.safetensors", "state.pt", "config.json"])
        file.write_bytes(spoil(file.read_bytes(), random)[1])
    scene.start()


def damage_journal(scene: Scene, random: Random) -> None:
    """The driver is killed, and a line of the journal spoiled: a trial's start, report or end."""
    scene.kill_driver()
    journal = scene.study / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    of_trials = [n for n, line in enumerate(lines[:-1]) if json.loads(line)["op_code"] in (4, 6, 8)]
    place = random.choice(of_trials)
    lines[place] = spoil(lines[place][:-1], random)[1] + b"\n"
    journal.write_bytes(b"".join(lines))
    scene.start()


def damage_mlflow(scene: Scene, random: Random) -> None:
    """A page of MLflow's database is overwritten with noise while the search runs."""
    file = scene.runs / "mlflow.db"
    if file.exists() and (pages := file.stat().st_size // 4096) > 1:
        with file.open("rb+") as database:
            database.seek(4096 * random.randrange(1, pages))
            database.write(random.randbytes(4096))


# --- which of them are possible -----------------------------------------------------------------

PROCESSES: dict[str, Fault] = {
    "driver": kill_driver, "worker": kill_worker, "workers": kill_workers,
    "raylet": kill_raylet, "gcs": kill_gcs,
}  # fmt: skip
FILES: dict[str, Fault] = {
    "checkpoint": damage_checkpoint, "journal": damage_journal, "mlflow-page": damage_mlflow,
    "full-disk": fill_disk, "read-only": make_read_only, "clock": step_clock,
}  # fmt: skip
SERVERS: dict[str, Fault] = {
    "postgres": kill_postgres, "stall": stall_postgres, "mlflow": kill_mlflow,
    "checkpoint": damage_checkpoint, "clock": step_clock,
}  # fmt: skip
FAULTS = PROCESSES | FILES | SERVERS
DAMAGE = ("checkpoint", "journal")  # what may cost more than one checkpoint interval


def possible(in_database: bool) -> list[str]:
    """Names of the faults that can be done here to a search of one kind."""
    names = [*PROCESSES, *(SERVERS if in_database else FILES)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        names = [name for name in names if name not in ("full-disk", "read-only")]
    return names
