"""Gaussian processes: the gradient, interpolation, and observations that were only believed."""

from __future__ import annotations

import numpy as np
import pytest

from latsearch.search.processes import _loss, fit, kernel

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.random((30, 4))
TARGETS = np.stack([np.sin(3 * INPUTS[:, 0]) + INPUTS[:, 1], 5 * INPUTS[:, 1] ** 2], axis=1)


def test_the_gradient_is_the_slope_of_the_loss():
    squares = (INPUTS[:, None] - INPUTS[None]) ** 2
    standard = (TARGETS - TARGETS.mean(0)) / TARGETS.std(0)
    point = np.array([0.1, -0.3, 0.5, 1.0, -4.0])
    _, gradient = _loss(point, squares, standard)
    for axis, step in enumerate(1e-6 * np.eye(5)):
        above, _ = _loss(point + step, squares, standard)
        below, _ = _loss(point - step, squares, standard)
        assert gradient[axis] == pytest.approx((above - below) / 2e-6, rel=1e-4)


def test_kernel_falls_from_one_to_zero():
    values = kernel(np.array([0.0, 0.5, 1.0, 50.0]))
    assert values[0] == 1.0
    assert (np.diff(values) < 0).all()
    assert values[-1] < 1e-12


def test_a_smooth_function_is_predicted_at_new_places():
    process = fit(INPUTS, TARGETS)
    new = np.random.default_rng(1).random((50, 4))
    mean, deviation = process.predict(new)
    truth = np.stack([np.sin(3 * new[:, 0]) + new[:, 1], 5 * new[:, 1] ** 2], axis=1)
    assert np.abs(mean - truth).max() < 0.2 * TARGETS.std(0).max()
    assert (np.abs(mean - truth) < 4 * deviation + 0.05).mean() > 0.95


def test_inputs_without_influence_get_long_scales():
    scales = fit(INPUTS, TARGETS).scales
    assert min(scales[2:]) > 2 * max(scales[:2])


def test_believing_its_own_means_changes_no_mean_and_lowers_deviations():
    process = fit(INPUTS, TARGETS)
    believed, new = np.random.default_rng(2).random((2, 6, 4))
    after = process.believing(believed)
    mean, deviation = process.predict(new)
    np.testing.assert_allclose(after.predict(new)[0], mean, atol=1e-8)
    assert (after.predict(new)[1] <= deviation + 1e-9).all()
    assert (after.predict(believed)[1] < process.predict(believed)[1]).all()


def test_constant_targets_are_predicted_as_they_are():
    mean, _ = fit(INPUTS, np.full((30, 1), 3.0)).predict(INPUTS[:5])
    np.testing.assert_allclose(mean, 3.0)
