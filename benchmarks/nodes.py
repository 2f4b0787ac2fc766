"""A search over several Ray nodes that are killed, and what that costs.

Three nodes of one CPU each on this machine (own `ray start` processes, Ray's token on), the study
in a PostgreSQL of its own, checkpoints in a shared folder. In every round:

1. head, two nodes and the driver start; a trial runs on each;
2. a node is killed with all its processes (SIGKILL);
3. another node is added while the search runs, and has to be used;
4. head and driver are killed, a new head and two nodes are started, the same command goes on.

At the end every trial must be there once, with every epoch once. Figures: trials whose machine
went away, trials that began anew, epochs that were trained again (reported, but after the last
checkpoint). With ``--netns`` every node is in a network namespace with an address of its own
(needs root and iproute2). Rounds are appended to ``--results``: what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from latsearch.search.storage import Study  # noqa: E402
from latsearch.search.trials import TrialRecord, TrialState  # noqa: E402
from tests.chaos.outcome import again  # noqa: E402
from tests.postgres import Postgres, binaries  # noqa: E402
from tests.processes import WORKER, below, kill_tree  # noqa: E402

EVERY = 4  # epochs between checkpoints
PATIENCE = 600.0  # seconds for each step of a round
_TWO = (("first", 1), ("second", 2))  # nodes beside the head, and their places
SUBNET = "10.213.7"
SPACE = """
version: 1
study: nodes
data: {{name: digits, validation: 0.25}}
network:
  family: mlp
  timesteps: {{low: 1, high: 3}}
  width: 8
  hidden: {{low: 16, high: 32}}
train: {{epochs: {epochs}, batch_size: 16, lr: {{low: 1e-3, high: 1e-2, log: true}}}}
search: {{trials: {trials}, seed: 1}}
run: {{checkpoint_every: {every}}}
tracking: {{enabled: false}}
"""


class Places:
    """Addresses for the nodes: all of this machine's, or one in a network namespace each."""

    def __init__(self, namespaces: bool):
        self._tag = f"ls{os.getpid() % 10000}"
        self.count = 5 if namespaces else 0
        self.server = f"{SUBNET}.254" if namespaces else "127.0.0.1"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    def __enter__(self) -> Places:
        if self.count:
            bridge = f"{self._tag}b"
            _ip("link", "add", bridge, "type", "bridge")
            _ip("addr", "add", f"{self.server}/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
        for number in range(self.count):
            name, inner = self.namespace(number), f"{self._tag}p{number}"
            _ip("netns", "add", name)
            _ip("link", "add", f"{self._tag}v{number}", "type", "veth", "peer", "name", inner)
            _ip("link", "set", f"{self._tag}v{number}", "master", f"{self._tag}b", "up")
            _ip("link", "set", inner, "netns", name)
            for words in (
                ("addr", "add", f"{self.address(number)}/24", "dev", inner),
                ("link", "set", inner, "up"),
                ("link", "set", "lo", "up"),
            ):
                _ip("-n", name, *words)
        return self

    def __exit__(self, *error: object) -> None:
        for number in range(self.count):
            subprocess.run(["ip", "netns", "del", self.namespace(number)], check=False)
        if self.count:
            subprocess.run(["ip", "link", "del", f"{self._tag}b"], check=False)

    def namespace(self, number: int) -> str:
        return f"{self._tag}n{number}"

    def address(self, number: int) -> str:
        return f"{SUBNET}.{number + 1}" if self.count else "127.0.0.1"

    def within(self, number: int) -> list[str]:
        """What to put before a command that is to run at the number's place."""
        return ["ip", "netns", "exec", self.namespace(number)] if self.count else []


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Processes:
    """Processes of one round, each with all that it starts; all are killed at the end."""

    def __init__(self, places: Places, folder: Path, environment: dict[str, str]):
        self.places = places
        self._folder = folder
        self._environment = environment
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, number: int, words: Sequence[object]) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.places.within(number), *map(str, words)],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def ray(self, name: str, number: int, *words: object) -> subprocess.Popen[bytes]:
        """Start a node with one CPU."""
        address = self.places.address(number)
        return self.start(
            name, number, [
                sys.executable, "-m", "ray.scripts.scripts", "start", *words, "--num-cpus=1",
                f"--node-ip-address={address}", f"--object-store-memory={100 * 2**20}",
                "--disable-usage-stats", "--block",
            ],
        )  # fmt: skip

    def head(self, port: int) -> subprocess.Popen[bytes]:
        return self.ray(
            "head", 0, "--head", f"--port={port}", "--include-dashboard=false",
            f"--temp-dir={self._folder / 'ray'}", "--min-worker-port=0", "--max-worker-port=0",
        )  # fmt: skip

    def driver(self, port: int) -> subprocess.Popen[bytes]:
        address = f"{self.places.address(0)}:{port}"
        return self.start(
            "driver", 0, [
                sys.executable, "-m", "latsearch", "run", "nodes.yaml", "--runs", "shared",
                "--address", address,
            ],
        )  # fmt: skip

    def kill(self, *processes: subprocess.Popen[bytes]) -> None:
        """Kill processes and all that they started, as if their machine lost power."""
        for process in processes:
            kill_tree(process.pid)
            process.wait()
            self._running.remove(process)

    def close(self) -> None:
        self.kill(*list(self._running))


def trains(node: subprocess.Popen[bytes]) -> bool:
    """Whether a worker process with a trial runs on a node."""
    return bool(below(node.pid, WORKER))


def wait_for(condition: Callable[[], bool], what: str, *alive: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        for process in alive:
            if process.poll() is not None:
                raise RuntimeError(f"a process ended with {process.returncode} before {what}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {PATIENCE:.0f} s")
        time.sleep(0.1)


class Watch:
    """What the study's storage and the driver's log say."""

    def __init__(self, folder: Path):
        self._folder = folder / "shared" / "nodes"
        self._log = folder / "driver.log"
        self._study: Study | None = None

    def records(self) -> list[TrialRecord]:
        if self._study is None and Study.exists(self._folder):
            self._study = Study.open(self._folder)
        return self._study.trials() if self._study is not None else []

    def in_the_middle(self, count: int) -> bool:
        """Whether so many trials run that have a checkpoint and a few epochs after it."""
        running = [r for r in self.records() if r.state is TrialState.RUNNING]
        return sum(bool(r.checkpoint) and r.epoch > at(r.checkpoint) for r in running) >= count

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""


def at(checkpoint: str | None) -> int:
    """The epoch of a checkpoint."""
    return int(checkpoint.rsplit("/", 1)[1]) if checkpoint else 0


@contextmanager
def environment(folder: Path, url: str) -> Iterator[dict[str, str]]:
    """Environment of all processes, with a token that only they have."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    os.environ["LATSEARCH_STORAGE"] = url
    yield {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def one_round(server: Postgres, places: Places, trials: int, epochs: int) -> dict[str, object]:
    """Run the scenario once; its figures."""
    folder = Path(tempfile.mkdtemp(prefix="latsearch-nodes-"))
    (folder / "nodes.yaml").write_text(SPACE.format(trials=trials, epochs=epochs, every=EVERY))
    start = time.monotonic()
    with environment(folder, server.database()) as variables, ExitStack() as cleaning:
        processes = Processes(places, folder, variables)
        cleaning.callback(processes.close)
        watch, port = Watch(folder), places.port
        join = f"--address={places.address(0)}:{port}"

        head = processes.head(port)
        wait_for(lambda: _listens(places, port), "the head listens", head)
        first, second = _join(processes, join, folder)
        driver = processes.driver(port)
        wait_for(lambda: watch.in_the_middle(3) and trains(first), "three trials run", driver, head)
        mark = len(watch.log())
        processes.kill(first)
        killed = time.monotonic()
        before = watch.records()
        wait_for(lambda: "went away" in watch.log()[mark:], "the loss is noticed", driver, head)
        noticed = time.monotonic() - killed

        added = processes.ray("added", 3, join)
        wait_for(lambda: trains(added), "the added node trains", driver, head, added)
        node_loss = again(before, watch.log()[mark:])
        wait_for(lambda: watch.in_the_middle(2), "trials run again", driver, head, added)

        mark = len(watch.log())
        processes.kill(driver, head)
        before = watch.records()
        processes.kill(second, added)
        head = processes.head(port + 1)
        wait_for(lambda: _listens(places, port + 1), "the new head listens", head)
        join = f"--address={places.address(0)}:{port + 1}"
        others = _join(processes, join, folder, "new ")
        driver = processes.driver(port + 1)
        wait_for(lambda: driver.poll() is not None, "the search ends", head, *others)
        if driver.returncode != 0:
            raise RuntimeError(f"the driver ended with {driver.returncode}: {watch.log()[-2000:]}")
        head_loss = again(before, watch.log()[mark:])
        records = watch.records()
    every_epoch = all(sorted(r.log) == list(range(1, epochs + 1)) for r in records)
    figures: dict[str, object] = {
        "trials": len(records),
        "complete": sum(r.state is TrialState.COMPLETE for r in records),
        "every_trial_once": [r.number for r in records] == list(range(trials)),
        "every_epoch_once": every_epoch,
        "checkpoint_every": EVERY,
        "node_noticed_seconds": round(noticed, 1),
        "node_lost_trials": len(node_loss),
        "node_lost_epochs_most": max(node_loss.values(), default=0),
        "head_lost_trials": len(head_loss),
        "head_lost_epochs_most": max(head_loss.values(), default=0),
        "epochs_trained_again": sum(node_loss.values()) + sum(head_loss.values()),
        "epochs": trials * epochs,
        "attempts_counted": sum(r.attempts for r in records),
        "seconds": round(time.monotonic() - start, 1),
        "namespaces": bool(places.count),
    }
    shutil.rmtree(folder)
    return figures


def _join(
    processes: Processes, join: str, folder: Path, prefix: str = ""
) -> list[subprocess.Popen[bytes]]:
    """Start two nodes, one after the other: on one machine they would take each other's ports."""
    nodes = []
    for name, place in _TWO:
        log = folder / f"{prefix}{name}.log"
        nodes.append(processes.ray(f"{prefix}{name}", place, join))
        wait_for(lambda log=log: "Ray runtime started" in log.read_text(), "it joins", nodes[-1])
    return nodes


def _listens(places: Places, port: int) -> bool:
    address = places.address(0)
    try:
        socket.create_connection((address, port), 1.0).close()
    except OSError:
        return False
    return True


def fault(figures: dict[str, object]) -> str | None:
    """What a round shows that must not be; None where nothing does."""
    if not figures["every_trial_once"] or not figures["every_epoch_once"]:
        return "a trial or an epoch is missing, or there twice"
    if figures["complete"] != figures["trials"]:
        return "a trial did not end complete"
    for kind in ("node", "head"):
        if int(str(figures[f"{kind}_lost_epochs_most"])) > EVERY:
            return f"the {kind}'s loss cost more than one checkpoint interval"
        if not figures[f"{kind}_lost_trials"]:
            return f"no trial was lost with the {kind}: nothing was shown"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--netns", action="store_true", help="each node in a network namespace")
    parser.add_argument("--results", type=Path, help="file to which rounds are appended")
    parser.add_argument("--json", type=Path, help="write the figures of the last round")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to clean up
    programs = binaries()
    if programs is None:
        sys.exit("needs PostgreSQL's server: apt install postgresql")
    trials, epochs, rounds = (9, 36, 1) if options.quick else (18, 60, options.rounds)
    done = _known(options.results)
    with Places(options.netns) as places:
        server = Postgres(programs, places.server)
        try:
            while len(done) < rounds:
                figures = one_round(server, places, trials, epochs)
                done.append(figures)
                if options.results:
                    with options.results.open("a") as file:
                        file.write(json.dumps(figures) + "\n")
        finally:
            server.remove()
    for name in done[0]:
        print(f"{name:<24}", *(f"{figures[name]!s:>8}" for figures in done))
    if options.json:
        options.json.write_text(json.dumps(done[-1], indent=1) + "\n")
    faults = [text for figures in done if (text := fault(figures))]
    if faults:
        sys.exit("; ".join(faults))


def _known(results: Path | None) -> list[dict[str, object]]:
    if results is None or not results.exists():
        return []
    return [json.loads(line) for line in results.read_text().splitlines()]


if __name__ == "__main__":
    main()
