"""What decisions and spike times are compared with, to tell what they are worth.

A latency code has to beat everybody deciding at one fixed time, and to fall when the times of its
spikes are exchanged; the earliest correct decision bounds what any rule could gain.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latsearch.objectives import FloatArray


def fixed_time_points(
    potentials: NDArray[np.floating], labels: NDArray[np.int64], energy: FloatArray
) -> list[dict[str, float]]:
    """Accuracy, latency and energy were every sample decided at the same timestep, for each.

    Args:
        potentials: ``[T, B, K]``.
        labels: ``[B]``.
        energy: ``[T, B]`` nJ of an inference that decides at t.
    """
    correct = potentials.argmax(-1) == labels
    return [
        {
            "accuracy": float(correct[t].mean()),
            "latency": float(t + 1),
            "energy": float(energy[t].mean()),
        }
        for t in range(len(potentials))
    ]


def earliest_correct_point(
    potentials: NDArray[np.floating], labels: NDArray[np.int64], energy: FloatArray
) -> dict[str, float]:
    """The oracle: a sample decides when it is right for the first time, else at T.

    Args and result are those of `fixed_time_points`, for a single point.
    """
    correct = potentials.argmax(-1) == labels
    time = np.where(correct.any(0), correct.argmax(0), len(correct) - 1)
    samples = np.arange(correct.shape[1])
    return {
        "accuracy": float(correct.any(0).mean()),
        "latency": float(time.mean() + 1),
        "energy": float(energy[time, samples].mean()),
    }


def at_latency(rows: list[dict[str, float]], latency: float) -> float:
    """Accuracy at a mean decision time by deciding at random between the two nearest points.

    Args:
        rows: points in order of rising latency.
        latency: mean decision time in timesteps, within those of the rows; outside them the
            accuracy of the nearest.
    """
    times = [row["latency"] for row in rows]
    return float(np.interp(latency, times, [row["accuracy"] for row in rows]))


def shuffled_times(spikes: Tensor, generator: torch.Generator) -> Tensor:
    """The spikes ``[T, B, ...]`` with their times exchanged between the neurons that spike.

    A sample keeps which neurons spike and how many spike at each timestep.
    """
    timesteps, batch = spikes.shape[:2]
    flat = spikes.reshape(timesteps, batch, -1)
    step = torch.arange(1, timesteps + 1, device=spikes.device, dtype=flat.dtype)
    time = (flat * step[:, None, None]).sum(0)  # [B, N], 0 for never
    exchanged = torch.zeros_like(time)
    for sample in range(batch):
        active = time[sample].nonzero().squeeze(1)
        order = torch.randperm(len(active), generator=generator).to(active.device)
        exchanged[sample, active] = time[sample, active[order]]
    return (exchanged == step[:, None, None]).to(spikes.dtype).view_as(spikes)


def reversed_times(spikes: Tensor) -> Tensor:
    """The spikes ``[T, B, ...]`` with early and late exchanged: t becomes T + 1 - t."""
    return spikes.flip(0)
