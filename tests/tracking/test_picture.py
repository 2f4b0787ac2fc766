"""The picture of a trial: well-formed, and with everything that the trial has recorded."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from latsearch.search.trials import TrialRecord
from latsearch.tracking.picture import trial_picture
from tests.tracking.synthetic import SyntheticStudy

_SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def record(synthetic: SyntheticStudy) -> TrialRecord:
    synthetic.trial(checkpoint=True)
    return synthetic.study.trials()[0]


def test_curve_decision_times_and_firing_rates(
    record: TrialRecord, synthetic: SyntheticStudy
) -> None:
    picture = ElementTree.fromstring(trial_picture(record, synthetic.config))
    texts = [element.text or "" for element in picture.iter(f"{_SVG}text")]
    assert record.curve is not None
    # a mark a row, the readout a square; the ring
    assert len(list(picture.iter(f"{_SVG}circle"))) == len(record.curve) - 1 + 1
    best = int(np.argmax(record.curve.accuracy[:-1]))  # the readout decides all at T
    for t, count in enumerate((300 - best, best + 60), start=1):
        assert f"t = {t}" in texts
        assert f"{count / 360:.1%}" in texts
    assert {"encoder", "layer1"} <= set(texts)
    assert "trial 0 after epoch 3" in texts


def test_a_trial_of_an_earlier_version_has_no_decision_times(
    record: TrialRecord, synthetic: SyntheticStudy
) -> None:
    log = {epoch: {**entry, "decision_times": None} for epoch, entry in record.log.items()}
    picture = trial_picture(replace(record, log=log), synthetic.config)
    assert picture is not None
    assert "t = 1" not in picture
    assert "layer1" in picture


def test_nothing_to_draw(synthetic: SyntheticStudy) -> None:
    synthetic.start()
    assert trial_picture(synthetic.study.trials()[0], synthetic.config) is None


def test_one_row_and_many_layers(record: TrialRecord, synthetic: SyntheticStudy) -> None:
    last = record.last
    assert last is not None
    curve = type(last.curve).from_json(
        {name: values[:1] for name, values in last.curve.to_json().items()}
    )
    entry = replace(
        last,
        curve=curve,
        metrics={f"firing_rate_<{i}>": 0.1 * i for i in range(40)},
        decision_times=((360,),),
    ).to_json()
    log = {last.epoch: {**record.log[last.epoch], **entry}}
    picture = ElementTree.fromstring(trial_picture(replace(record, log=log), synthetic.config))
    texts = [element.text for element in picture.iter(f"{_SVG}text")]
    assert "and 16 more" in texts
    assert "<3>" in texts
    assert "100.0%" in texts
