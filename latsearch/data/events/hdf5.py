"""HDF5 files from anybody, read by a process of their own.

HDF5's library trusts a file's structure: one that is damaged makes it run in circles or fall over,
which nothing in the same process can stop. Here only the reading process ends.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORKER = Path(__file__).with_name("hdf5_worker.py")
LENGTH = -1
Column = tuple[Sequence[str], int | None]


class Hdf5Error(ValueError):
    """A file that is damaged, or lacks a data set.

    Attributes:
        missing: name of the data set that is not there; None where it is another fault.
    """

    def __init__(self, message: str, missing: str | None = None):
        super().__init__(message)
        self.missing = missing


def read_columns(file: Path, columns: Sequence[Column]) -> list[NDArray[Any]]:
    """Data sets of numbers in a file, ``[N]`` each.

    Args:
        file: the file.
        columns: for each, the names that it may have, and which of its rows is wanted where its
            rows are lists; None for all of it, `LENGTH` for how many there are.

    Raises:
        Hdf5Error: the file is damaged, or one is not there.
    """
    return _reader.ask(file, columns)


class _Reader:
    """The process, started when it is needed, and again where it fell over."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, file: Path, columns: Sequence[Column]) -> list[NDArray[Any]]:
        request = {"file": str(file.absolute()), "columns": [[list(n), row] for n, row in columns]}
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except OSError:
                line = b""
            if not line:
                self.close()
                raise Hdf5Error("HDF5's library came to no end with it, or fell over")
            answer = json.loads(line)
            if "error" in answer:
                missing = answer["error"] if answer["missing"] else None
                raise Hdf5Error(answer["error"], missing)
            return [
                np.frombuffer(process.stdout.read(length * np.dtype(kind).itemsize), kind)
                for kind, length in answer["arrays"]
            ]

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._process


_reader = _Reader()
atexit.register(_reader.close)
