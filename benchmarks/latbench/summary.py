"""What the runs of the comparison say: medians, intervals, ratios, a picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CURVES, DOCUMENTED = "same curves", "as documented"
_RESAMPLES = 4000

Line = Mapping[str, Any]
Key = tuple[str, str, int]  # setting, method, workers


def computes(lines: Sequence[Line]) -> dict[Key, dict[int, float]]:
    """Compute until the share by run and seed; the whole table's where it was not reached."""
    found: dict[Key, dict[int, float]] = defaultdict(dict)
    for line in lines:
        cost = line["table_cost"] if line["compute"] is None else line["compute"]
        found[line["setting"], line["method"], line["workers"]][line["seed"]] = cost
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    random = np.random.default_rng(0)
    sample = np.asarray(values)
    drawn = sample[random.integers(len(sample), size=(_RESAMPLES, len(sample)))]
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return float(low), float(high)


def ratio(
    ours: Mapping[int, float], theirs: Mapping[int, float]
) -> tuple[float, float, float] | None:
    """Ours divided by theirs, medians, with a paired bootstrap interval over common seeds."""
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    a, b = np.array([ours[s] for s in seeds]), np.array([theirs[s] for s in seeds])
    draws = np.random.default_rng(0).integers(len(seeds), size=(_RESAMPLES, len(seeds)))
    resampled = np.median(a[draws], axis=1) / np.median(b[draws], axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(np.median(a) / np.median(b)), float(low), float(high)


def figures(lines: Sequence[Line], workers: int = 1) -> dict[str, float | str]:
    """The figures of the comparison, flat, at a number of workers."""
    known = computes(lines)
    ours = known.get((CURVES, "ours", workers))
    if not ours:
        return {}
    found: dict[str, float | str] = {"runs": float(len(lines))}
    for setting, suffix in ((DOCUMENTED, "as_documented"), (CURVES, "same_curves")):
        peers = {
            method: costs
            for (where, method, count), costs in known.items()
            if where == setting and count == workers and not method.startswith("ours")
        }
        if not peers:
            continue
        best = min(peers, key=lambda method: float(np.median(list(peers[method].values()))))
        _note(found, f"compute_vs_best_peer_{suffix}", ratio(ours, peers[best]))
        found[f"best_peer_{suffix}"] = best
        if "random" in peers:
            _note(found, f"compute_vs_random_{suffix}", ratio(ours, peers["random"]))
    found["best_peer"] = found.get("best_peer_same_curves", "")
    return found


def _note(
    found: dict[str, float | str], name: str, value: tuple[float, float, float] | None
) -> None:
    if value is not None:
        found[name], found[f"{name}_low"], found[f"{name}_high"] = value


def print_table(lines: Sequence[Line]) -> None:
    """Print compute and trainings until the share, by setting, workers and method."""
    known, reached = computes(lines), defaultdict(list)
    trainings, seconds = defaultdict(list), defaultdict(list)
    for line in lines:
        key = line["setting"], line["method"], line["workers"]
        reached[key].append(line["compute"] is not None)
        trainings[key].append(line["trainings"])
        seconds[key].append(line["seconds"] or float("nan"))
    print(f"{'setting':14}{'workers':>8} {'method':24}{'compute, s (95 % interval)':>28}"
          f"{'trials':>8}{'time, s':>9}{'reached':>9}{'runs':>6}")  # fmt: skip
    for key in sorted(known, key=lambda k: (k[0], k[2], np.median(list(known[k].values())))):
        costs = list(known[key].values())
        low, high = interval(costs)
        clock = float(np.nanmedian(seconds[key])) if any(reached[key]) else float("nan")
        print(
            f"{key[0]:14}{key[2]:8} {key[1]:24}"
            f"{np.median(costs):12.1f} ({low:6.1f} - {high:5.1f})"
            f"{np.median(trainings[key]):8.0f}{clock:9.1f}"
            f"{np.mean(reached[key]):9.0%}{len(costs):6}"
        )


def plot(lines: Sequence[Line], file: Path, workers: int = 1) -> None:
    """Draw the median share of the hypervolume against compute, a panel for each setting."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(12, 4.2), sharey=True, layout="constrained")
    methods = sorted({line["method"] for line in lines if not line["method"].startswith("ours-")})
    compute = np.geomspace(0.3, max(line["table_cost"] for line in lines), 200)
    for panel, setting in zip(panels, (CURVES, DOCUMENTED), strict=True):
        shown = defaultdict(list)
        for line in lines:
            ours = line["method"] == "ours"
            if line["workers"] == workers and (
                ours or (line["setting"] == setting and not line["method"].startswith("ours-"))
            ):
                shown[line["method"]].append(_shares(line, compute))
        for method, shares in sorted(shown.items()):
            index = methods.index(method)
            ours = method == "ours"
            style = {"color": "black", "linewidth": 2.5} if ours else {"color": f"C{index}"}
            median = np.median(shares, axis=0)
            median[median >= 0.949] = np.maximum.accumulate(median)[median >= 0.949]
            ended = np.flatnonzero(median >= 0.95)
            stop = ended[0] + 1 if len(ended) else len(compute)
            dashes = "-" if index % 2 == 0 or ours else "--"
            panel.plot(compute[:stop], median[:stop], dashes, label=method, **style)
        panel.axhline(0.95, color="grey", linewidth=0.8, linestyle=":")
        panel.set(xscale="log", xlabel="compute, seconds of training", title=setting)
        panel.set_ylim(0.5, 1.0)
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("share of the hypervolume of all trainings")
    curves = {line.get_label(): line for panel in panels for line in panel.get_lines()}
    drawn = [method for method in methods if method in curves]
    figure.legend([curves[method] for method in drawn], drawn, loc="outside right center")
    figure.savefig(file, dpi=140)
    plt.close(figure)


def _shares(line: Line, compute: np.ndarray) -> np.ndarray:
    """The share that a run had reached by each compute."""
    spent = np.array([entry[0] for entry in line["history"]])
    share = np.array([0.0, *(entry[1] for entry in line["history"])])
    return share[np.searchsorted(spent, compute, side="right")]
