"""Running the server until it is told to stop."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from latsearch.config.code import allowing_code
from latsearch.errors import UserError
from latsearch.located import locate
from latsearch.runs import DEFAULT_RUNS, Runs
from latsearch.serving.options import ServeOptions

_GRACE = 30  # seconds that requests have to finish after a signal
_CONNECTIONS = 1024


def serve(
    model: str | Path,
    options: ServeOptions | None = None,
    runs: Runs = DEFAULT_RUNS,
    ready: Callable[[str, str], None] = lambda name, url: None,
) -> None:
    """Serve a network over HTTP until SIGTERM or Ctrl-C; requests that are in are answered.

    Args:
        model: a trial such as ``runs/digits:22``, or the folder of a checkpoint.
        options: where, and what a client may ask.
        runs: folder of all studies.
        ready: told the network's name and the URL, once connections are taken.

    Raises:
        UserError: there is no such network, the address cannot be listened at, or the extra
            `serve` is not installed.
    """
    try:
        import uvicorn

        from latsearch.serving.app import Service, build_app
    except ModuleNotFoundError as error:
        raise UserError(f"serving needs {error.name}: pip install 'latsearch[serve]'") from None
    import torch

    options = options or ServeOptions()
    found = locate(model, runs)
    wanted = options.decision_threshold
    threshold = found.threshold() if wanted is None else wanted
    with _listening(options) as listener:
        torch.set_num_threads(options.threads)
        with allowing_code(options.allow_code):
            network = found.load()
        service = Service(found, network, threshold, options)
        service.warm_up()
        config = uvicorn.Config(
            build_app(service),
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE,
        )
        ready(found.name, _url(listener))
        with _signals_end_it():
            uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _listening(options: ServeOptions) -> Iterator[socket.socket]:
    """A socket that takes connections from now on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"--host {options.host}: {error.strerror or error}") from None
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_CONNECTIONS)
        except OSError as error:
            raise UserError(
                f"{options.host}:{options.port}: cannot be listened at: {error.strerror}; choose "
                "another --port, or 0 for a free one"
            ) from None
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """The server raises the signal that ended it once more: it has done its work by then."""

    def ignored(number: int, frame: FrameType | None) -> None:
        return None

    before = {number: signal.signal(number, ignored) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
