"""A server's life: it starts, is full, is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
import requests
import uvicorn
from torch import Tensor

from latsearch import api
from latsearch.errors import UserError
from latsearch.located import locate
from latsearch.serving.app import Service, build_app
from latsearch.snn.decoding import Decision
from tests.serving.conftest import DEADLINE, running
from tests.test_cli import latsearch

IMAGE = {"image": np.zeros((8, 8), int).tolist()}


class Held(Service):
    """A service whose network waits until it is let."""

    gate = threading.Event()

    def _decide(self, images: Tensor) -> Decision:
        assert self.gate.wait(DEADLINE)
        return super()._decide(images)


def until(condition) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_full_server_says_when_to_come_again(study: Path) -> None:
    found = locate(f"{study}:0")
    service = Held(found, found.load(), 1.0, api.ServeOptions(max_waiting=2))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(build_app(service), log_level="error"))
        thread = threading.Thread(target=asyncio.run, args=(server.serve([listener]),))
        thread.start()
        try:
            until(lambda: server.started)

            def health() -> dict[str, int]:
                return requests.get(url + "/health", timeout=DEADLINE).json()

            def ask() -> requests.Response:
                return requests.post(url + "/predict", json=IMAGE, timeout=DEADLINE)

            with ThreadPoolExecutor(3) as pool:
                first = pool.submit(ask)  # its batch is being computed
                until(lambda: service.batcher._running is not None and not health()["waiting"])
                others = [pool.submit(ask) for _ in range(2)]
                until(lambda: health()["waiting"] == 2)
                refused = ask()
                assert refused.status_code == 503
                assert int(refused.headers["Retry-After"]) >= 1
                assert "wait already" in refused.json()["detail"]
                service.gate.set()
                assert [one.result().status_code for one in (first, *others)] == [200] * 3
            assert ask().status_code == 200
        finally:
            service.gate.set()
            server.should_exit = True
            thread.join(DEADLINE)
    assert not thread.is_alive()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_answers_what_is_in(study: Path, number: signal.Signals) -> None:
    body = b'{"image": [' + b",".join([b"[0,0,0,0,0,0,0,0]"] * 8) + b"]}"
    head = (
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with running(f"{study}:0") as (url, process):
        address = urlparse(url)
        with socket.create_connection((address.hostname, address.port), DEADLINE) as connection:
            connection.sendall(head.encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 100")  # the request is being read
            process.send_signal(number)
            until(lambda: _refuses(address.hostname, address.port))  # it listens no more
            connection.sendall(body)
            answer = b""
            while part := connection.recv(4096):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"prediction":' in answer
        assert process.wait(DEADLINE) == 0


def _refuses(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), DEADLINE).close()
    except OSError:
        return True
    return False


def test_what_cannot_be_served(study: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = latsearch("serve", f"{study}:0", "--port", port, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"127.0.0.1:{port}: cannot be listened at: Address already in use; choose another --port, "
        "or 0 for a free one"
    )
    done = latsearch("serve", f"{study}:7", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no trial 7" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [({"max_batch": 0}, "max_batch"), ({"port": 70000}, "port"), ({"timeout": -1.0}, "timeout")],
)
def test_options_that_make_no_sense(options: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        api.ServeOptions(**options)
