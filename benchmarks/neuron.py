"""What a neuron update costs: eager and compiled kernels, beside a ReLU on as many values.

Compares, for a forward and a backward pass of hard-reset IF neurons with the triangle surrogate,
nanoseconds a neuron and timestep. Says nothing of convolutions, which most of a training is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from latsearch.snn.neurons import FiringRule, fire


def seconds(run: Callable[[], object], budget: float) -> float:
    """Fastest of the runs that fit into the budget; the fastest is least disturbed by others."""
    run()
    best, end = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def pass_through(x: Tensor, function: Callable[[Tensor], Tensor]) -> Callable[[], None]:
    """A forward and a backward pass of the function."""
    grad = torch.ones_like(x)

    def run() -> None:
        leaf = x.detach().requires_grad_()
        function(leaf).backward(grad)

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute on two cores")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    budget = 1.0 if arguments.quick else 5.0
    timesteps, rule = 4, FiringRule()
    figures: dict[str, float] = {}
    start = time.perf_counter()
    fire(torch.zeros(timesteps * 2, 3, requires_grad=True), timesteps, rule, compiled=True)
    figures["compile_seconds"] = time.perf_counter() - start
    for neurons in (2**13, 2**16, 2**20):
        x = torch.randn(timesteps, neurons)
        kernels = {
            "relu": torch.relu,
            "eager": lambda y: fire(y, timesteps, rule),
            "compiled": lambda y: fire(y, timesteps, rule, compiled=True),
        }
        for name, function in kernels.items():
            taken = seconds(pass_through(x, function), budget)
            figures[f"{name}_{neurons}_ns"] = taken / x.numel() * 1e9
    for name, value in figures.items():
        print(f"{name:24} {value:8.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
