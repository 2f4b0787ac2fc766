"""What early exit saves: time a sample against the timesteps that it really needs.

A network of T = 4 is trained on Fashion-MNIST, or loaded from a checkpoint. Its decision threshold
may cost 0.2 points of the readout's accuracy: it is the fastest that costs at most half of that on
the validation split, which leaves the other half to what differs between the splits.
Then, on test images, in batches of 1 and 256, interleaved, medians of

    early    the early-exit runtime at that threshold,
    to T     the same runtime without exits,
    encoder  its stem alone,
    full     the folded network over all timesteps at once, as an evaluation runs it.

The ideal is encoder + mean decision time * one step, one step being (to T - encoder) / T.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latsearch.config import DataConfig
from latsearch.config.energy import DEFAULT_PROFILE
from latsearch.config.trial import NetworkConfig, StageConfig, TrainConfig, TrialConfig
from latsearch.data import Samples, load
from latsearch.data.splits import Splits
from latsearch.evaluation import MINIMUM_THRESHOLD, load_checkpoint
from latsearch.objectives import DecisionCurve, EpochReport
from latsearch.snn.decoding import decide, decision_curve, joined
from latsearch.snn.folding import folded
from latsearch.snn.images import Normalization, as_tensor
from latsearch.snn.networks import LatencyNetwork
from latsearch.snn.runtime import EarlyExit
from latsearch.training import train

ALLOWED_COST = 0.002 / 2
BATCHES = (1, 256)


def recipe(*, epochs: int) -> TrialConfig:
    """The networks of the bundled search space `fashion_mnist`, one of middle size, at T = 4."""
    stages = (StageConfig(channels=16), StageConfig(channels=32, blocks=2))
    return TrialConfig(
        network=NetworkConfig(family="stages", stages=stages, timesteps=4, stem_stride=2),
        train=TrainConfig(epochs=epochs, temperature=1.0),
    )


def potentials(network: LatencyNetwork, images: Tensor) -> Tensor:
    """``[T, N, K]``."""
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in images.split(256)], dim=1)


def chosen_threshold(curve: DecisionCurve) -> float:
    """The fastest threshold that costs at most 0.1 points of the readout's accuracy."""
    allowed = np.flatnonzero(curve.accuracy >= curve.accuracy[-1] - ALLOWED_COST)
    return float(curve.decision_threshold[allowed[curve.latency[allowed].argmin()]])


def seconds(run: Callable[[Tensor], object], batches: list[Tensor]) -> float:
    """Wall time of a pass over the batches."""
    start = time.perf_counter()
    for batch in batches:
        run(batch)
    return time.perf_counter() - start


def measured(
    runs: dict[str, Callable[[Tensor], object]], batches: list[Tensor], repetitions: int
) -> dict[str, float]:
    """Median wall time a sample of each run, the runs interleaved."""
    samples = sum(map(len, batches))
    for run in runs.values():
        seconds(run, batches)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            times[name].append(seconds(run, batches) / samples)
    return {name: statistics.median(taken) for name, taken in times.items()}


def trained(splits: Splits, epochs: int, checkpoint: Path | None) -> LatencyNetwork:
    """The network to measure, in evaluation mode."""
    if checkpoint is not None:
        return load_checkpoint(checkpoint).network
    print(f"training on {len(splits.train):,} images, {epochs} epochs", flush=True)
    trainer = train(recipe(epochs=epochs), splits, print_epoch, seed=0, profile=DEFAULT_PROFILE)
    return trainer.network.eval()


def print_epoch(report: EpochReport) -> None:
    """One line an epoch."""
    print(f"  epoch {report.epoch}: readout {report.curve.accuracy[-1]:.2%}", flush=True)


def main() -> None:
    """Train, choose, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="under a minute on two cores")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--checkpoint", type=Path, help="a trained network in place of training")
    parser.add_argument("--root", help="folder of Fashion-MNIST")
    arguments = parser.parse_args()
    quick = arguments.quick
    limit = 8000 if quick else None
    splits = load(
        DataConfig(name="fashion-mnist", root=arguments.root, validation=5000, train_samples=limit)
    )
    network = trained(splits, 2 if quick else 5, arguments.checkpoint)
    normalize = Normalization(splits.mean, splits.std, "cpu")
    validation = splits.validation
    curve = decision_curve(
        potentials(network, normalize(as_tensor(validation.images, "cpu"))),
        validation.labels,
        minimum_threshold=MINIMUM_THRESHOLD,
        rule=network.config.decision,
    )
    threshold = chosen_threshold(curve)
    figures = report(network, normalize, splits.test, threshold, quick=quick)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def report(
    network: LatencyNetwork,
    normalize: Normalization,
    test: Samples,
    threshold: float,
    *,
    quick: bool,
) -> dict[str, float]:
    """Measure on test images; print a table."""
    images = normalize(as_tensor(test.images, "cpu"))
    runtime, full = EarlyExit(network), folded(network)
    whole = potentials(network, images)
    decision = decide(whole, threshold, network.config.decision)
    readout = float((whole[-1].argmax(-1).numpy() == test.labels).mean())
    cost = readout - float((decision.prediction == test.labels).mean())
    early = joined([runtime.decide(batch, threshold) for batch in images.split(256)])
    differing = int((early.decision_time != decision.decision_time).sum())
    figures = {
        "accuracy_cost": cost,
        "decision_threshold": threshold,
        "latency": float(decision.decision_time.mean()),
        "differing_decision_times": float(differing),
    }
    print(
        f"T = {network.timesteps}, {network.parameter_count():,} parameters, "
        f"{torch.get_num_threads()} threads; decision threshold {threshold:.4g}: mean decision "
        f"time {figures['latency']:.3f}, accuracy {readout - cost:.2%} of {readout:.2%} (costs "
        f"{100 * cost:.2f} points); {differing} of {len(test)} decision times differ by rounding"
    )
    runs: dict[str, Callable[[Tensor], object]] = {
        "encoder": torch.inference_mode()(runtime.begin),
        "to T": lambda batch: runtime.decide(batch, float("inf")),
        "early": lambda batch: runtime.decide(batch, threshold),
        "full": torch.inference_mode()(full),
    }
    print("batch  µs a sample: encoder  one step   to T   ideal   early    full   early/ideal")
    for size in BATCHES:
        count = min(
            len(images), (200 if quick else 1000) if size == 1 else (1024 if quick else 5120)
        )
        batches = list(images[:count].split(size))
        taken = measured(runs, batches, 5 if quick else 15)
        step = (taken["to T"] - taken["encoder"]) / network.timesteps
        steps = float(early.decision_time[:count].mean())
        ideal = taken["encoder"] + steps * step
        shown = [taken["encoder"], step, taken["to T"], ideal, taken["early"], taken["full"]]
        cells = "  ".join(f"{1e6 * value:6.0f}" for value in shown)
        ratio = taken["early"] / ideal
        print(f"{size:5}               {cells}   {ratio:.3f}   mean decision time {steps:.3f}")
        figures[f"time_vs_ideal_{size}"] = ratio
        figures[f"time_vs_full_{size}"] = taken["early"] / taken["full"]
        figures[f"early_us_{size}"] = 1e6 * taken["early"]
    figures["time_vs_ideal"] = max(figures[f"time_vs_ideal_{size}"] for size in BATCHES)
    return figures


if __name__ == "__main__":
    main()
