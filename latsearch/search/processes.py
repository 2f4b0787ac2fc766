"""Gaussian processes for several outputs that share their inputs, in NumPy.

Notation of C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, 2006:
inputs X ``[N, D]`` scaled to 0..1, targets Y ``[N, Q]``, kernel k, noise variance s². The kernel is
Matérn-5/2 with a length scale l_d for each input dimension; all Q outputs share it.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import (  # type: ignore[import-untyped]
    cho_factor,
    cho_solve,
    solve_triangular,
)
from scipy.optimize import minimize  # type: ignore[import-untyped]
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from latsearch.objectives import FloatArray

_ROOT_5 = math.sqrt(5.0)
_SCALE_PRIOR = (0.7, 0.7)  # mean and deviation of log l_d
_NOISE_PRIOR = (math.log(1e-2), 1.5)  # of log s²
_BOUNDS = ((-3.0, 4.0), (math.log(1e-5), math.log(0.5)))  # of log l_d and of log s²
_STEPS = 30  # of the optimiser


@dataclass(frozen=True, eq=False)
class Process:
    """A fitted process.

    Attributes:
        scales: ``[D]`` length scales.
        noise: noise variance, of standardised outputs.
        mean: ``[Q]`` of the outputs.
        deviation: ``[Q]`` of the outputs.
        inputs: ``[N, D]``.
        weights: ``[N, Q]`` K⁻¹ Y of the standardised outputs.
        factor: ``[N, N]`` lower Cholesky factor of K.
    """

    scales: FloatArray
    noise: float
    mean: FloatArray
    deviation: FloatArray
    inputs: FloatArray
    weights: FloatArray
    factor: FloatArray

    def predict(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean ``[P, Q]`` and standard deviation ``[P, Q]`` of the outputs without noise."""
        across = kernel(_distance(inputs, self.inputs, self.scales))
        mean = across @ self.weights
        explained = solve_triangular(self.factor, across.T, lower=True, check_finite=False)
        variance = np.maximum(1.0 - (explained**2).sum(axis=0), 1e-9)
        return (
            self.mean + mean * self.deviation,
            np.sqrt(variance)[:, None] * self.deviation,
        )

    def believing(self, inputs: FloatArray) -> Process:
        """The process with its own means as observations at further inputs ``[P, D]``."""
        targets, _ = self.predict(inputs)
        known = kernel(_distance(self.inputs, self.inputs, self.scales)) @ self.weights
        known += self.noise * self.weights
        standard = (targets - self.mean) / self.deviation
        return _solved(
            self.scales,
            self.noise,
            self.mean,
            self.deviation,
            np.concatenate([self.inputs, inputs]),
            np.concatenate([known, standard]),
        )


def one_thread() -> AbstractContextManager[object]:
    """A context in which NumPy and SciPy compute with one thread.

    The matrices here are small: threads would only wait for each other, ten times as long where
    trainings keep the cores busy. And figures do not depend on the number of cores.
    """
    limited: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limited


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def fit(inputs: FloatArray, targets: FloatArray) -> Process:
    """Fit length scales and noise by their largest posterior density.

    Args:
        inputs: ``[N, D]`` on the scale 0..1.
        targets: ``[N, Q]``, finite.
    """
    mean, deviation = targets.mean(axis=0), targets.std(axis=0)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    standard = (targets - mean) / deviation
    squares = (inputs[:, None, :] - inputs[None, :, :]) ** 2
    start = np.append(np.full(inputs.shape[1], _SCALE_PRIOR[0]), _NOISE_PRIOR[0])
    bounds = [_BOUNDS[0]] * inputs.shape[1] + [_BOUNDS[1]]
    found = minimize(
        _loss, start, (squares, standard), "L-BFGS-B", jac=True, bounds=bounds,
        options={"maxiter": _STEPS},
    ).x  # fmt: skip
    scales, noise = np.exp(found[:-1]), float(np.exp(found[-1]))
    return _solved(scales, noise, mean, deviation, inputs, standard)


def kernel(distance: FloatArray) -> FloatArray:
    """Matérn-5/2 of scaled distances r: (1 + √5 r + 5 r²/3) exp(-√5 r)."""
    near = _ROOT_5 * distance
    value: FloatArray = (1.0 + near + near**2 / 3.0) * np.exp(-near)
    return value


def _distance(a: FloatArray, b: FloatArray, scales: FloatArray) -> FloatArray:
    difference = (a[:, None, :] - b[None, :, :]) / scales
    distance: FloatArray = np.sqrt((difference**2).sum(axis=-1))
    return distance


def _solved(
    scales: FloatArray,
    noise: float,
    mean: FloatArray,
    deviation: FloatArray,
    inputs: FloatArray,
    standard: FloatArray,
) -> Process:
    covariance = kernel(_distance(inputs, inputs, scales))
    factor, _ = cho_factor(covariance + noise * np.eye(len(inputs)), lower=True)
    weights = cho_solve((factor, True), standard)
    return Process(scales, noise, mean, deviation, inputs, weights, np.tril(factor))


def _loss(
    point: NDArray[np.float64], squares: FloatArray, standard: FloatArray
) -> tuple[float, FloatArray]:
    """Negative log posterior density, by output, and its gradient at (log l, log s²)."""
    rows, outputs = standard.shape
    inverse = np.exp(-2.0 * point[:-1])
    noise = math.exp(point[-1])
    near = _ROOT_5 * np.sqrt(squares @ inverse)
    decay = np.exp(-near)
    covariance = (1.0 + near + near**2 / 3.0) * decay + noise * np.eye(rows)
    try:
        factor = cho_factor(covariance, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e9, np.zeros_like(point)
    weights = cho_solve(factor, standard, check_finite=False)
    loss = 0.5 * float((standard * weights).sum()) / outputs
    loss += float(np.log(np.diag(factor[0])).sum())
    # d loss / d K, then along each parameter
    outer = 0.5 * (
        cho_solve(factor, np.eye(rows), check_finite=False) - weights @ weights.T / outputs
    )
    slope = outer * (5.0 / 3.0) * (1.0 + near) * decay  # of the kernel by -log l, over r² by d
    gradient = np.append(
        np.einsum("ij,ijd->d", slope, squares) * inverse, noise * float(np.trace(outer))
    )
    for where, (center, width) in ((slice(-1), _SCALE_PRIOR), (slice(-1, None), _NOISE_PRIOR)):
        off = (point[where] - center) / width
        loss += 0.5 * float((off**2).sum())
        gradient[where] += off / width
    return loss, gradient
