"""A model card as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from latsearch.cards.card import ModelCard
from latsearch.cards.figures import SeedFigures, Spread


def markdown(card: ModelCard) -> str:
    """The card's text."""
    sections = {
        "What it is": _network(card),
        "Data and protocol": _data(card),
        "Results": _results(card),
        "Decision times": _times(card),
        "Energy": _energy(card),
        "Robustness": _robustness(card.robustness),
        "Limits": (f"- {limit}" for limit in card.limits),
        "How to reproduce": _reproduce(card),
        "Configuration": _configuration(card),
    }
    lines = [f"# {card.name}", ""]
    if card.created is not None:
        lines += [card.created, ""]
    for title, body in sections.items():
        lines += [f"## {title}", "", *body, ""]
    return "\n".join(lines)


def _network(card: ModelCard) -> Iterator[str]:
    shape = " × ".join(map(str, card.input_shape))
    kind = "event frames" if card.data.latency_unit == "ms" else "images"
    yield (
        f"A latency-coded spiking network (family `{card.network['family']}`, T = "
        f"{card.timesteps}) that takes {kind} of {shape} and tells {card.classes} classes apart. "
        f"It decides by the rule `{card.rule}`: at the first timestep whose evidence exceeds the "
        f"decision threshold, at T where none does. {card.parameters:,} parameters, "
        f"{card.weights} weights. Found and trained by latsearch."
    )
    if card.class_names:
        yield ""
        yield f"Classes: {', '.join(card.class_names)}."


def _data(card: ModelCard) -> Iterator[str]:
    data = card.data
    yield f"{data.title} (`{data.name}`)."
    yield ""
    yield from _table(
        ["split", "samples", "used for"],
        [
            ["train", f"{data.train:,}", "weights"],
            ["validation", f"{data.validation:,}", "choosing the network and its threshold"],
            ["test", f"{data.test:,}", "nothing but figures named after it"],
        ],
    )
    yield ""
    yield from (f"- {sentence}" for sentence in card.protocol)


def _results(card: ModelCard) -> Iterator[str]:
    one = len(card.seeds) == 1
    low, high = card.seeds[0].interval
    accuracy = (
        f"{card.accuracy.mean:.2%} (95 % interval {low:.2%} to {high:.2%})"
        if one
        else _spread(card.accuracy, "{:.2%}")
    )
    unit = card.data.latency_unit
    energy = _spread(card.energy(card.energy_profile), "{:,.2f}")
    yield from _table(
        ["figure", f"on the {card.data.split} split"],
        [
            ["accuracy", accuracy],
            ["mean decision time", f"{_spread(card.latency, '{:.3f}')} {unit}"],
            ["energy an inference", f"{energy} nJ (`{card.energy_profile}`)"],
            ["silent fraction", _spread(card.silent_fraction, "{:.2%}")],
        ],
    )
    yield ""
    if one:
        yield (
            f"One training, seed {card.seeds[0].seed}. The interval is Wilson's, of "
            f"{card.seeds[0].samples:,} samples; it says nothing of other seeds."
        )
    else:
        yield (
            f"Mean ± standard deviation over {len(card.seeds)} trainings. All are measured on the "
            "same samples; the intervals of the single trainings are Wilson's at 95 %."
        )
    yield ""
    yield from _table(
        ["seed", "threshold", "correct", "accuracy", "95 % interval", f"latency/{unit}", "silent"],
        [_seed_row(seed) for seed in card.seeds],
    )


def _seed_row(seed: SeedFigures) -> list[str]:
    low, high = seed.interval
    threshold = seed.decision_threshold
    return [
        str(seed.seed),
        f"{threshold:.6g}" if math.isfinite(threshold) else "readout",
        f"{seed.correct:,} of {seed.samples:,}",
        f"{seed.accuracy:.2%}",
        f"{low:.2%} to {high:.2%}",
        f"{seed.latency:.3f}",
        f"{seed.silent / seed.samples:.2%}",
    ]


def _times(card: ModelCard) -> Iterator[str]:
    counts = card.decision_times
    whole, so_far = sum(counts), 0
    rows = []
    for timestep, count in enumerate(counts, start=1):
        so_far += count
        rows.append([str(timestep), f"{count / whole:.2%}", f"{so_far / whole:.2%}"])
    yield from _table(["timestep", "decide", "have decided"], rows)
    yield ""
    yield "Silent samples count at the last timestep."


def _energy(card: ModelCard) -> Iterator[str]:
    yield "Mean of an inference up to its decision, counted sample by sample, in nJ."
    yield ""
    yield from _table(
        ["profile", "nJ"],
        [[f"`{name}`", _spread(card.energy(name), "{:,.3f}")] for name in card.prices],
    )
    yield ""
    yield from (f"- {text}" for text in card.prices.values())
    by_text: dict[str, list[str]] = {}
    for name, text in card.counting.items():
        by_text.setdefault(text, []).append(name)
    for text, names in by_text.items():
        yield ""
        yield f"{', '.join(f'`{name}`' for name in names)}: {text}"


def _robustness(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is None:
        yield "Not measured; `latsearch evaluate MODEL --corruptions` does."
        return
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in found["rows"]:
        rows.setdefault(row["corruption"], []).append(row)
    yield f"{found['corruptions']}, {found['samples']:,} samples each; means over the severities."
    yield ""
    unit = found["latency_unit"]
    yield from _table(
        ["corruption", "accuracy", f"latency/{unit}", "energy/nJ", "silent"],
        [
            [
                name.replace("_", " "),
                f"{_mean(those, 'accuracy'):.1%}",
                f"{_mean(those, 'latency'):.3f}",
                f"{_mean(those, 'energy'):,.1f}",
                f"{_mean(those, 'silent_fraction'):.1%}",
            ]
            for name, those in rows.items()
        ],
    )


def _mean(rows: Sequence[Mapping[str, Any]], column: str) -> float:
    return sum(float(row[column]) for row in rows) / len(rows)


def _reproduce(card: ModelCard) -> Iterator[str]:
    again = card.reproduction
    yield "```"
    yield from again.command
    yield "```"
    yield ""
    yield f"Seeds of the trainings: {', '.join(map(str, again.seeds))}."
    versions = ", ".join(f"{name} {version}" for name, version in again.versions.items())
    yield f"Versions: {versions}; commit {again.commit or 'unknown: installed from a package'}."


def _configuration(card: ModelCard) -> Iterator[str]:
    yield "```"
    for section, fields in (("network", card.network), ("train", card.training)):
        yield from (f"{section}.{name}: {value}" for name, value in fields.items())
    yield "```"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def _spread(spread: Spread, form: str) -> str:
    """The mean, and where there are several seeds their standard deviation."""
    mean = form.format(spread.mean)
    return mean if spread.deviation is None else f"{mean} ± {form.format(spread.deviation)}"
