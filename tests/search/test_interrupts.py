"""Interrupts: outside of imports, never lost, and given back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from latsearch.search.interrupts import check, interrupts, renew

SLOW = """
import os, signal, threading
os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C in the middle of an import
sum(range(10_000_000))
done = True
"""
MAIN = """
import sys, threading
from latsearch.search.interrupts import interrupts
try:
    with interrupts():
        import slow_module
        while True:
            pass
except KeyboardInterrupt:
    print("interrupted", sys.modules["slow_module"].done)
other = threading.Thread(target=lambda: __import__("wave"), daemon=True)
other.start()
other.join(60)
print("imports go on", "wave" in sys.modules)
"""


def test_an_interrupt_waits_for_the_end_of_an_import(tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text(SLOW)
    done = subprocess.run(
        [sys.executable, "-c", MAIN],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["interrupted True", "imports go on True"], done.stderr


def test_an_interrupt_elsewhere_comes_at_once_and_is_not_lost() -> None:
    with interrupts():
        check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()  # as where the first one was raised in a place that drops exceptions
    check()


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interrupts():
        assert signal.getsignal(signal.SIGINT) is not before[0]
        assert signal.getsignal(signal.SIGTERM) is before[1]  # that one ends the process
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_another_thread_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with interrupts():
            seen.append(signal.getsignal(signal.SIGINT))
            renew()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert seen == [before]
