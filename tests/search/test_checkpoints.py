"""One contract for checkpoints, in a folder and on a real S3 server."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import threading
import time
import uuid
from pathlib import Path

import pytest

from latsearch.errors import UserError
from latsearch.search.checkpoints import (
    STATE,
    WEIGHTS,
    Checkpoints,
    FolderCheckpoints,
    ObjectCheckpoints,
    StorageError,
    outlast,
)
from latsearch.search.objects import below, file_system
from latsearch.search.probe import check_here, look_around, node_fault
from tests.s3 import S3Server


@pytest.fixture(params=["folder", "s3"])
def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoints:
    if request.param == "folder":
        return FolderCheckpoints(tmp_path / "study", shared=True)
    server: S3Server = request.getfixturevalue("s3")
    return ObjectCheckpoints(server.uri(f"runs/{uuid.uuid4().hex}"), tmp_path / "cache")


def written(text: str) -> object:
    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        for name in (WEIGHTS, STATE, "config.json"):
            (folder / name).write_text(f"{name} {text}")

    return write


def save(checkpoints: Checkpoints, number: int, epoch: int, text: str = "") -> str:
    return checkpoints.save(number, epoch, written(text))  # type: ignore[arg-type]


def test_what_is_saved_is_read_elsewhere(checkpoints: Checkpoints) -> None:
    name = save(checkpoints, 3, 5, "five")
    assert int(name.rsplit("/", 1)[1]) == 5
    assert name.startswith("trials/00003/")
    elsewhere = pickle.loads(pickle.dumps(checkpoints))
    with elsewhere.reading(name) as folder:
        assert (folder / STATE).read_text() == f"{STATE} five"
    fetched = elsewhere.fetched(name)
    assert fetched is not None
    assert (fetched / WEIGHTS).read_text() == f"{WEIGHTS} five"
    assert elsewhere.fetched(name) == fetched


def test_names_and_removal(checkpoints: Checkpoints) -> None:
    assert checkpoints.names(3) == []
    one, two = save(checkpoints, 3, 5), save(checkpoints, 3, 10)
    other = save(checkpoints, 30, 5)
    assert sorted(checkpoints.names(3)) == sorted([one, two])
    checkpoints.remove(one)
    checkpoints.remove(one)  # it is gone already
    assert checkpoints.names(3) == [two]
    assert checkpoints.names(30) == [other]
    assert checkpoints.fetched(one) is None


def test_the_state_goes_and_the_weights_stay(checkpoints: Checkpoints) -> None:
    name = save(checkpoints, 1, 2)
    checkpoints.drop_state(name)
    checkpoints.drop_state(name)
    with checkpoints.reading(name) as folder:
        assert sorted(file.name for file in folder.iterdir()) == ["config.json", WEIGHTS]


def test_objects_are_never_written_twice(s3: S3Server, tmp_path: Path) -> None:
    """A worker that was given up and its successor write the same epoch: to different names."""
    uri = s3.uri(f"runs/{uuid.uuid4().hex}")
    zombie, successor = ObjectCheckpoints(uri, tmp_path), ObjectCheckpoints(uri, tmp_path)
    names = [save(zombie, 0, 5, "zombie"), save(successor, 0, 5, "successor")]
    assert len(set(names)) == 2
    with successor.reading(names[1]) as folder:
        assert (folder / WEIGHTS).read_text().endswith("successor")


def test_a_server_that_is_away_for_a_while(s3: S3Server, tmp_path: Path) -> None:
    checkpoints = ObjectCheckpoints(s3.uri(f"runs/{uuid.uuid4().hex}"), tmp_path)
    first = save(checkpoints, 0, 1)
    s3.signal(signal.SIGSTOP)
    back = threading.Timer(4.0, s3.signal, [signal.SIGCONT])
    back.start()
    start = time.monotonic()
    second = save(checkpoints, 0, 2)
    assert time.monotonic() - start > 2.0
    back.join()
    assert sorted(checkpoints.names(0)) == sorted([first, second])


def test_a_lost_checkpoint_is_an_error_at_once_in_object_storage(
    s3: S3Server, tmp_path: Path
) -> None:
    checkpoints = ObjectCheckpoints(s3.uri("runs/none"), tmp_path)
    with pytest.raises(StorageError, match=r"runs/none: .*no such checkpoint"):
        checkpoints.reading("trials/00000/0a1b2c3d/00001").__enter__()


def test_signs(checkpoints: Checkpoints, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    assert list(checkpoints.signs()) == []
    checkpoints.sign("one")
    facts = look_around(checkpoints, "one")
    assert "one" in facts.sees
    assert facts.fault is None
    check_here(checkpoints, "one")
    assert len(checkpoints.signs()) >= 2  # the driver's, and this machine's
    checkpoints.remove_signs()
    assert list(checkpoints.signs()) == []


def test_a_node_that_does_not_see_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latsearch.search.probe._LAG", 0.1)
    checkpoints = FolderCheckpoints(tmp_path)
    facts = look_around(checkpoints, "of another machine's folder")
    fault = node_fault("node 10.0.0.3", facts, facts.versions, checkpoints, "the driver's")
    assert fault == (
        f"node 10.0.0.3 does not see what this machine writes to {tmp_path}: give --runs a folder "
        "that all machines share under one path, or s3://BUCKET/PREFIX"
    )
    nowhere = FolderCheckpoints(tmp_path / "not" / "mounted")
    facts = look_around(nowhere, "x")
    fault = node_fault("node 10.0.0.3", facts, facts.versions, nowhere, "x")
    assert str(fault).startswith(f"node 10.0.0.3 cannot write to {tmp_path}/not/mounted ([Errno 2]")


@pytest.mark.parametrize(
    ("package", "theirs", "fault"),
    [
        ("latsearch", "0.0.1", "n has latsearch 0.0.1, this machine .*: install the same on both"),
        ("python", "3.9.7", r"n has python 3\.9, this machine 3\.\d+: "),
        ("torch", "1.0", None),
    ],
)
def test_versions_have_to_agree(
    tmp_path: Path, package: str, theirs: str, fault: str | None
) -> None:
    import re
    from dataclasses import replace

    checkpoints = FolderCheckpoints(tmp_path)
    checkpoints.sign("s")
    facts = look_around(checkpoints, "s")
    other = replace(facts, versions={**facts.versions, package: theirs})
    found = node_fault("n", other, facts.versions, checkpoints, "s")
    assert (found is None) if fault is None else re.match(fault, str(found))


def test_a_node_without_latsearch(tmp_path: Path) -> None:
    here = look_around(None, "").versions
    error = ModuleNotFoundError("No module named 'latsearch'")
    fault = node_fault("n", error, here, FolderCheckpoints(tmp_path), "s")
    assert str(fault).startswith("n: it lacks latsearch or what that needs: install ")


def test_storage_that_is_away_is_waited_for() -> None:
    calls = []

    def flaky() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise OSError(errno.EIO, "AWS Error NETWORK_CONNECTION")
        return "there"

    assert outlast(flaky, "s3://bucket") == "there"
    assert len(calls) == 3


def test_storage_that_can_never_work_is_not_waited_for() -> None:
    def refused() -> None:
        raise OSError(errno.EACCES, "Permission denied")

    with pytest.raises(StorageError, match=r"^/runs: .*Permission denied$"):
        outlast(refused, "/runs")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_or_read_only_disk_is_waited_for(number: int) -> None:
    left = [OSError(number, os.strerror(number))]

    def full() -> str:
        if left:
            raise left.pop()
        return "written"

    assert outlast(full, "/runs") == "written"
    left += [OSError(number, os.strerror(number))] * 9
    with pytest.raises(StorageError, match=os.strerror(number)):
        outlast(full, "/runs", patience=0.0)


def test_uris() -> None:
    assert below("gs://bucket/runs/", "digits") == "gs://bucket/runs/digits"
    assert below("s3://b?region=x", "a") == "s3://b/a?region=x"
    with pytest.raises(UserError, match="write no credentials into the address") as caught:
        file_system("s3://key:s3cret@bucket/runs")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(UserError, match=r"^nonsense://bucket"):
        file_system("nonsense://bucket/runs")


def test_what_a_killed_worker_left_is_removed_and_no_checkpoint(tmp_path: Path) -> None:
    checkpoints = FolderCheckpoints(tmp_path)
    name = save(checkpoints, 5, 4)
    left = tmp_path / "trials/00005/.00006-35d4d9420ab24831a60475eb127a0ce4"
    written("half")(left)  # type: ignore[operator]
    assert list(checkpoints.names(5)) == [name]
    checkpoints.remove_unfinished(5)
    assert not left.exists()
    assert list(checkpoints.names(5)) == [name]
    checkpoints.remove_unfinished(6)  # of which nothing was written
