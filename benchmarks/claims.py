"""Does the method do what it claims? Small trainings, three seeds, digits and Fashion-MNIST.

Trains and measures, on scikit-learn's digits and on 10,000 images of Fashion-MNIST, 10 epochs each:

- code: latency coding against direct and rate coding, on the same stem, each with its best of three
  learning rates (chosen by validation on one further seed);
- depth: relaxed against strict spiking in 4, 8 and 16 hidden layers, with gradient norms;
- loss: TAD at three temperatures, TET in both forms and the last timestep alone, with the synaptic
  kernels `delta` and `step`; the whole decision curves are kept;
- time: what the decisions and the spike times of the reference network are worth: deciding at a
  fixed time, the earliest correct decision, spike times shuffled and reversed at the encoder;
- steps: T = 2 and 4 against the best T = 1 network at equal energy, a 1-bit network beside them.

Thresholds are chosen on validation (the fastest row within 0.5 points of the best), figures are on
the test split. The program may be killed and repeated: each training appends a line to the results.

    python benchmarks/claims.py --quick
    python benchmarks/claims.py --results claims.jsonl --json claims.json --plot claims.png
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from latsearch.config import PROFILES, DataConfig
from latsearch.config.trial import NetworkConfig, StageConfig, TrainConfig, TrialConfig
from latsearch.data import Splits, load
from latsearch.evaluation import Measurement, measure
from latsearch.objectives import DecisionCurve
from latsearch.snn.images import Normalization, as_tensor
from latsearch.snn.meaning import (
    at_latency,
    earliest_correct_point,
    fixed_time_points,
    reversed_times,
    shuffled_times,
)
from latsearch.training import Trainer

PROFILE = PROFILES["horowitz-45nm-fp32"]
DATA = {
    "digits": DataConfig(name="digits"),
    "fashion-mnist": DataConfig(name="fashion-mnist", train_samples=10_000, validation=2_000),
}
SEEDS = (0, 1, 2)
TUNING_SEED = 100
LEARNING_RATES = (2e-3, 5e-3, 1e-2)
TOLERANCE = 0.005  # of the best validation accuracy, which the chosen row may cost

Row = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """One training of the table."""

    claim: str
    name: str
    dataset: str
    trial: TrialConfig
    seed: int

    @property
    def key(self) -> str:
        """What tells it from the others in the results."""
        return f"{self.dataset}/{self.claim}/{self.name}/{self.seed}"


def reference(dataset: str) -> TrialConfig:
    """The network and training that everything else departs from."""
    stride = 1 if dataset == "digits" else 2
    return TrialConfig(
        network=NetworkConfig(family="lenet", width=8, hidden=64, timesteps=4, stem_stride=stride),
        train=TrainConfig(epochs=10, batch_size=64, compile="never", precision="fp32"),
    )


def varied(trial: TrialConfig, network: Row | None = None, train: Row | None = None) -> TrialConfig:
    """The trial with other values in some of its fields."""
    return TrialConfig(
        network=replace(trial.network, **(network or {})),
        train=replace(trial.train, **(train or {})),
    )


def trainings(dataset: str) -> Iterator[Training]:
    """All of them, in the order of the claims."""
    base = reference(dataset)

    def each(claim: str, name: str, trial: TrialConfig) -> Iterator[Training]:
        for seed in SEEDS:
            yield Training(claim, name, dataset, trial, seed)

    for synapse in ("step", "delta"):
        for name, settings in {
            "tad 0.1": {"temperature": 0.1},
            "tad 1": {},
            "tad 10": {"temperature": 10.0},
            "tet": {"loss": "tet"},
            "tet_step": {"loss": "tet_step"},
            "last": {"loss": "last"},
        }.items():
            trial = varied(base, {"synapse": synapse}, settings)
            yield from each("loss", f"{name}, {synapse}", trial)
    for timesteps, width in itertools.product((1, 2, 4), (4, 8, 16)):
        trial = varied(base, {"timesteps": timesteps, "width": width})
        yield from each("steps", f"T={timesteps}, width {width}", trial)
    for width in (4, 8, 16):
        trial = varied(base, {"timesteps": 1, "width": width, "neuron": "sign"})
        yield from each("steps", f"1-bit, width {width}", trial)
    for code in ("latency", "direct", "rate"):
        for lr in LEARNING_RATES:
            trial = varied(base, {"encoder": code}, {"lr": lr})
            yield Training("tuning", f"{code} {lr:g}", dataset, trial, TUNING_SEED)
        for lr in LEARNING_RATES:
            yield from each("code", f"{code} {lr:g}", varied(base, {"encoder": code}, {"lr": lr}))
    for layers, spiking in itertools.product((4, 8, 16), ("relaxed", "strict")):
        stages = (StageConfig(channels=8, blocks=layers, downsampling="none"),)
        network = {"family": "stages", "stages": stages, "spiking": spiking, "stem_stride": 2}
        yield from each("depth", f"{layers} layers, {spiking}", varied(base, network))


def wanted(training: Training, done: dict[str, Row]) -> bool:
    """Whether a training is needed: of the codes only the learning rate that was best."""
    if training.claim != "code":
        return True
    code, lr = training.name.split()
    return best_rate(code, training.dataset, done) == lr


def best_rate(code: str, dataset: str, done: dict[str, Row]) -> str | None:
    """The code's best learning rate by validation, None before all of them were tried."""
    found = {}
    for lr in LEARNING_RATES:
        record = done.get(f"{dataset}/tuning/{code} {lr:g}/{TUNING_SEED}")
        if record is None:
            return None
        found[f"{lr:g}"] = record["validation"]["accuracy"]
    return max(found, key=found.__getitem__)


def run(training: Training, splits: Splits) -> Row:
    """Train, choose a row on validation, measure on test."""
    trainer = Trainer(training.trial, splits.without_test(), seed=training.seed, profile=PROFILE)
    gradients = [trainer.step().metrics["grad_norm"] for _ in range(training.trial.train.epochs)]
    assert splits.test is not None
    normalize = Normalization(splits.mean, splits.std, "cpu")

    def measured(samples: Any) -> Measurement:
        return measure(trainer.network, as_tensor(samples.images, "cpu"), normalize, PROFILE)

    validation = measured(splits.validation).curve(splits.validation.labels)
    on_test = measured(splits.test)
    curve = on_test.curve(splits.test.labels)
    row = chosen(validation)
    threshold = float(validation.decision_threshold[row])
    record = {
        "key": training.key,
        "validation": list(validation.rows())[row],
        "test": nearest(curve, threshold),
        "curve": [
            {name: value[name] for name in ("accuracy", "latency", "energy", "silent_fraction")}
            for value in curve.rows()
        ],
        "gradients": gradients,
    }
    if training.claim == "loss" and training.name == "tad 1, step":
        record["time"] = worth_of_time(trainer, splits, on_test, threshold)
    record["first_layer_gradient"] = first_layer_gradient(trainer)  # trains one more batch
    return record


def chosen(curve: DecisionCurve) -> int:
    """The fastest row within the tolerance of the best accuracy."""
    good = np.flatnonzero(curve.accuracy >= curve.accuracy.max() - TOLERANCE)
    return int(good[curve.latency[good].argmin()])


def nearest(curve: DecisionCurve, threshold: float) -> Row:
    """The curve's row whose decision threshold is the nearest."""
    rows = list(curve.rows())
    if math.isinf(threshold):
        return rows[-1]
    return rows[int(np.abs(curve.decision_threshold[:-1] - threshold).argmin())]


def first_layer_gradient(trainer: Trainer) -> float:
    """Gradient norm of the first hidden layer's synapses over that of the output layer's."""
    trainer.batch_step()
    network = trainer.network
    first, last = network.projections()[0].synapse.weight, network.output.synapse.weight
    assert first.grad is not None
    assert last.grad is not None
    return float(first.grad.norm() / last.grad.norm().clamp_min(1e-12))


def worth_of_time(
    trainer: Trainer, splits: Splits, on_test: Measurement, threshold: float
) -> dict[str, Any]:
    """Fixed times, the oracle, and exchanged spike times, on the test split."""
    assert splits.test is not None
    labels = splits.test.labels
    potentials, energy = on_test.potentials.numpy(), on_test.energy.cumulative().numpy()
    fixed = fixed_time_points(potentials, labels, energy)
    adaptive = [
        (row["accuracy"] - at_latency(fixed, row["latency"]), row["latency"])
        for row in on_test.curve(labels).rows()
    ]
    generator = torch.Generator().manual_seed(0)
    changed = {}
    for name, change in {
        "shuffled": lambda spikes: shuffled_times(spikes, generator),
        "reversed": reversed_times,
    }.items():
        handle = trainer.network.encoder.register_forward_hook(
            lambda module, inputs, spikes, change=change: change(spikes)
        )
        images = as_tensor(splits.test.images, "cpu")
        normalize = Normalization(splits.mean, splits.std, "cpu")
        curve = measure(trainer.network, images, normalize, PROFILE).curve(labels)
        handle.remove()
        changed[name] = nearest(curve, threshold)["accuracy"]
    return {
        "fixed": fixed,
        "oracle": earliest_correct_point(potentials, labels, energy),
        "largest_gain": max(adaptive),
        "mean_gain": statistics.mean(gain for gain, _ in adaptive),
        **changed,
    }


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % interval (Student's t) of the seeds."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:8.4f}          "
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:8.4f} ± {half:6.4f}"


def summarise(dataset: str, done: dict[str, Row]) -> dict[str, float]:
    """Print a data set's table; its flat figures."""
    figures: dict[str, float] = {}
    groups: dict[str, list[Row]] = {}
    for training in trainings(dataset):
        record = done.get(training.key)
        if record is not None and training.claim != "tuning":
            groups.setdefault(f"{training.claim}: {training.name}", []).append(record)
    print(f"\n{dataset} (test split, mean ± 95 % interval over seeds)")
    print(f"{'':34}{'accuracy':>18}{'latency':>19}{'energy/nJ':>19}{'first/last gradient':>21}")
    for name, records in groups.items():
        columns = [
            interval([record["test"][column] for record in records])
            for column in ("accuracy", "latency", "energy")
        ]
        columns.append(interval([record["first_layer_gradient"] for record in records]))
        print(f"{name:34}" + " ".join(columns))
        figures[f"{dataset}/{name}/accuracy"] = statistics.mean(
            record["test"]["accuracy"] for record in records
        )
    timed = [record for record in groups.get("loss: tad 1, step", []) if "time" in record]
    if timed:
        print("\nwhat time is worth, of `tad 1, step`")
        for name, pick in {
            "at the chosen row": lambda r: r["test"]["accuracy"],
            "spike times shuffled": lambda r: r["time"]["shuffled"],
            "spike times reversed": lambda r: r["time"]["reversed"],
            "everybody at t = 1": lambda r: r["time"]["fixed"][0]["accuracy"],
            "everybody at T": lambda r: r["time"]["fixed"][-1]["accuracy"],
            "earliest correct (oracle)": lambda r: r["time"]["oracle"]["accuracy"],
            "... its latency": lambda r: r["time"]["oracle"]["latency"],
            "largest gain over a fixed time": lambda r: r["time"]["largest_gain"][0],
            "mean gain over a fixed time": lambda r: r["time"]["mean_gain"],
        }.items():
            values = [pick(record) for record in timed]
            print(f"  {name:32}{interval(values)}")
            figures[f"{dataset}/time/{name}"] = statistics.mean(values)
    for name, gain in equal_energy(groups).items():
        print(f"\n{name}: {interval(gain)} accuracy over the best T = 1 at its energy or less")
        figures[f"{dataset}/steps/{name}"] = statistics.mean(gain)
    return figures


def equal_energy(groups: dict[str, list[Row]]) -> dict[str, list[float]]:
    """For T = 2 and 4: best accuracy within an energy, less that of T = 1; seed by seed.

    The energy is that of the most accurate T = 1 network, so that T = 1 is at its best.
    """

    def points(prefix: str, seed: int) -> list[tuple[float, float]]:
        return [
            (row["energy"], row["accuracy"])
            for name, records in groups.items()
            if name.startswith(f"steps: {prefix}")
            for row in (records[seed]["curve"] if seed < len(records) else ())
        ]

    gains: dict[str, list[float]] = {}
    for seed, timesteps in itertools.product(range(len(SEEDS)), (2, 4)):
        single, several = points("T=1", seed), points(f"T={timesteps}", seed)
        if single and several:
            accuracy, energy = max((a, -e) for e, a in single)
            within = [a for e, a in several if e <= -energy]
            gains.setdefault(f"T = {timesteps}", []).append(max(within, default=0.0) - accuracy)
    return gains


def plot(done: dict[str, Row], file: Path) -> None:
    """Decision curves of the losses, one panel a data set."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(DATA), figsize=(6 * len(DATA), 4))
    for axis, dataset in zip(axes, DATA, strict=True):
        for training in trainings(dataset):
            record = done.get(training.key)
            if record and training.claim == "loss" and training.seed == 0:
                rows = record["curve"]
                dashes = "-" if training.name.endswith("step") else ":"
                axis.plot(
                    [row["latency"] for row in rows],
                    [row["accuracy"] for row in rows],
                    dashes,
                    label=training.name,
                )
        axis.set(title=dataset, xlabel="mean decision time (timesteps)", ylabel="test accuracy")
        axis.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(file, dpi=150)


def main() -> None:
    """Carry out what is not done yet, print the tables, write the files asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="digits, two epochs, one seed of loss")
    parser.add_argument("--results", type=Path, help="file that trainings are appended to")
    parser.add_argument("--json", type=Path, help="write the figures")
    parser.add_argument("--plot", type=Path, help="draw the losses' decision curves")
    arguments = parser.parse_args()

    print(__doc__.split("\n\n    python")[0])
    torch.set_num_threads(1)
    done: dict[str, Row] = {}
    if arguments.results and arguments.results.exists():
        lines = arguments.results.read_text().splitlines()
        done = {record["key"]: record for record in map(json.loads, lines)}
    figures: dict[str, float] = {}
    for dataset in ("digits",) if arguments.quick else DATA:
        splits = load(DATA[dataset])
        for training in trainings(dataset):
            if arguments.quick:
                if training.claim != "loss" or training.seed != 0:
                    continue
                training = replace(training, trial=varied(training.trial, train={"epochs": 2}))
            if training.key in done or not wanted(training, done):
                continue
            record = done[training.key] = run(training, splits)
            print(f"{training.key}: {record['test']['accuracy']:.4f}", flush=True)
            if arguments.results:
                with arguments.results.open("a") as file:
                    file.write(json.dumps(record) + "\n")
        figures |= summarise(dataset, done)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    if arguments.plot:
        plot(done, arguments.plot)


if __name__ == "__main__":
    main()
