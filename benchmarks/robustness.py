"""Fashion-MNIST under 15 corruptions: latency coding against rate and direct coding.

Networks of equal shape that differ in their encoder alone are trained, three seeds each, and
measured on test images under the 15 corruptions at 5 severities (ImageNet-C's, of
imagecorruptions-imaug; 28×28 pixels are padded to 32×32, corrupted and cropped). Each network runs
at the decision threshold at the knee of its validation curve, and at its plain readout at T.

Resumable: every trained network's rows are appended to ``--csv`` as soon as they are measured, and
what is there is not trained again.

    python benchmarks/robustness.py --csv robustness.csv --png robustness.png --json robustness.json
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from latsearch.config import DataConfig
from latsearch.config.energy import DEFAULT_PROFILE
from latsearch.config.trial import NetworkConfig, TrainConfig, TrialConfig
from latsearch.data import Samples, Splits, load
from latsearch.data.corruptions import IMAGENET_C, corrupted_sets
from latsearch.data.splitting import stratified
from latsearch.evaluation import load_checkpoint
from latsearch.heatmap import write_heat_map
from latsearch.robustness import Robustness, RobustnessRow, measure_robustness
from latsearch.search.results import knee_row
from latsearch.training import train

ENCODERS = ("latency", "direct", "rate")
SEEDS = (0, 1, 2)
DECISIONS = ("knee", "readout")
TIMESTEPS = 4


def main() -> None:
    """Train what is missing, then print the table and draw the heat map."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few images, one epoch, one seed")
    parser.add_argument("--csv", type=Path, help="where rows are appended")
    parser.add_argument("--png", type=Path, help="where to draw the heat map")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--train-samples", type=int, default=20_000, help="stratified")
    parser.add_argument("--samples", type=int, default=500, help="test images, stratified")
    options = parser.parse_args()
    if options.quick:
        options.epochs, options.samples, options.train_samples = 1, 100, 2000
    file = options.csv or Path(tempfile.mkdtemp()) / "robustness.csv"
    seeds = SEEDS[:1] if options.quick else SEEDS
    splits = load(
        DataConfig(name="fashion-mnist", validation=5000, train_samples=options.train_samples)
    )
    for seed in seeds:
        for encoder in ENCODERS:
            if (encoder, seed) not in {(e, s) for e, s, _ in read(file)}:
                run(encoder, seed, splits, options.epochs, options.samples, file)
    found = read(file)
    figures = summarize(found)
    print_table(found)
    if options.png:
        write_heat_map([mean_of(found, encoder, "knee") for encoder in ENCODERS], options.png)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def trial(encoder: str, epochs: int) -> TrialConfig:
    """The networks compared: LeNet shape, T = 4, alike but for the encoder."""
    network = NetworkConfig(
        family="lenet",
        encoder=encoder,  # type: ignore[arg-type]
        timesteps=TIMESTEPS,
        width=8,
        hidden=128,
        stem_stride=2,
    )
    return TrialConfig(network=network, train=TrainConfig(epochs=epochs, batch_size=128))


def run(encoder: str, seed: int, splits: Splits, epochs: int, samples: int, file: Path) -> None:
    """Train and measure one network; append its rows."""
    assert splits.test is not None
    start = time.perf_counter()
    trainer = train(
        trial(encoder, epochs), splits, lambda report: None, seed=seed, profile=DEFAULT_PROFILE
    )
    trained = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        trainer.save(Path(folder, "network"))
        network = load_checkpoint(Path(folder, "network"))
    curve = network.curve(splits.validation)
    knee = float(curve.decision_threshold[knee_row(curve, ("accuracy", "latency", "energy"), {})])
    chosen = splits.test.take(stratified(splits.test.labels, samples, (0, 0)))
    clean = Samples(np.ascontiguousarray(chosen.images), chosen.labels)
    rows: list[dict[str, object]] = []
    for decision, threshold in zip(DECISIONS, (knee, math.inf), strict=True):
        measured = measure_robustness(
            network,
            clean,
            corrupted_sets(clean),
            decision_threshold=threshold,
            profile=DEFAULT_PROFILE,
            model=encoder,
            corruptions=IMAGENET_C,
        )
        rows.extend(
            {
                "encoder": encoder,
                "seed": seed,
                "decision": decision,
                "decision_threshold": threshold,
                "epochs": epochs,
                "samples": len(clean),
                **asdict(row),
            }
            for row in measured.rows
        )
    append(file, rows)
    print(
        f"{encoder} seed {seed}: trained in {trained:.0f} s, measured in "
        f"{time.perf_counter() - start - trained:.0f} s",
        flush=True,
    )


def append(file: Path, rows: list[dict[str, object]]) -> None:
    """Add a network's rows, all or none."""
    before = file.read_text() if file.exists() else ",".join(rows[0]) + "\n"
    lines = [",".join(str(value) for value in row.values()) for row in rows]
    aside = file.with_name(file.name + ".part")
    aside.write_text(before + "\n".join(lines) + "\n")
    aside.replace(file)


Found = dict[tuple[str, int, str], list[dict[str, str]]]


def read(file: Path) -> Found:
    """The rows that are there, by encoder, seed and decision."""
    found: Found = {}
    if file.exists():
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream):
                key = (row["encoder"], int(row["seed"]), row["decision"])
                found.setdefault(key, []).append(row)
    return found


def mean_of(found: Found, encoder: str, decision: str) -> Robustness:
    """The mean over the seeds, as if it were one network."""
    runs = [rows for (e, _, d), rows in found.items() if (e, d) == (encoder, decision)]
    rows = []
    for group in zip(*runs, strict=True):
        first = group[0]
        figures = {
            name: statistics.mean(float(row[name]) for row in group)
            for name in ("accuracy", "latency", "energy", "silent_fraction")
        }
        rows.append(
            RobustnessRow(first["corruption"], first["group"], int(first["severity"]), **figures)
        )
    samples = int(runs[0][0]["samples"])
    name = f"{encoder}, {decision}, {len(runs)} seed{'s' if len(runs) > 1 else ''}"
    return Robustness(name, IMAGENET_C, math.nan, samples, tuple(rows))


def each(found: Found, encoder: str, decision: str) -> Iterator[tuple[float, float]]:
    """Clean and mean corrupted accuracy of each seed."""
    for (e, _, d), rows in found.items():
        if (e, d) == (encoder, decision):
            accuracies = [float(row["accuracy"]) for row in rows]
            yield accuracies[0], statistics.mean(accuracies[1:])


def summarize(found: Found) -> dict[str, float]:
    """Figures of the comparison, flat."""
    figures: dict[str, float] = {}
    for encoder in ENCODERS:
        for decision in DECISIONS:
            runs = list(each(found, encoder, decision))
            mean = mean_of(found, encoder, decision)
            prefix = f"{encoder}_{decision}"
            figures[f"{prefix}_clean"] = statistics.mean(clean for clean, _ in runs)
            figures[f"{prefix}_corrupted"] = statistics.mean(bad for _, bad in runs)
            figures[f"{prefix}_drop"] = statistics.mean(clean - bad for clean, bad in runs)
            drops = [clean - bad for clean, bad in runs]
            figures[f"{prefix}_drop_sd"] = statistics.stdev(drops) if len(runs) > 1 else 0.0
            figures[f"{prefix}_latency"] = mean.clean.latency
            figures[f"{prefix}_corrupted_latency"] = mean.summary()["corrupted_latency"]
            figures[f"{prefix}_energy"] = mean.clean.energy
    return figures


def print_table(found: Found) -> None:
    """Mean over seeds and severities of each corruption, then the totals."""
    means = {(e, d): mean_of(found, e, d) for e in ENCODERS for d in DECISIONS}
    print(f"\naccuracy / %, mean over severities and seeds; {IMAGENET_C}")
    print(f"{'':20}" + "".join(f"{f'{e} {d}':>18}" for e, d in means))
    names = list(dict.fromkeys(row.corruption for row in next(iter(means.values())).rows))
    for name in names:
        values = (
            statistics.mean(row.accuracy for row in mean.rows if row.corruption == name)
            for mean in means.values()
        )
        print(f"{name:20}" + "".join(f"{100 * value:18.1f}" for value in values))
    figures = summarize(found)
    for what in ("corrupted", "drop", "drop_sd"):
        values = (figures[f"{e}_{d}_{what}"] for e, d in means)
        print(f"{what:20}" + "".join(f"{100 * value:18.2f}" for value in values))
    for what in ("latency", "corrupted_latency", "energy"):
        values = (figures[f"{e}_{d}_{what}"] for e, d in means)
        print(f"{what:20}" + "".join(f"{value:18.2f}" for value in values))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
