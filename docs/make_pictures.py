"""Make the pictures of docs/concepts.md from a real search on the digits.

``python docs/make_pictures.py`` writes them to docs/pictures/; it takes two minutes on a core. The
study stays in --runs, and is not searched again where it is there.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import latsearch
from latsearch.config import DataConfig
from latsearch.config.energy import DEFAULT_PROFILE
from latsearch.data import load
from latsearch.evaluation import LoadedNetwork, Measurement
from latsearch.objectives import DecisionCurve, OperatingPoint
from latsearch.search.storage import Study
from latsearch.snn.decoding import decide

RED, GREY, BLUE, GOLD = "#d62728", "#b0b0b0", "#1f77b4", "#e0a100"
PARTS = {"encoder": GREY, "hidden": BLUE, "neurons": GOLD, "output": RED}


def main() -> None:
    """Search, then draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the study")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "pictures")
    parser.add_argument("--trials", type=int, default=16)
    chosen = parser.parse_args()
    options = latsearch.RunOptions(
        trials=chosen.trials, study="pictures", runs=chosen.runs, workers=0
    )
    result = latsearch.run("digits", options)
    study = Study.open(result.folder)
    chosen.out.mkdir(parents=True, exist_ok=True)
    curves = {r.number: r.curve for r in study.trials() if r.curve is not None}
    trial = slowest(result.front, curves)
    network = latsearch.load(result.folder, trial)
    samples = load(DataConfig(name="digits")).validation
    measured = network.measure(samples.images)
    draw_curve(curves[trial], measured, trial, chosen.out / "curve.png")
    draw_potentials(measured, samples.labels, curves[trial], chosen.out / "potentials.png")
    draw_front(curves, result.front, chosen.out / "front.png")
    draw_energy(measured, network, chosen.out / "energy.png")


def slowest(front: Sequence[OperatingPoint], curves: dict[int, DecisionCurve]) -> int:
    """The front's trial whose curve has the widest range of latencies, of the accurate ones."""
    best = max(point.metrics["accuracy"] for point in front)
    good = {p.trial for p in front if p.metrics["accuracy"] > best - 0.03}
    return max(good, key=lambda trial: float(np.ptp(curves[trial].latency)))


def figure(width: float, height: float, panels: int) -> tuple[Figure, list]:
    """A figure with panels side by side."""
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    axes = [made.add_subplot(1, panels, index + 1) for index in range(panels)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return made, axes


def draw_curve(curve: DecisionCurve, measured: Measurement, trial: int, file: Path) -> None:
    """A trial's decision curve, and when its samples decide at three of its thresholds."""
    made, (left, right) = figure(9, 3.2, 2)
    left.plot(curve.latency, 100 * curve.accuracy, ".-", color=BLUE, lw=1, ms=5)
    rows = [0, len(curve) // 2, len(curve) - 1]
    for row, color in zip(rows, (RED, GOLD, "black"), strict=True):
        threshold = curve.decision_threshold[row]
        text = "readout at T" if math.isinf(threshold) else f"threshold {threshold:.3g}"
        left.plot(curve.latency[row], 100 * curve.accuracy[row], "o", color=color, label=text)
        times = decide(measured.potentials, float(threshold), measured.rule).decision_time
        counts = np.bincount(times, minlength=len(measured.potentials) + 1)[1:]
        steps = np.arange(1, len(counts) + 1) + 0.25 * (rows.index(row) - 1)
        right.bar(steps, 100 * counts / counts.sum(), width=0.22, color=color)
    left.set(xlabel="latency: mean decision time / timesteps", ylabel="accuracy / %")
    left.set_title(f"trial {trial}: one training, {len(curve)} operating points", fontsize=10)
    left.legend(frameon=False, fontsize=8, loc="lower right")
    right.set(xlabel="decision time / timesteps", ylabel="samples / %")
    right.set_xticks(range(1, len(measured.potentials) + 1))
    right.set_title("when its samples decide", fontsize=10)
    made.savefig(file, dpi=110)


def draw_potentials(
    measured: Measurement, labels: np.ndarray, curve: DecisionCurve, file: Path
) -> None:
    """Output potentials of three samples that decide at different times."""
    threshold = float(curve.decision_threshold[len(curve) // 2])
    potentials = measured.potentials.numpy()
    found = decide(measured.potentials, threshold, measured.rule)
    right = np.flatnonzero((found.prediction == labels) & ~found.silent)
    wanted = [right[found.decision_time[right] == t] for t in range(1, len(potentials) + 1)]
    chosen = [int(group[0]) for group in wanted if len(group)][:3]
    made, axes = figure(9, 2.9, len(chosen))
    steps = np.arange(len(potentials) + 1)
    for axis, sample in zip(axes, chosen, strict=True):
        lines = np.vstack([np.zeros(potentials.shape[2]), potentials[:, sample]])
        for label, line in enumerate(lines.T):
            mine = label == found.prediction[sample]
            axis.plot(
                steps, line, color=RED if mine else GREY, lw=2 if mine else 1, zorder=1 + mine
            )
        axis.axhline(threshold, color="black", ls="--", lw=0.8)
        time = int(found.decision_time[sample])
        axis.plot(time, lines[time, found.prediction[sample]], "o", color=RED)
        axis.set_title(f"digit {labels[sample]}: decided at t = {time}", fontsize=10)
        axis.set(xlabel="timestep", xticks=steps)
    axes[0].set_ylabel("output potential")
    made.savefig(file, dpi=110)


def draw_front(
    curves: dict[int, DecisionCurve], front: Sequence[OperatingPoint], file: Path
) -> None:
    """Every trial's curve, and the points of all of them that nothing beats."""
    made, (left, right) = figure(9, 3.4, 2)
    worst = min(point.metrics["accuracy"] for point in front)
    for column, axis in (("latency", left), ("energy", right)):
        for curve in curves.values():
            axis.plot(getattr(curve, column), 100 * curve.accuracy, color=GREY, lw=0.9)
        x = [point.metrics[column] for point in front]
        y = [100 * point.metrics["accuracy"] for point in front]
        axis.plot(x, y, "o", color=RED, ms=3.5)
        axis.set_ylim(100 * worst - 1, 100.4)
    left.set(xlabel="latency / timesteps", ylabel="accuracy / %")
    right.set(xlabel="energy / nJ an inference", ylabel="accuracy / %", xscale="log")
    left.set_title(f"{len(curves)} trials: a grey curve each", fontsize=10)
    right.set_title(f"red: the front, {len(front)} operating points", fontsize=10)
    made.savefig(file, dpi=110)


def draw_energy(measured: Measurement, network: LoadedNetwork, file: Path) -> None:
    """Energy of an inference that decides at t, by part."""
    parts = {name: part.mean(1).numpy() for name, part in measured.energy.parts().items()}
    made, (axis,) = figure(5.5, 3.2, 1)
    steps, below = np.arange(1, len(measured.potentials) + 1), 0.0
    for name, color in PARTS.items():
        axis.bar(steps, parts[name], bottom=below, color=color, width=0.6, label=name)
        below = below + parts[name]
    axis.set(xlabel="decided at timestep", ylabel="energy / nJ an inference", xticks=steps)
    family = network.info.trial.network.family
    axis.set_title(f"family {family}, prices of {DEFAULT_PROFILE.name}", fontsize=10)
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    made.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
