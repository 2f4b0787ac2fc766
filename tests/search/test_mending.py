"""Damaged journals: whatever single line is spoiled, the rest of the study is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from latsearch.errors import StudyError
from latsearch.search.mending import intact, sealed
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState
from tests.search.studies import config, new_search, new_study, report, train

EPOCHS = 3


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The journal of a study with trials that ended, one that crashed, and one under way."""
    folder = tmp_path_factory.mktemp("study")
    search = new_search(new_study(folder, config(sampler="random", trials=5)))
    for _ in range(2):
        train(search, search.ask())
    first, second = search.ask(), search.ask()  # at the same time: their entries are mixed
    values = [dict(search.records[a.number].values) for a in (first, second)]
    for epoch in range(1, EPOCHS + 1):
        search.report(first.number, report(values[0], epoch))
        if epoch < EPOCHS:
            search.report(second.number, report(values[1], epoch))
    search.complete(first.number)
    return (folder / "study.journal").read_bytes().splitlines(keepends=True)


@pytest.fixture
def folder(tmp_path: Path, lines: list[bytes]) -> Path:
    new_study(tmp_path, config(sampler="random", trials=5))
    name = json.loads(lines[0])["study_name"]
    header = json.loads((tmp_path / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps(header | {"name": name}))
    return tmp_path


def opened(folder: Path, lines: list[bytes]) -> list[TrialRecord]:
    """The trials of a study with this journal, after it was mended."""
    (folder / "study.journal").write_bytes(b"".join(lines))
    return Study.open(folder, drive=True).trials()


def spoiled(line: bytes, how: str) -> bytes:
    middle = len(line) // 2
    return {
        "bit": line[:middle] + bytes([line[middle] ^ 1]) + line[middle + 1 :],
        "zeros": b"\0" * (len(line) - 1) + b"\n",
        "cut": line[:middle] + b"\n",
        "end": line[:-1] + b"\0",
        "gone": b"\n",
    }[how]


def test_a_line_and_its_checksum() -> None:
    line = sealed({"op_code": 8, "text": 'a"}\n', "n": [1, 2.5]})
    assert line.endswith(b'"}\n')
    assert line.count(b"\n") == 1
    assert intact(line)
    assert json.loads(line).items() >= {"op_code": 8, "text": 'a"}\n'}.items()
    for place in range(
        line.index(b',"crc"')
    ):  # a damaged checksum may pass: an older line has none
        assert not intact(line[:place] + bytes([line[place] ^ 2]) + line[place + 1 :])


def test_an_intact_journal_is_left_as_it_is(folder: Path, lines: list[bytes]) -> None:
    records = opened(folder, lines)
    assert [len(r.log) for r in records] == [3, 3, 3, 2]
    assert (folder / "study.journal").read_bytes() == b"".join(lines)
    assert not list(folder.glob("*damaged*"))


@pytest.mark.parametrize("how", ["bit", "zeros", "cut", "end", "gone"])
def test_whatever_line_is_spoiled_the_others_are_there(
    folder: Path, lines: list[bytes], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every line in turn: at most what the line itself said is lost, and that is said."""
    whole = opened(folder, lines)
    for place, line in enumerate(lines):
        entry = json.loads(line)
        caplog.clear()
        spoilt = [*lines[:place], spoiled(line, how), *lines[place + 1 :]]
        needed = entry["op_code"] == 0 or entry.get("user_attr", {}).keys() & {
            "config", "reference", "created",
        }  # fmt: skip
        if needed and how != "end":
            with pytest.raises(StudyError, match="damaged"):
                opened(folder, spoilt)
            for kept in folder.glob("*damaged*"):
                kept.unlink()
            continue
        records = opened(folder, spoilt)
        if how == "end" and place + 1 == len(lines):
            continue  # cut off as an unfinished line
        assert "everything else is there" in caplog.text
        if how != "end":
            assert f"line {place + 1} is damaged" in caplog.text
        missing = [
            (before.number, epoch)
            for before, after in zip(whole, records, strict=True)
            for epoch in before.log.keys() - after.log.keys()
        ]
        reports = [(entry.get("trial_id"), e) for e in range(1, 4)
                   if f"report:{e:06d}" in entry.get("user_attr", {})]  # fmt: skip
        assert missing == ([] if how == "end" else reports)
        for before, after in zip(whole, records, strict=True):
            assert before.values == after.values
            assert {e: before.log[e] for e in after.log} == dict(after.log)
            ended = entry["op_code"] == 6 and entry["trial_id"] == before.number
            running = TrialState.RUNNING if ended and how != "end" else before.state
            assert after.state is running
        for kept in folder.glob("*damaged*"):
            assert kept.read_bytes() == b"".join(spoilt)
            kept.unlink()
        assert all(map(intact, (folder / "study.journal").read_bytes().splitlines()))


def test_a_creation_that_nothing_tells_of_is_a_failed_trial(
    folder: Path, lines: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """All of trial 1 but its end is lost: the other trials keep what is theirs."""
    entries = [json.loads(line) for line in lines]
    creations = [i for i, entry in enumerate(entries) if entry["op_code"] == 4]
    spoilt = list(lines)
    for place, entry in enumerate(entries):
        of_it = entry.get("trial_id") == 1 and entry["op_code"] == 8
        if of_it or place == creations[1]:
            spoilt[place] = b"\0" * len(lines[place])  # with the ends of the lines
    whole = opened(folder, lines)
    records = opened(folder, spoilt)
    assert [r.state for r in records][1] is TrialState.FAILED
    assert records[1].reason is not None
    assert "trial 1 is lost" in caplog.text
    for number in (0, 2, 3):
        assert records[number] == whole[number]
    search = new_search(Study.open(folder, drive=True))  # and the search goes on
    while not search.done:
        train(search, search.ask())
    assert [r.state.value for r in search.records.values()].count("complete") == 4


def test_readers_of_a_damaged_journal_are_told_what_mends_it(
    folder: Path, lines: list[bytes]
) -> None:
    (folder / "study.journal").write_bytes(b"".join([*lines[:9], b"\0\n", *lines[10:]]))
    with pytest.raises(StudyError, match="latsearch run"):
        Study.open(folder)


def test_a_journal_without_checksums_is_an_earlier_versions(
    folder: Path, lines: list[bytes]
) -> None:
    plain = [re.sub(rb',"crc":"[0-9a-f]+"}', b"}", line) for line in lines]
    assert opened(folder, plain) == opened(folder, lines)
    with pytest.raises(StudyError, match="its first line"):
        opened(folder, [b"\0\n", *plain[1:]])
