"""One driver a study, across processes and kills."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from latsearch.errors import StudyError
from latsearch.search.lock import DriverLock, driver_of

_HOLD = """
import sys, time
from pathlib import Path
from latsearch.search.lock import DriverLock
with DriverLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_driver_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        assert str(holder.pid) in str(driver_of(tmp_path))
        with (
            pytest.raises(StudyError, match=f"another `latsearch run` .*pid {holder.pid}"),
            DriverLock(tmp_path),
        ):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with DriverLock(tmp_path):
        assert driver_of(tmp_path) is not None
    assert driver_of(tmp_path) is None


def test_a_folder_without_a_lock_has_no_driver(tmp_path: Path) -> None:
    assert driver_of(tmp_path) is None
