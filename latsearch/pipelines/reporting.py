"""The stage `report`: what all stages found, as Markdown, one HTML page, JSON and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

from latsearch.pipelines.context import (
    DATA,
    EXPORTED,
    FRONT,
    POINTS,
    REGISTERED,
    ROBUSTNESS,
    SELECTED,
    TEST,
    Context,
)
from latsearch.pipelines.document import Section, as_html, as_markdown
from latsearch.pipelines.published import PUBLISHED
from latsearch.pipelines.workspace import Workspace, write_text
from latsearch.tables import count

_PICTURE = "points.png"
_UNIT = {"timesteps": "steps", "ms": "ms"}


def settings(context: Context) -> Any:
    """What is reported, beside what was found."""
    return {
        **context.config.report.model_dump(mode="json"),
        "pipeline": context.config.pipeline,
        "profile": context.profile.name,
    }


def run(context: Context, workspace: Workspace) -> list[str]:
    """Write the report."""
    table = context.read(TEST)
    picture = points_picture(table)
    (workspace.folder / _PICTURE).write_bytes(picture)
    title = f"{context.config.pipeline}: {context.read(DATA)['name']}"
    parts = list(sections(context, table, picture))
    write_text(workspace.folder / "report.md", as_markdown(title, parts))
    write_text(workspace.folder / "report.html", as_html(title, parts))
    return ["report.md", "report.html", _PICTURE]


def sections(context: Context, table: Mapping[str, Any], picture: bytes) -> Iterator[Section]:
    """The report's sections."""
    yield _protocol(context)
    yield _delivered(context, table)
    yield Section(
        "Operating points",
        (
            "Each row is a network of the front, trained anew, at a decision threshold that was "
            "chosen on the validation split. Accuracy is the mean over the trainings ± their "
            "standard deviation, and the 95 % interval of the mean (test samples and trainings).",
        ),
        *_points_table(table, [row for row in table["rows"] if row["variant"] is None]),
        picture=(_PICTURE, picture),
    )
    yield _shift(context, table)
    if any(row["variant"] for row in table["rows"]):
        yield _ablations(table)
    if context.config.robustness is not None:
        yield _robustness(context.read(ROBUSTNESS))
    if context.config.export is not None:
        yield _exported(context.read(EXPORTED))
    if context.config.register_ is not None:
        yield _registered(context.read(REGISTERED))
    if context.config.report.published:
        yield _published(context, table)


def _protocol(context: Context) -> Section:
    data, points, config = context.read(DATA), context.read(POINTS), context.config.refit
    sizes, front = data["samples"], context.read(FRONT)
    networks = sum(len(member["networks"]) for member in points["members"])
    own = [member for member in points["members"] if member["variant"] is None]
    variants = len(points["members"]) - len(own)
    text = (
        f"{data['name']}: {sizes['train']:,} samples to train on, {sizes['validation']:,} for "
        f"validation, {sizes.get('test', 0):,} for the test. The search saw the first two alone; "
        f"its front has {len(front['points'])} operating points.",
        f"{count(len(own), 'network')} of the front trained anew with "
        f"{count(config.seeds, 'seed')} each"
        + (f", and {count(variants, 'variant')} of one of them" if variants else "")
        + f" ({networks} trainings). Decision thresholds, the network to deliver and the points "
        "below were chosen on the validation split; then the test split was measured once.",
        f"Energy is in nJ an inference at the prices of {context.profile.name}.",
    )
    return Section("Protocol", text)


def _delivered(context: Context, table: Mapping[str, Any]) -> Section:
    rows = {(row["member"], row["point"]): row for row in table["rows"]}
    lines = []
    for point in context.read(SELECTED)["points"]:
        row = rows[point["member"], point["point"]]
        threshold = point["decision_threshold"]
        lines.append(
            [
                ", ".join(point["rules"]),
                point["network"],
                "readout" if threshold is None else f"{threshold:.4g}",
                f"{point['validation']['accuracy']:.2%}",
                f"{row['accuracies'][point['network']]:.2%}",
                f"{row['test']['mean']['accuracy']:.2%}",
                _interval(row),
                f"{row['test']['mean']['latency']:.3f}",
                f"{row['test']['mean']['energy']:,.1f}",
            ]
        )
    heads = (
        "chosen as",
        "network",
        "threshold",
        "validation accuracy",
        "test accuracy",
        "mean of its seeds",
        "95 % interval",
        f"latency/{_UNIT[table['latency_unit']]}",
        "energy/nJ",
    )
    return Section("Delivered", ("Chosen on the validation split.",), heads, lines)


def _points_table(
    table: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    heads = (
        "network",
        "T",
        "test accuracy",
        "95 % interval",
        f"latency/{_UNIT[table['latency_unit']]}",
        "energy/nJ",
        "silent",
    )
    lines = [
        [
            _name(row),
            str(row["timesteps"]),
            _plus_minus(row, "accuracy", "{:.2%}"),
            _interval(row),
            _plus_minus(row, "latency", "{:.3f}"),
            _plus_minus(row, "energy", "{:,.1f}"),
            f"{row['test']['mean']['silent_fraction']:.1%}",
        ]
        for row in rows
    ]
    return heads, lines


def _shift(context: Context, table: Mapping[str, Any]) -> Section:
    lines = []
    for row in table["rows"]:
        shift = row["shift"]
        lines.append(
            [
                _name(row),
                f"{row['search']['accuracy']:.2%}",
                f"{row['validation']['mean']['accuracy']:.2%}",
                f"{row['test']['mean']['accuracy']:.2%}",
                f"{100 * shift['accuracy']:+.2f} points",
                f"{100 * shift['accuracy_low']:+.2f} … {100 * shift['accuracy_high']:+.2f}",
                f"{shift['latency']:+.3f}",
                f"{shift['energy']:+,.1f}",
            ]
        )
    heads = (
        "network",
        "in the search",
        "validation, retrained",
        "test",
        "shift to test",
        "95 % interval",
        f"latency/{_UNIT[table['latency_unit']]}",
        "energy/nJ",
    )
    text = (
        "What a figure of the search is worth: its front is the best of many trials, so that its "
        f"accuracies on {table['validation_samples']:,} validation samples are too good by luck; "
        "training anew shows by how much, the test split shows the rest.",
        *_longer(context),
    )
    return Section("From validation to test", text, heads, lines)


def _longer(context: Context) -> Iterator[str]:
    """Why a network that is trained anew may also be better than in the search."""
    epochs, reasons = context.config.refit.epochs, []
    if context.study_config.search.stops_early:
        reasons.append("the search stopped trials early")
    if epochs is not None:
        reasons.append(f"these trainings have {epochs} epochs, whatever the search gave them")
    if reasons:
        yield f"The other way works that {', and '.join(reasons)}."


def _ablations(table: Mapping[str, Any]) -> Section:
    variants = [row for row in table["rows"] if row["variant"] is not None]
    base = variants[0]["member"].removesuffix(f"-{variants[0]['variant']}")
    rows = [row for row in table["rows"] if row["member"] == base] + variants
    text = (
        f"Network {base}, at the knee of the front, with some fields changed, trained with the "
        "same epochs and seeds, each point at the decision threshold whose mean decision time on "
        "the validation split is nearest to the original's.",
    )
    return Section("Ablations", text, *_points_table(table, rows))


def _robustness(found: Mapping[str, Any]) -> Section:
    split = "test" if found["split"] == "test" else "validation"
    lines = [
        [
            f"{row['member']}.{row['point']}",
            f"{row['clean_accuracy']:.2%}",
            f"{row['corrupted_accuracy']:.2%}",
            f"{100 * row['relative_corruption_error']:.2f} points",
            f"{row['clean_latency']:.3f} → {row['corrupted_latency']:.3f}",
            f"{row['clean_energy']:,.1f} → {row['corrupted_energy']:,.1f}",
            ", ".join(
                f"{name.replace('_', ' ')} {accuracy:.1%}"
                for name, accuracy in sorted(row["by_corruption"].items(), key=lambda i: i[1])[:2]
            ),
        ]
        for row in found["rows"]
    ]
    heads = ("network", "clean", "corrupted", "lost", "latency", "energy/nJ", "worst")
    text = (
        f"Mean accuracy over {found['corruptions']}, severities "
        f"{', '.join(map(str, found['severities']))}, on {found['samples']:,} {split} samples; "
        "each member's chosen network at its best trade-off.",
    )
    return Section("Robustness", text, heads, lines)


def _exported(found: Mapping[str, Any]) -> Section:
    lines = [
        [
            one["folder"],
            one["network"],
            check["format"],
            check["framework"],
            f"{check['samples']:,}" if check["samples"] else check["not_checked"],
            str(check["predictions"]),
            str(check["decision_times"]),
            str(sum(check["spikes"].values())),
            str(check["near_threshold"]),
        ]
        for one in found["exports"]
        for check in one["checks"]
    ]
    heads = (
        "export",
        "network",
        "format",
        "run by",
        "samples",
        "other predictions",
        "other decision times",
        "other spikes",
        "within 1e-5 of a threshold",
    )
    text = (
        "Each file was run by another framework on validation samples. A sample whose first "
        "difference is within 1e-5 of a threshold counts in the last column alone.",
    )
    return Section("Exports", text, heads, lines)


def _registered(found: Mapping[str, Any]) -> Section:
    lines = [
        [one["uri"], str(one["version"]), ", ".join(one["aliases"]), one["network"]]
        for one in found["versions"]
    ]
    return Section("Registered models", (), ("model", "version", "aliases", "network"), lines)


def _published(context: Context, table: Mapping[str, Any]) -> Section:
    name = context.study_config.data.name
    heads = ("method", "test accuracy", "timesteps", "energy/nJ", "source")
    own = [row for row in table["rows"] if row["variant"] is None]
    best = max(own, key=lambda row: row["validation"]["mean"]["accuracy"])
    fast = min(own, key=lambda row: row["validation"]["mean"]["latency"])
    lines = [
        [
            f"this pipeline, {words} on validation ({_name(row)})",
            f"{row['test']['mean']['accuracy']:.2%} ({_interval(row)})",
            f"{row['test']['mean']['latency']:.2f} (mean)",
            f"{row['test']['mean']['energy']:,.1f}",
            "this report",
        ]
        for words, row in (("most accurate", best), ("fastest", fast))
    ]
    known = published_rows(name)
    lines += known
    text = (
        "Published figures are as their sources give them, from networks of other sizes and other "
        "protocols (many take the best epoch on the test split)."
        if known
        else f"No published figure for {name} is known to this program.",
        "Energies, ablations and corruption errors of the latency-coding paper are in none of the "
        "sources that we have; the tables above are ours alone.",
    )
    return Section("Beside published figures", text, heads, lines)


def published_rows(name: str) -> list[list[str]]:
    """The published figures for a data set as rows of the report's table."""
    return [
        [one.method, f"{one.accuracy:.2%}", one.timesteps or "not known", "not known", one.source]
        for one in PUBLISHED.get(name, ())
    ]


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['member']}.{row['point']}"


def _interval(row: Mapping[str, Any]) -> str:
    return f"{100 * row['accuracy_low']:.2f}–{100 * row['accuracy_high']:.2f} %"


def _plus_minus(row: Mapping[str, Any], name: str, form: str) -> str:
    mean, spread = row["test"]["mean"][name], row["test"]["spread"][name]
    text = form.format(mean)
    if row["seeds"] == 1:
        return text
    if text.endswith("%"):
        return f"{text.removesuffix('%')} ± {100 * spread:.2f} %"
    return f"{text} ± {form.format(spread)}"


def points_picture(table: Mapping[str, Any]) -> bytes:
    """Accuracy over latency and over energy: validation hollow, test filled with its interval."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from latsearch.plots import label_plainly

    rows = [row for row in table["rows"] if row["variant"] is None]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for column, name in enumerate(("latency", "energy")):
        axes = figure.add_subplot(1, 2, column + 1)
        x0, y0 = ([row["validation"]["mean"][n] for row in rows] for n in (name, "accuracy"))
        x1, y1 = ([row["test"]["mean"][n] for row in rows] for n in (name, "accuracy"))
        axes.plot([x0, x1], [y0, y1], color="#bbbbbb", linewidth=0.8, zorder=1)
        axes.scatter(
            x0, y0, s=24, facecolors="none", edgecolors="#0072b2", label="validation", zorder=2
        )
        below = [y - row["accuracy_low"] for row, y in zip(rows, y1, strict=True)]
        above = [row["accuracy_high"] - y for row, y in zip(rows, y1, strict=True)]
        axes.errorbar(
            x1, y1, yerr=[below, above], fmt="o", markersize=4, color="#d55e00", elinewidth=0.8,
            label="test, 95 %", zorder=3,
        )  # fmt: skip
        unit = table["latency_unit"] if name == "latency" else "nJ"
        axes.set_xlabel(f"{name} / {unit}")
        axes.set_ylabel("accuracy" if column == 0 else "")
        axes.yaxis.set_major_formatter("{x:.1%}")
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        if name == "energy" and max(x1) > 5 * min(x1):
            axes.set_xscale("log")
            label_plainly(axes.xaxis)
        if name == "latency":
            axes.legend(loc="lower right", frameon=False, fontsize=8)
    stream = BytesIO()
    figure.savefig(stream, dpi=90, format="png", metadata={"Software": None})
    return stream.getvalue()
