"""Losses over the output potentials of all timesteps.

Temporal adaptive decision (TAD): with ``p = softmax(V[t])`` and the normalised entropy
``H[t] = -Σ_k p log p / ln K`` the cross-entropy of timestep t is weighted by
``Λ[t] = softmax_t(-log(H + ε) / τ)``, detached: a sample is trained most where it is confident.
τ → ∞ is the plain mean over time, TET's form (arXiv 2202.11946). Every choice that the method
leaves open is a field of `LossRule`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from latsearch.config.trial import NetworkConfig, TrainConfig

EPSILON = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRule:
    """What is minimised.

    Attributes:
        loss: ``tad``; ``tet``, the plain mean over time; ``tet_step``, that of the timesteps' own
            outputs ``V[t] - λ_o V[t-1]``, as TET was published; ``last``, timestep T alone.
        temperature: τ of ``tad``.
        weighting: ``log`` for ``softmax_t(-log(H + ε) / τ)``, ``inverse`` for
            ``softmax_t(1 / (τ (H + ε)))``.
        through_weights: whether gradients flow through the weights Λ too.
        mean_logits: whether ``V[t] / t`` are the logits, not ``V[t]``.
        label_smoothing: fraction of the target spread evenly over all classes.
        anchor: weight μ of ``BCE(σ(V - θ_d), onehot)``, which ties the potentials to a threshold.
        anchor_threshold: θ_d of the anchor.
        output_keep: λ_o of the output potentials.
    """

    loss: str = "tad"
    temperature: float = 1.0
    weighting: str = "log"
    through_weights: bool = False
    mean_logits: bool = False
    label_smoothing: float = 0.0
    anchor: float = 0.0
    anchor_threshold: float = 1.0
    output_keep: float = 1.0

    @classmethod
    def of(cls, train: TrainConfig, network: NetworkConfig) -> LossRule:
        """The loss of a trial."""
        tau = network.output_tau_mem
        return cls(
            loss=train.loss,
            temperature=train.temperature,
            weighting=train.tad_weighting,
            through_weights=train.tad_gradient,
            mean_logits=train.logits == "mean",
            label_smoothing=train.label_smoothing,
            anchor=train.anchor,
            anchor_threshold=train.anchor_threshold,
            output_keep=1.0 if tau is None else 1.0 - 1.0 / tau,
        )


def tad_weights(
    log_probabilities: Tensor,
    temperature: float,
    weighting: str = "log",
    *,
    through_weights: bool = False,
) -> Tensor:
    """TAD's weights Λ over time.

    Args:
        log_probabilities: ``[T, B, K]``.
        temperature: τ > 0.
        weighting: ``log`` or ``inverse``, see `LossRule`.
        through_weights: whether the weights carry gradients.

    Returns:
        ``[T, B]``, each sample's summing to one.
    """
    if not through_weights:
        log_probabilities = log_probabilities.detach()
    classes = log_probabilities.shape[-1]
    entropy = -(log_probabilities.exp() * log_probabilities).sum(-1) / math.log(classes)
    above_zero = entropy.clamp_min(0.0) + EPSILON
    confidence = above_zero.reciprocal() if weighting == "inverse" else -torch.log(above_zero)
    return torch.softmax(confidence / temperature, dim=0)


def decision_loss(potentials: Tensor, labels: Tensor, rule: LossRule) -> tuple[Tensor, Tensor]:
    """Cross-entropy over time, averaged over the samples.

    Args:
        potentials: ``[T, B, K]``.
        labels: ``[B]`` int64.
        rule: which loss.

    Returns:
        The loss, a scalar, and the mean weight of each timestep, ``[T]``.

    Raises:
        ValueError: the rule's loss is not known.
    """
    cross_entropy, log_probabilities = _cross_entropy(_logits(potentials, rule), labels, rule)
    if rule.loss == "tad":
        weights = tad_weights(
            log_probabilities,
            rule.temperature,
            rule.weighting,
            through_weights=rule.through_weights,
        )
    elif rule.loss in ("tet", "tet_step"):
        weights = torch.full_like(cross_entropy, 1.0 / len(potentials))
    elif rule.loss == "last":
        weights = torch.zeros_like(cross_entropy)
        weights[-1] = 1.0
    else:
        raise ValueError(f"loss must be tad, tet, tet_step or last, got {rule.loss!r}")
    total = (weights * cross_entropy).sum(0).mean()
    if rule.anchor > 0.0:
        total = total + rule.anchor * _anchor(potentials, labels, rule.anchor_threshold)
    return total, weights.detach().mean(1)


def _logits(potentials: Tensor, rule: LossRule) -> Tensor:
    """``[T, B, K]``: what the softmax of each timestep is taken of."""
    if rule.loss == "tet_step":
        earlier = torch.cat([torch.zeros_like(potentials[:1]), potentials[:-1]])
        return torch.add(potentials, earlier, alpha=-rule.output_keep)
    if rule.mean_logits:
        steps = torch.arange(1, len(potentials) + 1, device=potentials.device)
        return potentials / steps.to(potentials.dtype)[:, None, None]
    return potentials


def _cross_entropy(logits: Tensor, labels: Tensor, rule: LossRule) -> tuple[Tensor, Tensor]:
    """``[T, B]`` cross-entropies, and ``[T, B, K]`` log-probabilities."""
    log_probabilities = torch.log_softmax(logits, dim=-1)
    timesteps, batch, _ = logits.shape
    target = labels.view(1, batch, 1).expand(timesteps, batch, 1)
    cross_entropy = -log_probabilities.gather(-1, target).squeeze(-1)
    if rule.label_smoothing > 0.0:
        uniform = -log_probabilities.mean(-1)
        cross_entropy = (
            1.0 - rule.label_smoothing
        ) * cross_entropy + rule.label_smoothing * uniform
    return cross_entropy, log_probabilities


def _anchor(potentials: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Binary cross-entropy of "exceeds the threshold" with "is the class", over all timesteps."""
    classes = potentials.shape[-1]
    wanted = F.one_hot(labels, classes).to(potentials.dtype).expand_as(potentials)
    return F.binary_cross_entropy_with_logits(potentials - threshold, wanted)
