"""The loops over time, on ``[T, N]`` views: eager, or compiled into one kernel each.

Plain functions of tensors and scalars, so that `torch.compile` fuses each into a single pass.
Nothing is compiled at import; `scans` compiles on its first call with ``compiled=True``.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from latsearch.snn.surrogate import SURROGATES

_log = logging.getLogger(__name__)


def fire_scan(
    current: Tensor, keep: float, firing_threshold: float, soft_reset: bool, strict: bool
) -> tuple[Tensor, Tensor]:
    """Spikes and membrane potentials before the reset, each ``[T, N]``.

    A strict neuron that has spiked gets the potential -inf from then on: it can never spike again
    and every surrogate derivative is zero there, which is all the backward scan needs to know.
    """
    potentials: list[Tensor] = []
    spent: Tensor | None = None
    for step in current.unbind(0):
        if not potentials:
            h = step
        else:
            before = potentials[-1]
            spiked = before > firing_threshold
            if soft_reset:
                v = torch.where(spiked, before - firing_threshold, before)
            else:
                v = before.masked_fill(spiked, 0.0)
            h = torch.add(step, v, alpha=keep)
            if strict:
                spent = spiked if spent is None else spent | spiked
                h = h.masked_fill(spent, -torch.inf)
        potentials.append(h)
    stacked = torch.stack(potentials)
    return (stacked > firing_threshold).to(current.dtype), stacked


def fire_backward_scan(
    grad: Tensor,
    potentials: Tensor,
    keep: float,
    firing_threshold: float,
    soft_reset: bool,
    surrogate: str,
    width: float,
) -> Tensor:
    """Gradient of the currents, ``[T, N]``, from that of the spikes: backpropagation in time."""
    direct = SURROGATES[surrogate](potentials - firing_threshold, width) * grad
    steps = list(direct.unbind(0))
    for t in range(len(steps) - 2, -1, -1):
        carried = steps[t + 1]
        if not soft_reset:
            carried = carried.masked_fill(potentials[t] > firing_threshold, 0.0)
        steps[t] = torch.add(steps[t], carried, alpha=keep)
    return torch.stack(steps)


def leaky_sum_scan(x: Tensor, keep: float) -> Tensor:
    """``y[t] = keep · y[t-1] + x[t]`` along the first axis of ``[T, N]``."""
    sums = [x[0]]
    for step in x[1:].unbind(0):
        sums.append(torch.add(step, sums[-1], alpha=keep))
    return torch.stack(sums)


def leaky_sum_backward_scan(grad: Tensor, keep: float) -> Tensor:
    """Gradient of the x of `leaky_sum_scan` from that of its y, ``[T, N]``."""
    steps = list(grad.unbind(0))
    for t in range(len(steps) - 2, -1, -1):
        steps[t] = torch.add(steps[t], steps[t + 1], alpha=keep)
    return torch.stack(steps)


@dataclass(frozen=True, slots=True)
class Scans:
    """The loops over time that a network uses."""

    fire: Callable[..., tuple[Tensor, Tensor]]
    fire_backward: Callable[..., Tensor]


_EAGER = Scans(fire_scan, fire_backward_scan)


@functools.cache
def _compiled() -> Scans:
    """Compiled scans, or the eager ones where this machine cannot compile (no C++ compiler)."""
    compiled = Scans(
        torch.compile(fire_scan, dynamic=True), torch.compile(fire_backward_scan, dynamic=True)
    )
    probe = torch.zeros(2, 3)
    try:
        _, potentials = compiled.fire(probe, 1.0, 1.0, False, False)
        compiled.fire_backward(probe, potentials, 1.0, 1.0, False, "triangle", 1.0)
    except Exception as error:  # the compiler's errors have no common base
        _log.warning("neuron kernels stay uncompiled: %s", str(error).strip().splitlines()[0])
        return _EAGER
    return compiled


def scans(compiled: bool) -> Scans:
    """The scans to use, compiled once a process if asked for."""
    return _compiled() if compiled else _EAGER
