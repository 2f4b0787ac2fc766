"""Losses over the output potentials of all timesteps.

Temporal adaptive decision (TAD): with ``p = softmax(V[t])`` and the normalised entropy
``H[t] = -Σ_k p log p / ln K`` the cross-entropy of timestep t is weighted by
``Λ[t] = softmax_t(-log(H + ε) / τ)``, detached: a sample is trained most where it is confident.
τ → ∞ is the plain mean over time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

EPSILON = 1e-3


def tad_weights(log_probabilities: Tensor, temperature: float) -> Tensor:
    """TAD's weights Λ over time.

    Args:
        log_probabilities: ``[T, B, K]``.
        temperature: τ > 0.

    Returns:
        ``[T, B]``, detached, each sample's summing to one.
    """
    log_probabilities = log_probabilities.detach()
    classes = log_probabilities.shape[-1]
    entropy = -(log_probabilities.exp() * log_probabilities).sum(-1) / math.log(classes)
    return torch.softmax(-torch.log(entropy.clamp_min(0.0) + EPSILON) / temperature, dim=0)


def decision_loss(
    potentials: Tensor,
    labels: Tensor,
    *,
    loss: str,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy over time, averaged over the samples.

    Args:
        potentials: ``[T, B, K]``.
        labels: ``[B]`` int64.
        loss: ``tad``; ``tet``, the plain mean over time; ``last``, timestep T alone.
        temperature: τ of ``tad``.
        label_smoothing: fraction of the target spread evenly over all classes.

    Returns:
        The loss, a scalar, and the mean weight of each timestep, ``[T]``.
    """
    log_probabilities = torch.log_softmax(potentials, dim=-1)
    timesteps, batch, _ = potentials.shape
    target = labels.view(1, batch, 1).expand(timesteps, batch, 1)
    cross_entropy = -log_probabilities.gather(-1, target).squeeze(-1)
    if label_smoothing > 0.0:
        uniform = -log_probabilities.mean(-1)
        cross_entropy = (1.0 - label_smoothing) * cross_entropy + label_smoothing * uniform
    if loss == "tad":
        weights = tad_weights(log_probabilities, temperature)
    elif loss == "tet":
        weights = torch.full_like(cross_entropy, 1.0 / timesteps)
    elif loss == "last":
        weights = torch.zeros_like(cross_entropy)
        weights[-1] = 1.0
    else:
        raise ValueError(f"loss must be tad, tet or last, got {loss!r}")
    return (weights * cross_entropy).sum(0).mean(), weights.mean(1)
