"""The Ray that a search runs on: this machine's own, or a cluster's at an address.

Beside `engine.py` the only file that knows Ray.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints in spite of verbose=0
    "RAY_task_events_report_interval_ms": "0",  # Ray's server keeps them: 14 kB a trial
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # all workers start at once; we bound them ourselves
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # they take 5 ms and 150 kB of memory a trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C has to reach us
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Ray's experiment snapshot is never read
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402  (reads the environment when it is imported)

import psutil  # isort: skip  # noqa: E402  (comes with Ray)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

from latsearch.config import StudyConfig  # noqa: E402
from latsearch.errors import UserError  # noqa: E402
from latsearch.search import leftovers  # noqa: E402
from latsearch.search.address import check_reachable, refused  # noqa: E402
from latsearch.search.interrupts import renew  # noqa: E402

_LOGGER = logging.getLogger("latsearch")
_OBJECT_STORE = 128 * 2**20  # bytes beside the data; Ray would otherwise reserve a third of memory
_LOOK_AGAIN = 2.0  # seconds for which what a cluster has is taken for known
_JUST_NOW = 30.0  # seconds within which a node's loss explains the death of a worker
_LOOK_AT_HEAD = 5.0  # seconds between two looks
_LOOK_AT_OWN = 1.0
_PATIENCE = 60.0  # seconds for a node to answer
_WAIT_FOR_ROOM = 300.0  # seconds for a first node that has room for a trial

Node = Mapping[str, Any]  # as Ray describes it


@dataclass(frozen=True)
class Resources:
    """What one trial takes, and how many run at a time.

    Attributes:
        per_trial: amounts by Ray's names.
        workers: trials at a time.
        fixed: whether that many were asked for; else it follows the nodes that come and go.
    """

    per_trial: Mapping[str, float]
    workers: int
    fixed: bool


class RayNodes:
    """Ray for the life of the context, from `start` on.

    It takes seconds to start, as does importing torch: `start` returns at once, `resources` waits.

    Args:
        data_bytes: size of the data that go to the shared memory of each node.
        address: of a cluster, ``auto`` or ``HOST:PORT``; None starts Ray on this machine.
        warn: takes a line for the user.
    """

    def __init__(
        self,
        data_bytes: int,
        address: str | None = None,
        warn: Callable[[str], None] = _LOGGER.warning,
    ):
        self._data_bytes = data_bytes
        self.address = address
        self._warn = warn
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ray start")
        self._started: Future[None] | None = None
        self._closed = threading.Event()
        self._own: _OwnRay | None = None

    def __enter__(self) -> RayNodes:
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        if self._started is not None:
            wait([self._started])
            # while the thread is there: Ray's processes die with the thread that started them, and
            # its end waits a minute for an answer of theirs
            self._end(clear=error[0] is None)
        self._thread.shutdown(wait=True)

    def _end(self, *, clear: bool) -> None:
        own = self._own if clear else None
        if own is not None:
            own.note_agents()
        ray.shutdown()
        if own is not None:
            own.clear()

    def start(self) -> None:
        """Start Ray, or connect to it, in the background, unless that was done already.

        Raises:
            UserError: the process uses Ray for something else.
        """
        if self._started is not None:
            return
        if ray.is_initialized():
            raise UserError("this process uses Ray already: call ray.shutdown() before a search")
        if self.address is None:
            self._started = self._thread.submit(self._launch)
        else:
            self._started = self._thread.submit(self._join, self.address)

    def _launch(self) -> None:
        _start(self._data_bytes)
        self._own = _OwnRay()
        watch = threading.Thread(target=self._watch_own, name="ray", daemon=True)
        watch.start()

    def _watch_own(self) -> None:
        """End the process where Ray's own has died: Ray would, a minute later and without a word.

        There is no way to go on within it: what Ray keeps in a process outlasts `ray.shutdown`.
        """
        assert self._own is not None
        while not self._closed.wait(_LOOK_AT_OWN):
            dead = self._own.dead()
            if dead and not self._closed.is_set():
                self._warn(
                    f"Ray's {dead} on this machine died (killed, or out of memory?), and the "
                    "search ends with it: what was reported is kept, and the same command goes on"
                )
                sys.stdout.flush()
                os._exit(1)

    def _join(self, address: str) -> None:
        _connect(address)
        head = str(ray.get_runtime_context().gcs_address)
        watch = threading.Thread(target=self._watch, args=(head,), name="ray head", daemon=True)
        watch.start()

    def _watch(self, head: str) -> None:
        """Say that the head is gone: Ray ends the process a minute later without a word."""
        missed = 0
        while not self._closed.wait(_LOOK_AT_HEAD):
            try:
                check_reachable(head)
            except UserError:
                missed += 1
            else:
                missed = 0
            if missed == 3:
                self._warn(
                    f"the cluster's head at {head} does not answer any more; if it stays away, "
                    "this search ends in a moment: start it again, and the same command goes on"
                )

    def wait(self) -> None:
        """Wait until Ray is there.

        Raises:
            UserError: it cannot be reached, or does not let us in.
        """
        self.start()
        assert self._started is not None
        self._started.result()
        renew()  # Ray has taken a polite kill for itself

    def resources(self, config: StudyConfig, workers: int | None) -> Resources:
        """What a trial takes, and how many run at a time; waits for Ray.

        In a cluster it waits for a first node with room, and more than fit may be asked for: nodes
        that are added later, by hand or by an autoscaler, take them.

        Args:
            config: the study.
            workers: trials at a time; None for as many as fit.

        Raises:
            UserError: a trial, or the wanted number of them, does not fit.
        """
        self.wait()
        wanted = config.resources.per_trial()
        there = room(wanted, alive())
        if self.address is not None:
            self._check_memory()
            if workers is not None:
                if there < workers:
                    self._warn(
                        f"{there} of {workers} trials at a time have room on the cluster's nodes; "
                        "the others wait for further nodes"
                    )
                return Resources(wanted, workers, fixed=True)
            there = there or self._wait_for_room(wanted)
        if there < (workers or 1):
            raise UserError(_too_small(wanted, workers, alive(), self.address))
        return Resources(wanted, workers or there, fixed=workers is not None)

    def _check_memory(self) -> None:
        """Check that the data fit into the shared memory of every node.

        Raises:
            UserError: they do not.
        """
        for node in alive():
            memory = node["Resources"].get("object_store_memory", 0.0)
            if memory < self._data_bytes:
                raise UserError(
                    f"{node_name(node)} has {memory / 1e6:.0f} MB of shared memory for data of "
                    f"{self._data_bytes / 1e6:.0f} MB: start it with `ray start "
                    "--object-store-memory=BYTES`"
                )

    def _wait_for_room(self, wanted: Mapping[str, float]) -> int:
        """Wait for a node with room for a trial; 0 where none came."""
        text = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items())
        self._warn(f"no node of the cluster has {text}; waiting up to {_WAIT_FOR_ROOM:.0f} s")
        deadline = time.monotonic() + _WAIT_FOR_ROOM
        there = 0
        while there == 0 and time.monotonic() < deadline:
            time.sleep(1.0)
            there = room(wanted, alive())
        return there


class _OwnRay:
    """The Ray that this process has started on this machine."""

    def __init__(self) -> None:
        self._node = ray._private.worker._global_node
        self._session = Path(self._node.get_session_dir_path())
        with suppress(OSError):
            leftovers.mark(self._session)
            leftovers.sweep(self._session.parent)
        self._processes = dict(self._node.live_processes())
        self._agents: list[psutil.Process] = []

    def dead(self) -> str | None:
        """Which of the processes that nothing goes on without has died."""
        names = [name for name, _ in self._node.dead_processes()]
        return next((name for name in names if name in ("gcs_server", "raylet")), None)

    def note_agents(self) -> None:
        """Note which processes Ray's daemon has started, as long as that can be seen."""
        with suppress(psutil.Error):
            self._agents = psutil.Process(self._processes["raylet"].pid).children(True)

    def clear(self) -> None:
        """Remove what is left after a shutdown; where a search failed it is left to be looked at.

        Ray's agents try for a minute to report the death of their parent to a server that is gone.
        """
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(5.0)  # killed by now: it is no zombie any more
        for agent in self._agents:
            with suppress(psutil.Error):
                agent.kill()  # not another process that has its number now: psutil compares
        leftovers.remove(self._session)


class Room:
    """How many trials run at a time, as nodes come and go."""

    def __init__(self, resources: Resources):
        self._resources = resources
        self._found = resources.workers
        self._looked = time.monotonic()
        self._known = {str(node["NodeID"]) for node in alive()}
        self._gone: dict[str, float] = {}  # node → when it was found to be gone

    def __call__(self) -> int:
        """Trials that the cluster has room for now, known to two seconds."""
        if not self._resources.fixed and time.monotonic() - self._looked > _LOOK_AGAIN:
            there = [node for node in alive() if node["NodeID"] not in self._gone]
            self._known |= {str(node["NodeID"]) for node in there}
            self._found = room(self._resources.per_trial, there)
            self._looked = time.monotonic()
        return self._found

    def lost(self, node_id: str | None) -> bool:
        """Whether the node of a worker that died is gone; None: whether any went just now.

        Ray itself takes some ten seconds to say so: its daemon there is asked.
        """
        there = {str(node["NodeID"]): node for node in alive()}
        asked = self._known if node_id is None else {node_id}
        gone = {
            each
            for each in asked - self._gone.keys()
            if each not in there or not _answers(there[each])
        }
        now = time.monotonic()
        self._gone |= dict.fromkeys(gone, now)
        if gone:
            self._looked = -math.inf
        if node_id is not None:
            return node_id in self._gone
        return any(now - moment < _JUST_NOW for moment in self._gone.values())


def alive() -> list[Node]:
    """The nodes that are there, as far as Ray knows."""
    return [node for node in ray.nodes() if node["Alive"]]


def _answers(node: Node) -> bool:
    """Whether Ray's daemon on a node takes a connection, at the second attempt at the latest."""
    place = (node["NodeManagerAddress"], node["NodeManagerPort"])
    for pause in (0.5, 0.0):
        try:
            socket.create_connection(place, 2.0).close()
        except OSError:
            time.sleep(pause)
        else:
            return True
    return False


def room(wanted: Mapping[str, float], nodes: Sequence[Node]) -> int:
    """How many trials run at a time: on a node as many as fit into each of its resources.

    A fraction of a GPU is one of a single GPU: of 0.4 each, two go on every GPU.
    """
    return sum(
        min(_fit(name, amount, node["Resources"]) for name, amount in wanted.items())
        for node in nodes
    )


def _fit(name: str, amount: float, there: Mapping[str, float]) -> int:
    found = there.get(name, 0.0)
    if name == "GPU" and amount < 1:
        return int(found) * math.floor(1 / amount + 1e-9)
    return math.floor(found / amount + 1e-9)


def _too_small(
    wanted: Mapping[str, float], workers: int | None, nodes: Sequence[Node], address: str | None
) -> str:
    needed = workers or 1
    scarce = min(wanted, key=lambda name: room({name: wanted[name]}, nodes))
    there = sum(node["Resources"].get(scarce, 0.0) for node in nodes)
    field = {"CPU": "resources.cpus_per_trial", "GPU": "resources.gpus_per_trial"}.get(
        scarce, "resources.custom" if ":" not in scarce else "resources.accelerator_type"
    )
    what = f"{needed} trial{'s' if needed > 1 else ''} at a time with {wanted[scarce]:g} {scarce}"
    if address is None:
        advice = f"lower {field}{' or --workers' if workers else ''}"
        return f"{what} each do not fit this machine's {there:g} {scarce}: {advice}"
    return (
        f"{what} do not fit any of the {len(nodes)} nodes at {address}, which have {there:g} "
        f"{scarce} in all: lower {field}, add a node, or wait for one with --workers N"
    )


def _start(data_bytes: int) -> None:
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    _hush()
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        object_store_memory=data_bytes + _OBJECT_STORE,
    )
    _hush()


def _connect(address: str) -> None:
    """Join a cluster.

    Raises:
        UserError: nobody answers, or we are not let in.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    if address != "auto":
        check_reachable(address)
    try:
        with _silent():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        _hush()
    except ray.exceptions.AuthenticationError:
        raise refused(address) from None
    except ConnectionError as error:
        if "Could not find any running Ray instance" in str(error):
            raise UserError(
                "--address auto: no Ray runs on this machine: start it with `ray start --head`, or "
                "with `ray start --address=HOST:PORT` where a head is"
            ) from None
        raise refused(address) from None
    except (RuntimeError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise UserError(f"--address {address}: {line}") from None


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what Ray's C++ parts write off the user's terminal: a line a second, without a token."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    before = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def _hush() -> None:
    """Keep pages about dead nodes and workers out of the search's lines, which say it in one.

    Ray prints them whatever `log_to_driver` says, through a function of its own.
    """
    worker = ray._private.worker
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *words, **named: None


def node_name(node: Node) -> str:
    """A node in words: its address, and the start of its id, since one may host several."""
    return f"node {node['NodeManagerAddress']} ({node['NodeID'][:6]})"


def ask_each_node(
    question: Callable[..., Any], *words: Any, patience: float = _PATIENCE
) -> dict[str, Any]:
    """Call a function once on every node, all at the same time.

    Returns:
        The answers by the nodes' names, or the exceptions; a `TimeoutError` where none came.
    """
    asked = ray.remote(num_cpus=0, max_retries=0)(question)
    pending = {}
    for node in alive():
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        pending[node_name(node)] = asked.options(scheduling_strategy=here).remote(*words)
    deadline = time.monotonic() + patience
    answers: dict[str, Any] = {}
    for name, answer in pending.items():
        try:
            answers[name] = ray.get(answer, timeout=max(0.0, deadline - time.monotonic()))
        except ray.exceptions.GetTimeoutError:
            answers[name] = TimeoutError(f"no answer within {patience:.0f} s")
        except Exception as error:  # the node's own, whatever it is
            answers[name] = error
    return answers
