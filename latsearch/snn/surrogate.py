"""Surrogate derivatives of the spike ``1[x > 0]``, with x the distance to the firing threshold.

Each has unit area and the peak 1/w, so that the width w means the same for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

SurrogateDerivative = Callable[[Tensor, float], Tensor]


def triangle(x: Tensor, width: float) -> Tensor:
    """``max(0, 1 - |x|/w) / w``.

    Example:
        >>> triangle(torch.tensor([-2.0, -0.5, 0.0, 1.0]), 2.0)
        tensor([0.0000, 0.3750, 0.5000, 0.2500])
    """
    return x.abs().mul_(-1.0 / width**2).add_(1.0 / width).clamp_min_(0.0)


def sigmoid(x: Tensor, width: float) -> Tensor:
    """Derivative of the logistic function ``σ(4 x / w)``."""
    value = torch.sigmoid(x * (4.0 / width))
    return torch.addcmul(value, value, value, value=-1.0).mul_(4.0 / width)


def arctan(x: Tensor, width: float) -> Tensor:
    """Derivative of ``arctan(π x / w) / π + 1/2``: ``1 / (w (1 + (π x / w)²))``."""
    return (x * (math.pi / width)).square_().add_(1.0).mul_(width).reciprocal_()


def rectangle(x: Tensor, width: float) -> Tensor:
    """``1/w`` where ``|x| < w/2``, else 0."""
    return (x.abs() < width / 2).to(x.dtype).mul_(1.0 / width)


SURROGATES: Mapping[str, SurrogateDerivative] = {
    "triangle": triangle,
    "rectangle": rectangle,
    "sigmoid": sigmoid,
    "arctan": arctan,
}
