"""Ctrl-C and polite kills, taken where they do no harm.

Python raises `KeyboardInterrupt` between any two instructions. Within the machinery of an import
that leaves a lock behind for which every other thread waits for ever: an interrupt while Ray starts
in a thread, and the main thread imports torch, left a process that neither went on nor ended.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_IMPORTS = "<frozen importlib"
_LATER = 0.05  # seconds after which an interrupt that came within an import is tried again

_waiting = threading.Event()  # an interrupt came within an import
_requested = threading.Event()  # an interrupt was raised


@contextmanager
def interrupts() -> Iterator[None]:
    """Take interrupts outside of imports for the life of the context; only in the main thread.

    A signal that Python does not turn into `KeyboardInterrupt` is left as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    ours = [number for number in _SIGNALS if before[number] is signal.default_int_handler]
    for number in ours:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
        if ours:  # else the context around this one still has to see it
            _requested.clear()


def renew() -> None:
    """Take the signals back from a library that has set handlers of its own below Python's.

    Ray's answers to SIGTERM with a trace, and the end of the process.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, handler)


def check() -> None:
    """Raise an interrupt again that was lost where Python cannot pass on exceptions.

    Raises:
        KeyboardInterrupt: there was one.
    """
    if _requested.is_set():
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _importing(frame):
        _waiting.clear()
        _requested.set()
        raise KeyboardInterrupt
    if not _waiting.is_set():
        _waiting.set()
        _again(number)


def _again(number: int) -> None:
    """Send the signal once more in a moment."""

    def send() -> None:
        _waiting.clear()
        os.kill(os.getpid(), number)

    timer = threading.Timer(_LATER, send)
    timer.daemon = True
    timer.start()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTS):
            return True
        frame = frame.f_back
    return False
