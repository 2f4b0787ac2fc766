from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from latsearch.snn.losses import EPSILON, LossRule, decision_loss, tad_weights
from tests.snn import reference


def potentials(scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return scale * torch.randn(4, 5, 6, dtype=torch.float64), torch.randint(0, 6, (5,))


SWITCHES = [
    {},
    {"temperature": 0.1},
    {"temperature": 7.0, "weighting": "inverse"},
    {"through_weights": True, "temperature": 0.5},
    {"through_weights": True, "weighting": "inverse", "mean_logits": True},
    {"mean_logits": True, "label_smoothing": 0.1},
    {"anchor": 0.7, "anchor_threshold": 2.0},
    {"loss": "tet", "mean_logits": True},
    {"loss": "tet_step", "output_keep": 0.5, "anchor": 0.3},
    {"loss": "last", "mean_logits": True, "label_smoothing": 0.2},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_equals_the_plain_loop(switches):
    v, labels = potentials()
    fast, slow = v.clone().requires_grad_(), v.clone().requires_grad_()
    got, _ = decision_loss(fast, labels, LossRule(**switches))
    expected = reference.loss(slow, labels, **switches)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
    got.backward()
    expected.backward()
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-10, atol=1e-14)


def test_tet_of_step_outputs_is_that_of_the_currents():
    torch.manual_seed(0)
    currents, labels = torch.randn(3, 5, 4, dtype=torch.float64), torch.randint(0, 4, (5,))
    v = torch.stack([currents[0], 0.5 * currents[0] + currents[1], torch.zeros(5, 4)])
    v[2] = 0.5 * v[1] + currents[2]
    got, _ = decision_loss(v, labels, LossRule(loss="tet_step", output_keep=0.5))
    expected = torch.stack([F.cross_entropy(step, labels) for step in currents]).mean()
    torch.testing.assert_close(got, expected)


def test_an_infinite_temperature_is_the_mean_over_time():
    v, labels = potentials()
    tet, weights = decision_loss(v, labels, LossRule(loss="tet"))
    tad, _ = decision_loss(v, labels, LossRule(loss="tad", temperature=1e12))
    per_step = [F.cross_entropy(step, labels) for step in v]
    torch.testing.assert_close(tet, torch.stack(per_step).mean())
    torch.testing.assert_close(tad, tet)
    torch.testing.assert_close(weights, torch.full((4,), 0.25, dtype=torch.float64))


def test_a_small_temperature_picks_the_most_confident_timestep():
    v, labels = potentials()
    entropy = torch.distributions.Categorical(logits=v).entropy()
    chosen = entropy.argmin(0)
    got, _ = decision_loss(v, labels, LossRule(loss="tad", temperature=1e-4))
    expected = F.cross_entropy(v[chosen, torch.arange(5)], labels)
    torch.testing.assert_close(got, expected)


def test_the_loss_at_the_last_timestep_alone():
    v, labels = potentials()
    got, weights = decision_loss(v, labels, LossRule(loss="last", label_smoothing=0.1))
    torch.testing.assert_close(got, F.cross_entropy(v[-1], labels, label_smoothing=0.1))
    assert weights.tolist() == [0, 0, 0, 1]


def test_known_weights():
    # an even and a certain prediction of two classes: entropies 1 and 0
    log_p = torch.tensor([[[0.5, 0.5]], [[1.0, 0.0]]], dtype=torch.float64).clamp_min(1e-300).log()
    weights = tad_weights(log_p, 1.0)[:, 0]
    inverse = torch.tensor([1 / (1 + EPSILON), 1 / EPSILON], dtype=torch.float64)
    torch.testing.assert_close(weights, inverse / inverse.sum())


@given(st.floats(0.01, 100), st.floats(0.01, 1e4))
def test_weights_are_a_detached_distribution(temperature, scale):
    v, _ = potentials(scale)
    weights = tad_weights(torch.log_softmax(v.requires_grad_(), -1), temperature)
    assert not weights.requires_grad
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(0), torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize("scale", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("loss", ["tad", "tet", "tet_step", "last"])
def test_extreme_potentials_give_finite_gradients(scale, loss):
    v = (scale * potentials(1.0)[0]).float().requires_grad_()
    rule = LossRule(loss=loss, temperature=0.01, label_smoothing=0.1, anchor=0.1)
    value, _ = decision_loss(v, potentials()[1], rule)
    value.backward()
    assert math.isfinite(value.item())
    assert v.grad.isfinite().all()


def test_centring_over_the_classes_changes_neither_loss_nor_argmax():
    v, labels = potentials()
    centred = v - v.mean(-1, keepdim=True)
    torch.testing.assert_close(
        decision_loss(v, labels, LossRule(loss="tad"))[0],
        decision_loss(centred, labels, LossRule(loss="tad"))[0],
    )
    assert torch.equal(v.argmax(-1), centred.argmax(-1))


def test_an_unknown_loss_is_named():
    v, labels = potentials()
    with pytest.raises(ValueError, match="'mse'"):
        decision_loss(v, labels, LossRule(loss="mse"))
