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


# what a spent neuron's membrane potential is lowered by each timestep: no current lifts it again
_SPENT = -1e30


def fire_scan(
    current: Tensor, keep: float | Tensor, firing_threshold: float, soft_reset: bool, strict: bool
) -> tuple[Tensor, Tensor]:
    """Spikes and membrane potentials before the reset, each ``[T, N]``.

    A learned `keep` is a scalar tensor, a fixed one a number.

    A strict neuron that has spiked is kept at -1e30 or below: it never spikes again, and every
    surrogate derivative is zero there, which is all that the backward scan needs to know.
    """
    potentials, spikes = _Steps(current), _Steps(current)
    h = s = spent = current[0]
    for t, step in enumerate(current.unbind(0)):
        if t == 0:
            h = torch.add(step, 0.0, out=potentials.slot(0))
        else:
            v = kept_potentials(h, s, firing_threshold, soft_reset)
            h = _add_kept(step, v, keep, potentials.slot(t))
            if strict:
                spent = s if t == 1 else spent + s
                h = torch.add(h, spent, alpha=_SPENT, out=potentials.slot(t))
        s = torch.gt(h, firing_threshold, out=spikes.slot(t)).to(h.dtype)
        potentials.append(h)
        spikes.append(s)
    return spikes.stacked(), potentials.stacked()


def fire_backward_scan(
    grad: Tensor,
    potentials: Tensor,
    spikes: Tensor,
    keep: float | Tensor,
    firing_threshold: float,
    soft_reset: bool,
    surrogate: str,
    width: float,
) -> Tensor:
    """Gradient of the currents, ``[T, N]``, from that of the spikes: backpropagation in time."""
    direct = SURROGATES[surrogate](potentials - firing_threshold, width).mul_(grad)
    return _carry_back(direct, keep, None if soft_reset else spikes)


def leaky_sum_scan(x: Tensor, keep: float) -> Tensor:
    """``y[t] = keep · y[t-1] + x[t]`` along the first axis of ``[T, N]``."""
    sums = _Steps(x)
    y = x[0]
    for t, step in enumerate(x.unbind(0)):
        y = torch.add(step, 0.0 if t == 0 else y, alpha=keep, out=sums.slot(t))
        sums.append(y)
    return sums.stacked()


def leaky_sum_backward_scan(grad: Tensor, keep: float) -> Tensor:
    """Gradient of the x of `leaky_sum_scan` from that of its y, ``[T, N]``."""
    return _carry_back(grad, keep, None)


def kept_potentials(
    potentials: Tensor, spikes: Tensor, firing_threshold: float, soft_reset: bool
) -> Tensor:
    """Membrane potentials after the reset from those before it, in any one shape."""
    if soft_reset:
        return torch.add(potentials, spikes, alpha=-firing_threshold)
    return torch.addcmul(potentials, potentials, spikes, value=-1.0)


def _add_kept(step: Tensor, v: Tensor, keep: float | Tensor, out: Tensor | None) -> Tensor:
    """``step + keep · v``."""
    if isinstance(keep, Tensor):
        return torch.addcmul(step, v, keep, out=out)
    return torch.add(step, v, alpha=keep, out=out)


def _carry_back(direct: Tensor, keep: float | Tensor, stopped: Tensor | None) -> Tensor:
    """``g[t] = direct[t] + keep · (1 - stopped[t]) · g[t+1]``, from the last timestep back."""
    carried = _Steps(direct)
    g = direct[0]
    last = len(direct) - 1
    for t in range(last, -1, -1):
        if t == last:
            g = torch.add(direct[t], 0.0, out=carried.slot(t))
        else:
            if stopped is not None:
                g = torch.addcmul(g, g, stopped[t], value=-1.0)
            g = _add_kept(direct[t], g, keep, carried.slot(t))
        carried.append(g)
    return carried.stacked(reverse=True)


class _Steps:
    """The results of the timesteps, side by side in the end.

    Eager code writes them into one buffer, since fresh memory is slow; the compiler gets a list,
    which it fuses.
    """

    def __init__(self, like: Tensor):
        self._buffer = None if torch.compiler.is_compiling() else torch.empty_like(like)
        self._steps: list[Tensor] = []

    def slot(self, t: int) -> Tensor | None:
        return None if self._buffer is None else self._buffer[t]

    def append(self, step: Tensor) -> None:
        self._steps.append(step)

    def stacked(self, *, reverse: bool = False) -> Tensor:
        if self._buffer is not None:
            return self._buffer
        return torch.stack(self._steps[::-1] if reverse else self._steps)


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
        spikes, potentials = compiled.fire(probe, 1.0, 1.0, False, False)
        compiled.fire_backward(probe, potentials, spikes, 1.0, 1.0, False, "triangle", 1.0)
    except Exception as error:  # the compiler's errors have no common base
        _log.warning("neuron kernels stay uncompiled: %s", str(error).strip().splitlines()[0])
        return _EAGER
    return compiled


def scans(compiled: bool) -> Scans:
    """The scans to use, compiled once a process if asked for."""
    return _compiled() if compiled else _EAGER
