"""Python runs this at its start where the folder is on its path: the wall clock can be stepped.

`time.time` is the way in which the time of day enters a search (reports, sessions, MLflow, and
Ray's Python parts); what waits and what times out goes by the monotonic clock. libfaketime would
shift the C++ parts too, but with it Python's own `time.sleep` fails.
"""

import os
import time

_FILE = os.environ.get("LATSEARCH_CHAOS_CLOCK")
_KNOWN_FOR = 0.2  # seconds for which the file's word is taken


def _step_clock(file: str) -> None:
    real = time.time
    step, looked = 0.0, -1.0

    def stepped() -> float:
        nonlocal step, looked
        now = time.monotonic()
        if now - looked > _KNOWN_FOR:
            looked = now
            try:
                with open(file) as text:
                    step = float(text.read() or step)
            except (OSError, ValueError):  # it is being written
                pass
        return real() + step

    time.time = stepped


if _FILE:
    _step_clock(_FILE)
