from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latsearch.objectives import NUMERIC_COLUMNS, DecisionCurve
from latsearch.snn.decoding import MAX_ROWS, RULES, decide, decision_curve, decision_times
from tests.snn import reference

shapes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(2, 4))
# few distinct values, so that ties and equal potentials occur
coarse = st.integers(-3, 3).map(lambda n: n / 2)
potentials_of_any_shape = shapes.flatmap(
    lambda shape: st.one_of(
        hnp.arrays(np.float64, shape, elements=coarse),
        hnp.arrays(np.float32, shape, elements=st.floats(-9, 9, width=32)),
    )
)
thresholds = st.one_of(coarse, st.floats(-9, 9), st.sampled_from([-math.inf, math.inf]))


@given(potentials_of_any_shape, thresholds)
def test_equals_the_plain_loop(potentials, decision_threshold):
    before = potentials.copy()
    decision = decide(potentials, decision_threshold)
    got = list(
        zip(decision.prediction, decision.decision_time, decision.silent, decision.tie, strict=True)
    )
    assert got == reference.decide(potentials, decision_threshold)
    assert np.array_equal(potentials, before)


@given(potentials_of_any_shape, thresholds, thresholds)
def test_no_decision_is_earlier_at_a_higher_threshold(potentials, a, b):
    early, late = decide(potentials, min(a, b)), decide(potentials, max(a, b))
    assert (early.decision_time <= late.decision_time).all()


@given(potentials_of_any_shape)
def test_numpy_and_torch_agree(potentials):
    labels = np.zeros(potentials.shape[1], dtype=np.int64)
    ours = decision_curve(potentials, labels)
    theirs = decision_curve(torch.from_numpy(potentials), torch.from_numpy(labels))
    assert ours.to_json() == theirs.to_json()


def test_a_first_spike_a_tie_and_a_silent_sample():
    v = np.array(
        [
            [[0.6, 0.0, 0.0], [0.0, 0.0, 0.0], [0.1, 0.2, 0.0]],
            [[0.0, 9.0, 0.0], [0.0, 0.7, 0.7], [0.2, 0.3, 0.4]],
        ]
    )
    decision = decide(v, 0.5)
    assert decision.prediction.tolist() == [0, 1, 2]
    assert decision.decision_time.tolist() == [1, 2, 2]
    assert decision.silent.tolist() == [False, False, True]
    assert decision.tie.tolist() == [False, True, False]


@given(potentials_of_any_shape, st.integers(0, 2**32 - 1), st.sampled_from([None, 0.0]))
def test_rows_are_what_deciding_at_their_threshold_gives(potentials, seed, minimum):
    random = np.random.default_rng(seed)
    timesteps, batch, classes = potentials.shape
    labels = random.integers(0, classes, batch)
    energy = random.random((timesteps, batch)).cumsum(0)
    curve = decision_curve(potentials, labels, energy, minimum_threshold=minimum)
    for row in curve.rows():
        decision = decide(potentials, row["decision_threshold"])
        time = decision.decision_time
        correct = decision.prediction == labels
        expected = {
            "accuracy": correct.mean(),
            "accuracy_silent_wrong": (correct & ~decision.silent).mean(),
            "latency": time.mean(),
            "latency_p95": np.quantile(time, 0.95, method="inverted_cdf"),
            "energy": np.mean([energy[t - 1, b] for b, t in enumerate(time)]),
            "silent_fraction": decision.silent.mean(),
            "tie_fraction": decision.tie.mean(),
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value), name


@given(potentials_of_any_shape, st.integers(0, 2**32 - 1))
def test_latency_of_events_is_the_end_of_the_deciding_bin(potentials, seed):
    random = np.random.default_rng(seed)
    timesteps, batch, _ = potentials.shape
    ends = random.integers(1, 100, (batch, timesteps)).cumsum(1).astype(np.float32)
    labels = np.zeros(batch, dtype=int)
    curve = decision_curve(potentials, labels, bin_ends=ends)
    for row in curve.rows():
        steps = decide(potentials, row["decision_threshold"]).decision_time
        times = np.array([ends[b, t - 1] for b, t in enumerate(steps)])
        assert row["latency"] == pytest.approx(times.mean())
        assert row["latency_p95"] == np.quantile(times, 0.95, method="inverted_cdf")
    in_steps = decision_curve(potentials, labels)
    assert curve.decision_threshold.tolist() == in_steps.decision_threshold.tolist()


def test_bins_of_another_shape_are_named():
    with pytest.raises(ValueError, match=r"bin_ends must be \[2, 3\], got \(3, 2\)"):
        decision_curve(np.zeros((3, 2, 4)), np.zeros(2, dtype=int), bin_ends=np.ones((3, 2)))


@given(potentials_of_any_shape, st.sampled_from([None, 0.0]))
def test_rows_rise_and_differ_and_end_with_the_readout(potentials, minimum):
    labels = np.arange(potentials.shape[1]) % potentials.shape[2]
    curve = decision_curve(potentials, labels, minimum_threshold=minimum)
    assert 2 <= len(curve) <= MAX_ROWS
    assert (np.diff(curve.decision_threshold) > 0).all()
    assert (np.diff(curve.latency[:-1]) > 0).all()
    assert curve.kind == ("first_spike",) * (len(curve) - 1) + ("readout",)
    assert curve.decision_threshold[-1] == math.inf
    assert curve.accuracy[-1] == (potentials[-1].argmax(-1) == labels).mean()
    assert curve.latency[-1] == potentials.shape[0]
    assert curve.silent_fraction[-1] == 0
    if minimum is None:
        assert curve.latency[0] == 1
    else:
        assert curve.decision_threshold[0] >= minimum
    assert np.isnan(curve.energy).all()


@given(potentials_of_any_shape)
def test_labels_have_no_part_in_placing_the_thresholds(potentials):
    batch, classes = potentials.shape[1:]
    placed = [
        decision_curve(potentials, np.full(batch, label)).decision_threshold.tolist()
        for label in range(classes)
    ]
    assert all(thresholds == placed[0] for thresholds in placed)


def test_every_mean_decision_time_is_offered_where_rows_suffice():
    v = np.array([1.0, 2.0, 3.0, 5.0])[None, :, None] * np.array([0.0, 1.0])
    v = np.concatenate([v, v + 10])
    curve = decision_curve(v, np.zeros(4, dtype=int))
    assert curve.latency.tolist() == [1, 1.25, 1.5, 1.75, 2]
    assert curve.decision_threshold.tolist() == [0, 1.5, 2.5, 4, math.inf]


def test_rows_are_spaced_evenly_in_mean_decision_time():
    random = np.random.default_rng(0)
    v = random.normal(size=(5, 4000, 10)).cumsum(0).astype(np.float32)
    curve = decision_curve(v, random.integers(0, 10, 4000))
    assert len(curve) == MAX_ROWS
    assert np.diff(curve.latency[:-1]) == pytest.approx(4 / 62, abs=0.01)


def test_thresholds_survive_json():
    random = np.random.default_rng(0)
    v = random.normal(size=(3, 500, 10)).astype(np.float32)
    labels = random.integers(0, 10, 500)
    curve = decision_curve(v, labels)
    again = DecisionCurve.from_json(curve.to_json())
    for before, after in zip(curve.rows(), again.rows(), strict=True):
        decision = decide(v, after["decision_threshold"])
        assert decision.decision_time.mean() == before["latency"]


def test_adjacent_floats_are_told_apart():
    low = np.float32(1.0)
    high = np.nextafter(low, np.float32(2.0))
    v = np.array([[[low, 0], [high, 0]], [[2, 0], [2, 0]]], dtype=np.float32)
    curve = decision_curve(v, np.zeros(2, dtype=int))
    assert curve.latency.tolist() == [1, 1.5, 2]


def test_silence_below_the_minimum_threshold():
    v = np.zeros((3, 2, 4))
    v[1:, 0, 1] = 1.0
    curve = decision_curve(v, np.array([1, 0]), minimum_threshold=0.0)
    assert curve.silent_fraction.tolist() == [0.5, 0.0]
    assert curve.latency.tolist() == [2.5, 3]
    assert curve.accuracy.tolist() == [1, 1]  # the silent sample's class 0 is an exact tie
    assert curve.accuracy_silent_wrong.tolist() == [0.5, 1]
    assert curve.tie_fraction.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_potentials_must_be_finite(bad):
    v = np.zeros((2, 3, 4))
    v[1, 2, 3] = bad
    with pytest.raises(ValueError, match="not finite"):
        decide(v, 0.0)
    with pytest.raises(ValueError, match="not finite"):
        decision_curve(torch.from_numpy(v), np.zeros(3, dtype=int))


def test_wrong_shapes_are_named():
    v = np.zeros((2, 3, 4))
    with pytest.raises(ValueError, match=r"\[T, B, K\].*\(2, 3\)"):
        decide(np.zeros((2, 3)), 0.0)
    with pytest.raises(ValueError, match="labels must be"):
        decision_curve(v, np.zeros(2, dtype=int))
    with pytest.raises(ValueError, match="energy must be"):
        decision_curve(v, np.zeros(3, dtype=int), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="not empty"):
        decision_curve(np.zeros((2, 0, 4)), np.zeros(0, dtype=int))


def test_bfloat16_potentials():
    v = torch.tensor([[[0.5, 1.0]]], dtype=torch.bfloat16)
    assert decide(v, 0.75).prediction.tolist() == [1]


def test_every_column_is_filled():
    curve = decision_curve(np.ones((2, 3, 4)), np.zeros(3, dtype=int), np.ones((2, 3)))
    for name in NUMERIC_COLUMNS:
        assert len(getattr(curve, name)) == len(curve)


def evidence_by_hand(v: np.ndarray, rule: str) -> float:
    """The evidence of one sample's potentials ``[K]`` at one timestep."""
    ranked = sorted(v.tolist(), reverse=True)
    if rule == "first_spike":
        return ranked[0]
    if rule == "margin":
        return ranked[0] - ranked[1]
    p = [math.exp(x - ranked[0]) for x in v.tolist()]
    p = [x / sum(p) for x in p]
    if rule == "max_softmax":
        return max(p)
    return 1 + sum(x * math.log(x) for x in p if x > 0) / math.log(len(p))


@pytest.mark.parametrize("rule", list(RULES))
@given(
    potentials=hnp.arrays(np.float64, (4, 6, 3), elements=st.floats(-9, 9)),
    threshold=st.floats(-1, 4),
)
def test_every_rule_decides_when_its_evidence_first_exceeds_the_threshold(
    rule, potentials, threshold
):
    evidence = np.array([[evidence_by_hand(v, rule) for v in step] for step in potentials])
    assume(np.abs(evidence - threshold).min() > 1e-9)
    got = decide(potentials, threshold, rule)
    for sample in range(6):
        above = np.flatnonzero(evidence[:, sample] > threshold)
        time = above[0] + 1 if len(above) else 4
        assert got.decision_time[sample] == time
        assert got.silent[sample] == (len(above) == 0)
        assert got.prediction[sample] == potentials[time - 1, sample].argmax()


@pytest.mark.parametrize("rule", list(RULES))
def test_a_curve_of_any_rule_has_its_kind_and_its_readout(rule):
    potentials = np.random.default_rng(0).normal(size=(3, 50, 4)).cumsum(0)
    labels = np.random.default_rng(1).integers(0, 4, 50)
    curve = decision_curve(potentials, labels, rule=rule)
    assert set(curve.kind[:-1]) == {rule}
    assert curve.kind[-1] == "readout"
    assert curve.accuracy[-1] == (potentials[-1].argmax(-1) == labels).mean()
    for threshold, latency in zip(curve.decision_threshold, curve.latency, strict=True):
        assert decide(potentials, threshold, rule).decision_time.mean() == latency


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="'loudest' is no decision rule; known are first_spike"):
        decide(np.zeros((1, 1, 2)), 0.0, "loudest")


@pytest.mark.parametrize("rule", sorted(RULES))
def test_decision_times_are_those_of_the_decisions(rule: str) -> None:
    generator = np.random.default_rng(0)
    potentials = np.round(generator.normal(size=(4, 200, 5)).cumsum(0), 1)  # with ties
    thresholds = np.array([-9.0, -0.3, 0.0, 0.4, 1.0, 2.5, np.inf])
    found = decision_times(potentials, thresholds, rule)
    assert found.shape == (7, 4)
    for counts, threshold in zip(found, thresholds, strict=True):
        times = decide(potentials, threshold, rule).decision_time
        assert counts.tolist() == np.bincount(times, minlength=5)[1:].tolist()
    assert decision_times(potentials[:1], thresholds).tolist() == [[200]] * 7
