"""Fashion-MNIST, honestly: one recipe, several seeds, everything chosen on validation.

Trains the network of fashion_mnist.yaml for each seed on 55,000 images. After the last epoch the
decision threshold is chosen on 5,000 validation images: the most accurate row with a mean decision
time of at most 1.5 timesteps, at most 5 % silent samples, and fewer than 95 % of the samples
deciding at one timestep. The 10,000 test images are then measured once at that threshold.
`--timesteps 1` trains the T = 1 network of the same shape, which is reported separately.

May be killed and repeated: every epoch is a checkpoint in WORK, every finished seed a row of the
results.

    python benchmarks/fashion_mnist.py --quick
    python benchmarks/fashion_mnist.py --seeds 0 1 2 --work WORK --results fashion_mnist.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from latsearch.config import PROFILES, load_study
from latsearch.config.trial import TrialConfig
from latsearch.data import Splits, load
from latsearch.evaluation import Measurement, measure
from latsearch.snn.decoding import decide
from latsearch.snn.images import Normalization, as_tensor
from latsearch.training import Trainer

RECIPE = Path(__file__).with_suffix(".yaml")
MAX_LATENCY, MAX_SILENT, MAX_AT_ONE_TIME = 1.5, 0.05, 0.95
COLUMNS = (
    "seed",
    "timesteps",
    "epochs",
    "decision_threshold",
    "validation_accuracy",
    "test_accuracy",
    "latency",
    "energy",
    "silent_fraction",
    "largest_share_at_one_time",
    "seconds",
)


def train(
    trial: TrialConfig, splits: Splits, seed: int, work: Path | None
) -> tuple[Trainer, float]:
    """Train to the last epoch, going on from a checkpoint; seconds of the epochs."""
    profile = PROFILES["horowitz-45nm-fp32"]
    trainer = Trainer(trial, splits.without_test(), seed=seed, profile=profile)
    checkpoint = work / f"T{trial.network.timesteps}-seed{seed}" if work else None
    seconds = 0.0
    if checkpoint and (checkpoint / "config.json").exists():
        trainer.load(checkpoint)
        seconds = float((checkpoint.with_suffix(".seconds")).read_text())
    while trainer.epoch < trial.train.epochs:
        report = trainer.step()
        seconds += report.seconds
        if checkpoint:
            trainer.save(checkpoint)
            checkpoint.with_suffix(".seconds").write_text(f"{seconds}")
        best = report.curve.accuracy.max()
        print(
            f"T = {trial.network.timesteps}, seed {seed}, epoch {trainer.epoch}: validation "
            f"{best:.4f}, loss {report.metrics['train_loss']:.4f}, {report.seconds:.0f} s",
            flush=True,
        )
    return trainer, seconds


def share_at_one_time(measured: Measurement, threshold: float) -> float:
    """Largest fraction of the samples that decide at the same timestep."""
    times = decide(measured.potentials, threshold).decision_time
    return float(np.bincount(times).max() / len(times))


def choose(measured: Measurement, labels: np.ndarray, timesteps: int) -> float:
    """The decision threshold, from validation alone.

    Raises:
        SystemExit: no row meets the bounds.
    """
    best, threshold = -1.0, math.nan
    for row in measured.curve(labels).rows():
        value = float(row["decision_threshold"])
        spread = timesteps == 1 or share_at_one_time(measured, value) < MAX_AT_ONE_TIME
        allowed = row["latency"] <= MAX_LATENCY and row["silent_fraction"] <= MAX_SILENT
        if spread and allowed and row["accuracy"] > best:
            best, threshold = float(row["accuracy"]), value
    if math.isnan(threshold):
        raise SystemExit("no row of the validation curve meets the bounds")
    return threshold


def run(trial: TrialConfig, splits: Splits, seed: int, work: Path | None) -> dict[str, float]:
    """One seed: train, choose on validation, measure on test once."""
    trainer, seconds = train(trial, splits, seed, work)
    normalize = Normalization(splits.mean, splits.std, "cpu")
    profile = PROFILES["horowitz-45nm-fp32"]
    assert splits.test is not None
    validation, test = (
        measure(trainer.network, as_tensor(samples.images, "cpu"), normalize, profile)
        for samples in (splits.validation, splits.test)
    )
    threshold = choose(validation, splits.validation.labels, trial.network.timesteps)
    chosen = decide(validation.potentials, threshold)
    final = decide(test.potentials, threshold)
    energy = test.energy.cumulative().numpy()
    samples = np.arange(len(splits.test.labels))
    return {
        "seed": seed,
        "timesteps": trial.network.timesteps,
        "epochs": trial.train.epochs,
        "decision_threshold": threshold,
        "validation_accuracy": float((chosen.prediction == splits.validation.labels).mean()),
        "test_accuracy": float((final.prediction == splits.test.labels).mean()),
        "latency": float(final.decision_time.mean()),
        "energy": float(energy[final.decision_time - 1, samples].mean()),
        "silent_fraction": float(final.silent.mean()),
        "largest_share_at_one_time": share_at_one_time(test, threshold),
        "seconds": round(seconds),
    }


def done(results: Path | None) -> list[dict[str, float]]:
    """The rows of earlier runs."""
    if results is None or not results.exists():
        return []
    with results.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def append(row: Mapping[str, float], results: Path | None) -> None:
    """Add a row to the results."""
    if results is None:
        return
    fresh = not results.exists()
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def summary(rows: list[dict[str, float]], timesteps: int) -> dict[str, float]:
    """Print mean, spread and 95 % interval over the seeds; the flat figures."""
    of_t = [row for row in rows if row["timesteps"] == timesteps]
    figures: dict[str, float] = {"seeds": len(of_t)}
    print(f"\nT = {timesteps}, {len(of_t)} seeds")
    for name in COLUMNS[4:-1]:
        values = [row[name] for row in of_t]
        mean = statistics.mean(values)
        text = f"{name:28} mean {mean:9.4f}  min {min(values):9.4f}  max {max(values):9.4f}"
        if len(values) > 1:
            error = statistics.stdev(values) / math.sqrt(len(values))
            half = float(stats.t.ppf(0.975, len(values) - 1)) * error
            text += f"  95 % ± {half:.4f}"
        print(text)
        figures[name] = mean
    return figures


def main() -> None:
    """Carry out the seeds that are not done, print the summary, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one epoch of a narrow network")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--timesteps", type=int, help="T in place of the recipe's")
    parser.add_argument("--epochs", type=int, help="epochs in place of the recipe's")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--work", type=Path, help="folder of checkpoints, to go on from")
    parser.add_argument("--results", type=Path, help="CSV that finished seeds are appended to")
    parser.add_argument("--json", type=Path, help="write the figures")
    arguments = parser.parse_args()

    print(__doc__.split("\n\n    python")[0])
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    study = load_study(RECIPE)
    trial, data = study.space.trial({}), study.data
    if arguments.quick:
        stages = tuple(replace(stage, channels=4, blocks=1) for stage in trial.network.stages)
        network = replace(trial.network, stages=stages, stem_stride=2)
        trial = TrialConfig(network=network, train=replace(trial.train, epochs=1))
        data = data.model_copy(update={"train_samples": 10_000})
        arguments.seeds = [0]
    for field, value in (("timesteps", arguments.timesteps), ("epochs", arguments.epochs)):
        if value is not None:
            section = "network" if field == "timesteps" else "train"
            trial = replace(trial, **{section: replace(getattr(trial, section), **{field: value})})
    splits = load(data)
    timesteps = trial.network.timesteps
    rows = done(arguments.results)
    finished = {(row["seed"], row["timesteps"]) for row in rows}
    for seed in arguments.seeds:
        if (seed, timesteps) not in finished:
            row = run(trial, splits, seed, arguments.work)
            append(row, arguments.results)
            rows.append(row)
    figures = summary(rows, timesteps)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
