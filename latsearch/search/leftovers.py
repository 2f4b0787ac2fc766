"""What Ray leaves behind: processes that outlive it for a minute, folders that stay for ever."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

_MARK = "latsearch"  # file in a session folder of ours: the driver's process id
_KEPT = 24 * 3600.0  # seconds that the logs of a driver that was killed stay, to be looked at


def mark(session: Path) -> None:
    """Note in a Ray session's folder that it is this process's."""
    (session / _MARK).write_text(str(os.getpid()))


def remove(session: Path) -> None:
    """Remove a session's folder, and the link to it where it was the latest."""
    shutil.rmtree(session, ignore_errors=True)
    latest = session.parent / "session_latest"
    if latest.is_symlink() and not latest.exists():
        latest.unlink(missing_ok=True)


def sweep(sessions: Path) -> None:
    """Remove session folders of searches that were killed, a day later; nobody else's."""
    for file in sessions.glob(f"session_*/{_MARK}"):
        try:
            old = time.time() - file.stat().st_mtime > _KEPT
            if old and not file.parent.is_symlink() and not _runs(int(file.read_text())):
                remove(file.parent)
        except (OSError, ValueError):
            continue


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
