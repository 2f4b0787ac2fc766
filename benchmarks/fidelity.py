"""Which cheap training ranks configurations best: few epochs of all data, or a part of the data?

Draws configurations from search_spaces/fashion_mnist.yaml (quasi-random), on 20,000 training
images, and trains each of them in full (5 epochs) and for 5 epochs on a half, a quarter and an
eighth of the images, with a learning rate that decays over its own epochs. Every epoch's decision
curve is kept, so that each training is also all its shorter ones.

Scored by what early stopping does with it: of 12 configurations, drawn many times from all of them,
the better half by the rungs' ranks (`latsearch.search.rungs.ranked`) is kept; the score is the
hypervolume of the full curves of those six as a share of that of all twelve. Keeping six at random
and the six that are best when fully trained are the lower and the upper mark. The cost is the share
of a full training's samples.

    python benchmarks/fidelity.py --quick
    python benchmarks/fidelity.py --results benchmarks/fidelity.jsonl --json FILE --plot FILE

Resumable: a training is a line of --results, and what is there is not trained again.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import multiprocessing
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from latsearch import pareto
from latsearch.config import PROFILES, StudyConfig, load_study
from latsearch.data import Splits, load
from latsearch.search.results import curve_losses, violations
from latsearch.search.rungs import Standing, ranked
from latsearch.search.sampler import OptunaSampler
from latsearch.training import Trainer

SPACE = Path(__file__).parent.parent / "search_spaces" / "fashion_mnist.yaml"
TRAINING, VALIDATION = 20_000, 5_000
FRACTIONS = (1.0, 0.5, 0.25, 0.125)
GROUP = 12  # configurations that are compared at a time; half of them go on

optuna.logging.set_verbosity(optuna.logging.WARNING)

Curves = Mapping[tuple[float, int], Sequence[Standing]]  # by fraction and epoch


@dataclass(frozen=True)
class Training:
    """One configuration on a part of the training images."""

    number: int
    fraction: float


@dataclass(frozen=True)
class Score:
    """What a cheap training is worth.

    Attributes:
        fraction: of the training images.
        epochs: of them.
        cost: share of a full training's samples.
        kept: share of the hypervolume that the kept half has, mean over the groups.
        spread: its standard deviation over the groups.
    """

    fraction: float
    epochs: int
    cost: float
    kept: float
    spread: float


def study(training_images: int = TRAINING, validation: int = VALIDATION) -> StudyConfig:
    """The search space, on a part of the images."""
    config = load_study(SPACE)
    fewer = {"train_samples": training_images, "validation": validation}
    return config.model_copy(update={"data": config.data.model_copy(update=fewer)})


def train(training: Training, splits: Splits) -> dict[str, Any]:
    """Train, and keep what each epoch's curve counts for."""
    torch.set_num_threads(1)
    config = study()  # of its space alone: a configuration with choices cannot be pickled
    sampler = OptunaSampler(config.space, len(config.objectives), "qmc", config.search.seed)
    trial = config.space.trial(sampler.propose((), training.number))
    trainer = Trainer(
        trial,
        splits,
        seed=training.number,
        profile=PROFILES[config.energy.profile],
    )
    rows, seconds = [], []
    for _ in range(trial.train.epochs):
        report = trainer.step()
        losses = curve_losses(report.curve, tuple(config.objectives))
        standing = Standing.of(
            training.number, losses, violations(report.curve, config.constraints)
        )
        rows.append({"losses": standing.losses.round(5).tolist(), "violation": standing.violation})
        seconds.append(round(report.seconds, 3))
    return {
        "number": training.number,
        "fraction": training.fraction,
        "epochs": rows,
        "seconds": seconds,
    }


def carry_out(
    left: Sequence[Training], config: StudyConfig, workers: int
) -> Iterator[dict[str, Any]]:
    """Train what is left, one thread each."""
    images = config.data.train_samples
    assert images is not None
    parts = {
        fraction: load(config.data.model_copy(update={"train_samples": round(fraction * images)}))
        for fraction in sorted({training.fraction for training in left})
    }
    if workers == 1:
        yield from (train(one, parts[one.fraction]) for one in left)
        return
    jobs = [(one, parts[one.fraction]) for one in left]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_train, jobs)


def _train(job: tuple[Training, Splits]) -> dict[str, Any]:
    return train(*job)


def curves(rows: Sequence[Mapping[str, Any]], objectives: int) -> Curves:
    """The standings of all configurations by fraction and epoch, in the order of their numbers."""
    found: dict[tuple[float, int], list[Standing]] = {}
    for row in sorted(rows, key=lambda row: int(row["number"])):
        for epoch, one in enumerate(row["epochs"], start=1):
            losses = np.array(one["losses"], dtype=np.float64).reshape(-1, objectives)
            standing = Standing(row["number"], losses, one["violation"])
            found.setdefault((row["fraction"], epoch), []).append(standing)
    return found


def scores(found: Curves, groups: int) -> tuple[list[Score], float]:
    """What each cheap training is worth, and what keeping six at random is.

    Args:
        found: of all configurations.
        groups: how many groups of twelve are drawn.
    """
    epochs = max(epoch for fraction, epoch in found if fraction == 1.0)
    full = {standing.trial: standing for standing in found[1.0, epochs]}
    every = np.concatenate([standing.losses for standing in full.values()])
    reference = every.max(axis=0) + 0.1 * np.ptp(every, axis=0)
    generator = np.random.default_rng(0)
    size = min(GROUP, len(full))
    drawn = [generator.choice(list(full), size, replace=False).tolist() for _ in range(groups)]

    @functools.cache
    def volume(numbers: frozenset[int]) -> float:
        return pareto.hypervolume(
            np.concatenate([full[number].losses for number in numbers]), reference
        )

    def share(group: Sequence[int], kept: Sequence[int]) -> float:
        return volume(frozenset(kept)) / volume(frozenset(group))

    table = []
    for (fraction, epoch), standings in found.items():
        by_number = {standing.trial: standing for standing in standings}
        shares = []
        for group in drawn:
            order = ranked([by_number[number] for number in group])
            shares.append(share(group, list(itertools.islice(order, size // 2))))
        cost = fraction * epoch / epochs
        table.append(Score(fraction, epoch, cost, float(np.mean(shares)), float(np.std(shares))))
    # a group is in random order
    chance = float(np.mean([share(group, group[: size // 2]) for group in drawn]))
    return sorted(table, key=lambda score: (score.cost, score.fraction)), chance


def plot(table: Sequence[Score], chance: float, path: Path) -> None:
    """What is kept over the cost, a line for each fraction."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for fraction in FRACTIONS:
        mine = [score for score in table if score.fraction == fraction]
        axes.plot(
            [score.cost for score in mine],
            [100 * score.kept for score in mine],
            marker="o",
            label=f"{fraction:g} of the images",
        )
    axes.axhline(100 * chance, color="#888888", linestyle=":", label="six at random")
    axes.set_xscale("log")
    axes.set_xlabel("cost / full trainings")
    axes.set_ylabel("hypervolume kept by the better half / %")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train what is missing, then score."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configurations", type=int, default=20)
    parser.add_argument("--groups", type=int, default=300, help="of twelve, for the score")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=Path, help="lines of JSON to which trainings are added")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--plot", type=Path, help="write a picture to this file")
    parser.add_argument("--quick", action="store_true", help="2 configurations, 400 images")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that its workers end with it
    config, count = study(), arguments.configurations
    if arguments.quick:
        config, count = study(400, 200), 2
    rows: list[dict[str, Any]] = []
    if arguments.results is not None and arguments.results.exists():
        rows = [json.loads(line) for line in arguments.results.read_text().splitlines()]
    known = {Training(row["number"], row["fraction"]) for row in rows}
    wanted = [Training(n, fraction) for n in range(count) for fraction in FRACTIONS]
    left = [training for training in wanted if training not in known]
    for done, row in enumerate(carry_out(left, config, arguments.workers), start=1):
        rows.append(row)
        if arguments.results is not None:
            with arguments.results.open("a") as file:
                file.write(json.dumps(row, separators=(",", ":")) + "\n")
        print(f"{done} of {len(left)} trainings", flush=True)
    wanted_rows = [row for row in rows if row["number"] < count]
    table, chance = scores(curves(wanted_rows, len(config.objectives)), arguments.groups)
    print(f"{'images':>8} {'epochs':>7} {'cost':>7} {'kept/%':>8} {'spread':>7}")
    for score in table:
        print(
            f"{score.fraction:>8.1%} {score.epochs:>7} {score.cost:>7.3f} "
            f"{100 * score.kept:>8.2f} {100 * score.spread:>7.2f}"
        )
    print(f"six at random: {chance:.2%}")
    if arguments.json is not None:
        figures = {f"kept_{s.fraction:g}_{s.epochs}": round(s.kept, 4) for s in table}
        arguments.json.write_text(json.dumps({**figures, "kept_at_random": round(chance, 4)}))
    if arguments.plot is not None:
        plot(table, chance, arguments.plot)


if __name__ == "__main__":
    main()
