"""Packed reports: they read like the entries they were made of, in a tenth of the memory."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latsearch.objectives import NUMERIC_COLUMNS, DecisionCurve, EpochReport
from latsearch.search.mending import REPORT
from latsearch.search.packed import PackedReport, pack_reports
from latsearch.search.storage import Study
from tests.search.studies import config, new_study

numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers()
values = st.recursive(
    numbers | st.text(max_size=8) | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
)
entries = st.dictionaries(
    st.sampled_from(["curve", "decision_times", "epoch", "metrics", "checkpoint"]), values
)


@given(entries)
def test_a_packed_report_reads_like_its_entry(entry: dict[str, Any]) -> None:
    packed = PackedReport(entry)
    assert dict(packed) == entry
    assert packed == entry
    assert packed == PackedReport(entry)
    assert len(packed) == len(entry)
    assert {**packed, "epoch": 7} == {**entry, "epoch": 7}
    assert copy.deepcopy(packed) == packed
    assert packed.get("weights") is None
    assert json.loads(json.dumps(dict(packed))) == entry
    with pytest.raises(KeyError):
        packed["weights"]


def test_two_that_differ_are_not_equal() -> None:
    assert PackedReport({"epoch": 1, "curve": {"accuracy": [0.5]}}) != {
        "epoch": 1,
        "curve": {"accuracy": [0.25]},
    }
    assert PackedReport({"epoch": 1}) != 1


def test_only_reports_are_packed() -> None:
    attributes = {f"{REPORT}000001": {"epoch": 1}, "reason": "silent", "ran": {"host": "a"}}
    pack_reports(attributes)
    assert isinstance(attributes[f"{REPORT}000001"], PackedReport)
    assert attributes["ran"] == {"host": "a"}
    assert type(attributes["ran"]) is dict
    before = attributes[f"{REPORT}000001"]
    pack_reports(attributes)
    assert attributes[f"{REPORT}000001"] is before


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_a_study_holds_its_reports_packed(tmp_path: Path, storage: str) -> None:
    url = None if storage == "journal" else f"sqlite:///{tmp_path}/study.db"
    study = new_study(tmp_path / "study", config().model_copy(update={"storage": url}))
    number = study.new_trial({"train.lr": 0.01})
    rising = np.sort(np.random.default_rng(0).random((len(NUMERIC_COLUMNS), 100)))
    curve = DecisionCurve(
        kind=("first_spike",) * 100, **dict(zip(NUMERIC_COLUMNS, rising, strict=True))
    )
    report = EpochReport(1, curve, {"train_loss": 0.5}, 1.0)
    entry = study.append_report(number, report, token=1)
    assert isinstance(entry, PackedReport)
    assert EpochReport.from_json(entry).curve.to_json() == report.curve.to_json()
    changed = study.note_checkpoint(number, 1, entry, "checkpoints/00000/0001")
    for opened in (study, Study.open(study.folder)):
        kept = opened.trials()[number].log[1]
        assert isinstance(kept, PackedReport)
        assert kept == changed
        assert kept["checkpoint"] == "checkpoints/00000/0001"
        assert kept["curve"] == report.curve.to_json()
        text = json.dumps(kept["curve"])
        assert sum(map(sys.getsizeof, kept._large.values())) < 0.6 * len(text)
