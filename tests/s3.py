"""A real S3 server for the tests (moto's), in a process of its own on a free port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "s3cret-of-the-bucket",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class S3Server:
    """An S3 server with the bucket ``latsearch``."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/latsearch", method="PUT")
        with urllib.request.urlopen(request, timeout=30):
            pass

    def start(self) -> None:
        """Start it, and wait until it answers; a server that was killed has lost everything."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            env={**os.environ, **CREDENTIALS},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def signal(self, number: int) -> None:
        """Send the server's process a signal, e.g. to stop for a while."""
        assert self._process is not None
        self._process.send_signal(number)

    def uri(self, path: str) -> str:
        """The URI of a path in the bucket."""
        where = f"endpoint_override=127.0.0.1%3A{self.port}&scheme=http&region=us-east-1"
        return f"s3://latsearch/{path}?{where}"

    def remove(self) -> None:
        """Stop it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
