"""A search with all that belongs to it, started again whenever its driver has gone."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord
from tests.chaos.outcome import records_in, reports_in
from tests.postgres import Postgres
from tests.processes import kill_tree, marked, send, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "chaos"
EVERY = 2  # epochs between checkpoints
EPOCHS = 4
SPACE = """
version: 1
study: chaos
data: {{name: digits, validation: 300, train_samples: 300}}
network:
  family: mlp
  timesteps: {{low: 1, high: 2}}
  width: 4
  hidden: {{low: 8, high: 32}}
  firing_threshold: {{low: 0.5, high: 1.5}}
train:
  epochs: {epochs}
  batch_size: 64
  lr: {{low: 1e-3, high: 2e-2, log: true}}
search: {{trials: {trials}, seed: {seed}, sampler: tpe}}
run: {{checkpoint_every: {every}}}
tracking: {{enabled: {tracking}}}
"""
MARK, CLOCK = "LATSEARCH_CHAOS", "LATSEARCH_CHAOS_CLOCK"
HANGS = 240.0  # seconds without a report after which a driver is taken for hung
STARTS = 15  # drivers that a run may need


class Scene:
    """One search: its folder, its driver, and where it stores and publishes.

    Args:
        folder: of the search; a short path, since Ray's sockets are below it.
        trials: of the study.
        seed: of the study.
        server: PostgreSQL to store the study in; None for a journal.
        tracking: whether it publishes to MLflow: to a database beside the study, or to a server of
            its own with ``mlflow``.
        mlflow: whether it has an MLflow server.
        workers: trials at a time; 0 trains in the driver.
        clock: whether the clock can be stepped.
    """

    def __init__(
        self,
        folder: Path,
        *,
        trials: int = 40,
        seed: int = 0,
        server: Postgres | None = None,
        tracking: bool = False,
        mlflow: bool = False,
        workers: int = 2,
        clock: bool = False,
    ):
        self.folder = folder
        self.runs = folder / "runs"
        self.study = self.runs / NAME
        self.trials = trials
        self.server = server
        self.workers = workers
        self.codes: list[int] = []  # exit codes of drivers that ended by themselves
        self.starts = self.hangs = 0
        self.driver: subprocess.Popen[bytes] | None = None
        self.changes: list[float] = []  # when further reports were seen in the storage
        # when drivers died, and what the storage had then
        self.deaths: list[tuple[float, list[TrialRecord]]] = []
        self._mark = secrets.token_hex(8)
        self.runs.mkdir(parents=True, exist_ok=True)
        (folder / "t").mkdir(exist_ok=True)
        (folder / "clock").write_text("+0")
        text = SPACE.format(
            trials=trials, seed=seed, epochs=EPOCHS, every=EVERY,
            tracking="true" if tracking or mlflow else "false",
        )  # fmt: skip
        (folder / "chaos.yaml").write_text(text)
        self.environment = {
            **os.environ, MARK: self._mark, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY),
            "TMPDIR": str(folder / "t"), "RAY_TMPDIR": str(folder / "t"),
        }  # fmt: skip
        self.database: str | None = None
        if server is not None:
            self.database = server.database()
            self.environment["LATSEARCH_STORAGE"] = self.database
            os.environ["LATSEARCH_STORAGE"] = self.database  # for `records`
        self.mlflow = MlflowServer(self) if mlflow else None
        if self.mlflow is not None:
            self.environment["MLFLOW_TRACKING_URI"] = self.mlflow.url
        if clock:
            path = f"{Path(__file__).parent / 'clock'}{os.pathsep}{REPOSITORY}"
            self.environment |= {"PYTHONPATH": path, CLOCK: str(folder / "clock")}

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.driver is not None:
            kill_tree(self.driver.pid)
            self.driver.wait()
        if self.mlflow is not None:
            self.mlflow.kill()
        for pid in marked(self._mark):
            send(pid, signal.SIGKILL)
        if self.database is not None:
            os.environ.pop("LATSEARCH_STORAGE", None)

    # --- what it says ---------------------------------------------------------------------------

    def log(self) -> str:
        """What all drivers printed."""
        file = self.folder / "log.txt"
        return file.read_text(errors="replace") if file.exists() else ""

    def reports(self) -> int:
        """Reports that the storage has."""
        if self.server is None:
            return reports_in(self.study)
        if not Study.exists(self.study):
            return 0
        assert self.database is not None
        found = self.server.query(
            "SELECT count(*) FROM trial_user_attributes WHERE key LIKE 'report:%'",
            self.database.rpartition("/")[2],
        )
        return int(str(found[0][0]))

    def records(self) -> list[TrialRecord]:
        """The trials as the storage has them."""
        return records_in(self.study)

    @property
    def finished(self) -> bool:
        """Whether a driver has ended well."""
        return bool(self.codes) and self.codes[-1] == 0

    # --- what is done to it ---------------------------------------------------------------------

    def start(self) -> None:
        """Start the driver: the same command, every time."""
        words = ["run", "chaos.yaml", "--workers", str(self.workers)]
        self.starts += 1
        if self.starts > STARTS:
            raise RuntimeError(f"{STARTS} drivers did not finish it: {self.log()[-2000:]}")
        with (self.folder / "log.txt").open("ab") as log:
            self.driver = subprocess.Popen(
                [sys.executable, "-m", "latsearch", *words],
                cwd=self.folder, env=self.environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def kill_driver(self) -> None:
        """SIGKILL for the driver alone."""
        assert self.driver is not None
        self.driver.kill()
        self.driver.wait()
        self.deaths.append((time.monotonic(), self.records()))

    def keep_going(self, until: int | None) -> None:
        """Wait for so many reports, None for the end; a driver that ended is started again."""
        seen, changed = self.reports(), time.monotonic()
        while not self.finished and (until is None or seen < until):
            assert self.driver is not None
            if self.driver.poll() is not None:
                self.codes.append(self.driver.returncode)
                if not self.finished:
                    self.deaths.append((time.monotonic(), self.records()))
                    self.start()
                    changed = time.monotonic()
                continue
            time.sleep(0.2)
            now = self.reports()
            if now != seen:
                seen, changed = now, time.monotonic()
                self.changes.append(changed)
            elif time.monotonic() - changed > HANGS:
                self.hangs += 1
                kill_tree(self.driver.pid)
                changed = time.monotonic()

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another command of latsearch in the scene's environment."""
        return subprocess.run(
            [sys.executable, "-m", "latsearch", *words],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip


class MlflowServer:
    """`mlflow server` on a free port, with its own database."""

    def __init__(self, scene: Scene):
        import socket

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._scene = scene
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it; the search is not to depend on when it answers."""
        place = self._scene.folder / "mlflow"
        place.mkdir(exist_ok=True)
        with (place / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
                    "--port", str(self.port), "--workers", "1",
                    "--backend-store-uri", f"sqlite:///{place}/mlflow.db",
                    "--artifacts-destination", str(place / "artifacts"),
                ],
                cwd=place, env=self._scene.environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def answers(self) -> bool:
        """Whether it takes requests."""
        import urllib.request

        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait(self) -> None:
        """Wait until it answers."""
        wait_until(self.answers, "MLflow's server answers", 180, pause=0.5)

    def kill(self) -> None:
        """SIGKILL for all its processes."""
        assert self._process is not None
        kill_tree(self._process.pid)
        self._process.wait()


def short_folder() -> Path:
    """A folder with a path short enough for Ray's sockets."""
    return Path(tempfile.mkdtemp(prefix="ch", dir="/tmp"))
