"""The journal: what was appended is there for others at once, and on the disk soon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from latsearch.errors import StudyError
from latsearch.search.journal import Journal
from latsearch.search.mending import mend


def flushed(journal: Journal) -> bool:
    deadline = time.monotonic() + 10
    while journal._flushing and time.monotonic() < deadline:
        time.sleep(0.001)
    return not journal._flushing and not journal._dirty


def test_entries_are_read_by_others_from_any_number_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "study.journal")
    journal.append_logs([{"n": 0}, {"n": 1}])
    journal.append_logs([{"n": 2, "text": "a\nb"}])
    other = Journal(tmp_path / "study.journal")
    assert [entry["n"] for entry in other.read_logs(0)] == [0, 1, 2]
    assert list(other.read_logs(2)) == [{"n": 2, "text": "a\nb"}]
    journal.append_logs([{"n": 3}])
    assert [entry["n"] for entry in other.read_logs(3)] == [3]
    assert flushed(journal)


def test_the_driver_does_not_wait_for_the_disk_but_all_gets_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, sizes = threading.Event(), []

    def slow_disk(descriptor: int) -> None:
        gate.wait(10)
        sizes.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", slow_disk)
    path = tmp_path / "study.journal"
    journal = Journal(path)
    for number in range(50):
        journal.append_logs([{"n": number}])
    assert sizes == []  # nobody waited
    assert [entry["n"] for entry in journal.read_logs(0)] == list(range(50))
    gate.set()
    assert flushed(journal)
    assert sizes[-1] == path.stat().st_size
    assert len(sizes) <= 3  # many entries, one flush
    journal.append_logs([{"n": 50}])
    assert flushed(journal)
    assert sizes[-1] == path.stat().st_size


def test_many_appenders_lose_nothing(tmp_path: Path) -> None:
    journals = [Journal(tmp_path / "study.journal") for _ in range(5)]

    def append(journal: Journal, first: int) -> None:
        for number in range(first, first + 40):
            journal.append_logs([{"n": number}])

    threads = [
        threading.Thread(target=append, args=(journal, 40 * index))
        for index, journal in enumerate(journals)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entry["n"] for entry in journals[0].read_logs(0)) == list(range(200))
    assert all(flushed(journal) for journal in journals)


def test_what_was_appended_survives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; "
        "from latsearch.search.journal import Journal; journal = Journal(Path(sys.argv[1])); "
        "[journal.append_logs([{'n': n}]) for n in range(20)]; os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "study.journal"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [entry["n"] for entry in Journal(path).read_logs(0)] == list(range(20))


@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_a_journal_that_is_gone_is_not_begun_anew(tmp_path: Path, whole: bool) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    journal = Journal(folder / "study.journal")
    journal.append_logs([{"n": 0}])
    moved = (folder if whole else folder / "study.journal").rename(tmp_path / "moved")
    with pytest.raises(StudyError, match=r"study.journal is gone: .*; put the study's folder back"):
        journal.append_logs([{"n": 1}])
    moved.rename(folder if whole else folder / "study.journal")
    journal.append_logs([{"n": 1}])
    assert [entry["n"] for entry in journal.read_logs(0)] == [0, 1]
    assert flushed(journal)


def test_a_journal_that_is_deleted_while_it_is_flushed_is_no_error(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "study.journal")
    journal.append_logs([{"n": 0}])
    (tmp_path / "study.journal").unlink()
    assert flushed(journal)


@pytest.mark.parametrize("rest", [b"", b'{"half', b"x" * 3000])
def test_mending_cuts_off_an_unfinished_line_alone(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "study.journal"
    path.write_bytes(b'{"n": 0}\n{"n": 1}\n' + rest)
    mend(path)
    assert path.read_bytes() == b'{"n": 0}\n{"n": 1}\n'
