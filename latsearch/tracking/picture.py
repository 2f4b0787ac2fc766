"""A trial at a glance, as SVG: its decision curve, decision times and firing rates (no mlflow).

Written by hand: a plotting library takes a fifth of a second a picture, minutes for a study.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from latsearch.config import StudyConfig
from latsearch.objectives import READOUT, EpochReport
from latsearch.plots import FRONT_COLOR
from latsearch.search.results import knee_row
from latsearch.search.trials import TrialRecord

_WIDTH, _HEIGHT = 340, 260  # of a panel, in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 34, 44
_BAR, _LINE, _TEXT = "#0072b2", "#0072b2", "#333"
_RATE = "firing_rate_"
_MOST_BARS = 24  # whose labels fit


@dataclass(frozen=True)
class _Range:
    """Values along an axis, and the pixels that they are drawn over."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def trial_picture(record: TrialRecord, config: StudyConfig) -> str | None:
    """The picture of a trial's newest report; None where there is none."""
    report = record.last
    if report is None:
        return None
    knee = knee_row(report.curve, tuple(config.objectives), config.constraints)
    panels = [_curve_panel(report, knee, config.unit("latency"))]
    if report.decision_times is not None:
        panels.append(_times_panel(report))
    rates = _rates(report.metrics)
    if rates:
        panels.append(_bars("spikes a neuron and timestep", rates, "{:.3g}"))
    title = f"trial {record.number} after epoch {report.epoch}"
    width = _WIDTH * len(panels)
    body = "\n".join(
        f'<g transform="translate({_WIDTH * index} 20)">{panel}</g>'
        for index, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT + 20}" '
        f'viewBox="0 0 {width} {_HEIGHT + 20}" font-family="sans-serif" font-size="11" '
        f'fill="{_TEXT}">\n<rect width="100%" height="100%" fill="white"/>\n'
        f"{_text(width / 2, 16, title, size=13)}\n{body}\n</svg>\n"
    )


def _curve_panel(report: EpochReport, knee: int, unit: str) -> str:
    """Accuracy over mean decision time; the knee ringed, the readout a square."""
    curve = report.curve
    x = _range(curve.latency.tolist(), _LEFT, _WIDTH - _RIGHT)
    y = _range(curve.accuracy.tolist(), _HEIGHT - _BOTTOM, _TOP)
    places = [(x.at(a), y.at(b)) for a, b in zip(curve.latency, curve.accuracy, strict=True)]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    marks = [
        f'<rect x="{a - 4:.1f}" y="{b - 4:.1f}" width="8" height="8" fill="{_LINE}"/>'
        if kind == READOUT
        else f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{_LINE}"/>'
        for (a, b), kind in zip(places, curve.kind, strict=True)
    ]
    a, b = places[knee]
    ring = f'<circle cx="{a:.1f}" cy="{b:.1f}" r="6" fill="none" stroke="{FRONT_COLOR}"/>'
    line = f'<polyline points="{path}" fill="none" stroke="{_LINE}" opacity="0.5"/>'
    return "".join(
        [
            _text(_WIDTH / 2, 18, "decision curve: ring knee, square readout"),
            *_axes(x, y, "{:.4g}", "{:.1%}"),
            _text(_WIDTH / 2, _HEIGHT - 8, f"mean decision time / {unit}"),
            line,
            *marks,
            ring,
        ]
    )


def _times_panel(report: EpochReport) -> str:
    """How many samples decide at each timestep, at the most accurate decision threshold."""
    assert report.decision_times is not None
    spiking = [row for row, kind in enumerate(report.curve.kind) if kind != READOUT]
    row = max(spiking or [0], key=lambda row: report.curve.accuracy[row])  # the earliest of them
    counts, threshold = report.decision_times[row], report.curve.decision_threshold[row]
    shares = {f"t = {t}": count / sum(counts) for t, count in enumerate(counts, start=1)}
    title = f"decisions at each timestep, threshold {threshold:.3g} (most accurate)"
    return _bars(title, shares, "{:.1%}")


def _rates(metrics: Mapping[str, float]) -> dict[str, float]:
    """Spikes a neuron and timestep by layer, from the encoder on."""
    return {
        name.removeprefix(_RATE): value
        for name, value in metrics.items()
        if name.startswith(_RATE) and math.isfinite(value)
    }


def _bars(title: str, values: Mapping[str, float], form: str) -> str:
    """Horizontal bars with their names and values."""
    shown = dict(list(values.items())[:_MOST_BARS])
    top = max(shown.values(), default=0.0) or 1.0
    step = (_HEIGHT - _TOP - 12) / max(1, len(shown))
    thick = min(22.0, 0.7 * step)
    size = min(11.0, max(6.0, step))
    parts = [_text(_WIDTH / 2, 18, title)]
    for index, (name, value) in enumerate(shown.items()):
        middle = _TOP + (index + 0.5) * step
        length = value / top * (_WIDTH - _LEFT - _RIGHT - 52)
        parts += [
            _text(_LEFT - 4, middle + 4, name, anchor="end", size=size),
            f'<rect x="{_LEFT}" y="{middle - thick / 2:.1f}" width="{length:.1f}" '
            f'height="{thick:.1f}" fill="{_BAR}"/>',
            _text(_LEFT + length + 4, middle + 4, form.format(value), anchor="start", size=size),
        ]
    if len(shown) < len(values):
        parts.append(_text(_WIDTH / 2, _HEIGHT - 2, f"and {len(values) - len(shown)} more"))
    return "".join(parts)


def _range(values: Sequence[float], start: float, end: float) -> _Range:
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or max(0.01, 0.05 * abs(low))
    return _Range(low - room, high + room, start, end)


def _axes(x: _Range, y: _Range, x_form: str, y_form: str) -> list[str]:
    """Two axes with their ends and middle labelled."""
    left, bottom = x.start, y.start
    parts = [
        f'<path d="M{left} {y.end}V{bottom}H{x.end}" fill="none" stroke="#999"/>',
    ]
    for part in (0.05, 0.5, 0.95):
        value = x.low + part * (x.high - x.low)
        parts.append(_text(x.at(value), bottom + 15, x_form.format(value)))
        value = y.low + part * (y.high - y.low)
        parts.append(_text(left - 5, y.at(value) + 4, y_form.format(value), anchor="end"))
    return parts


def _text(x: float, y: float, text: str, anchor: str = "middle", size: float = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}">'
        f"{escape(text)}</text>"
    )
