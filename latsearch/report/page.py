"""The report's page: charts, tables and words put into one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from latsearch import __version__
from latsearch.config import PROFILES
from latsearch.config.trial import CUSTOM
from latsearch.objectives import OperatingPoint
from latsearch.plots import FrontData
from latsearch.report.chart import Chart
from latsearch.report.content import Content
from latsearch.report.energies import energies
from latsearch.report.front_charts import MOST_POINTS, curve_chart, front_charts, times_chart
from latsearch.report.importance import Importance, importance
from latsearch.report.robustness import read_robustness
from latsearch.report.search_charts import (
    MOST_QUIET_LINES,
    hypervolume_chart,
    importance_chart,
    slice_charts,
    training_charts,
)
from latsearch.report.verdicts import verdicts
from latsearch.report.words import figure, value_text
from latsearch.search.trials import TrialState
from latsearch.tables import count, duration, values_words

_PACKAGES = ("torch", "numpy", "optuna", "ray", "plotly")
_FIGURES = ("decision_threshold", "accuracy", "latency", "energy", "silent_fraction")
_HEADS: Mapping[str, str] = {"decision_threshold": "threshold", "silent_fraction": "silent"}
_RULE_WORDS: Mapping[str, str] = {
    "knee": "best trade-off (knee)",
    "most-accurate": "most accurate",
    "fastest": "fastest",
    "least-energy": "least energy",
}


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, its heading, and whether it holds numbers."""

    name: str
    head: str
    numeric: bool


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is read, and what it is sorted and compared by."""

    text: str
    value: float | str


def report_page(content: Content, found: Importance | None = None) -> str:
    """The whole report as HTML; ``found`` where the importance of the parameters is known."""
    from plotly.offline import get_plotlyjs

    found = found or importance(content.knees, content.parameters, content.objectives)
    charts = _charts(content, found)
    robustness, strange = read_robustness(Path(content.folder))
    environment = _environment()
    loader = environment.loader
    assert loader is not None
    scripts = [get_plotlyjs(), loader.get_source(environment, "report.js")[0]]
    style = loader.get_source(environment, "report.css")[0]
    return environment.get_template("report.html.jinja").render(
        content=content,
        charts=charts,
        chart_json=_script_json([chart.to_json() for group in charts.values() for chart in group]),
        scripts=[Markup(script) for script in scripts],
        hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        style=Markup(style),
        facts=_facts(content),
        columns=_columns(content),
        rows=[_row(point, content) for point in content.front],
        missing_importance=found.missing,
        failed=[record for record in content.records if record.state is TrialState.FAILED],
        conventions=_conventions(content),
        profiles=list(PROFILES),
        priced=_priced(content),
        verdicts=verdicts(content),
        robustness=robustness,
        strange_files=strange,
        yaml=_yaml(content),
        versions=_versions(),
        written=_date(time.time()),
        most_points=MOST_POINTS,
        most_quiet=MOST_QUIET_LINES,
        rule_words=_RULE_WORDS,
    )


def front_data(content: Content) -> FrontData:
    """The front as `plots.write_front_png` takes it."""
    values = [[point.metrics[name] for name in content.objectives] for point in content.points]
    shape = (len(values), len(content.objectives))
    return FrontData(
        title=content.config.study,
        objectives=content.objectives,
        front=content.front,
        dominated=np.array(values, dtype=np.float64).reshape(shape),
        trials=[point.trial for point in content.points],
        events=content.config.events,
    )


def _charts(content: Content, found: Importance) -> Mapping[str, Sequence[Chart]]:
    """The charts of each section; a section without anything to draw has none."""
    return {
        "front": front_charts(content) if content.front or content.points else [],
        "curves": [curve_chart(content)] if content.lines else [],
        "times": times_chart(content),
        "training": training_charts(content),
        "hypervolume": [hypervolume_chart(content)] if content.progress else [],
        "importance": [importance_chart(found)] if found.shares else [],
        "slices": slice_charts(content),
    }


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("latsearch.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": figure,
        "value": value_text,
        "count": count,
        "words": values_words,
    }
    return environment


def _script_json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _digest(script: str) -> str:
    """What a content security policy knows the script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _facts(content: Content) -> list[tuple[str, str]]:
    """The study in a few lines."""
    config, status = content.config, content.status
    trials = f"{status.trials} planned: {status.complete} complete, {status.pruned} pruned"
    trials += f", {status.failed} failed"
    for state, number in (("running", status.running), ("interrupted", status.interrupted)):
        if number:
            trials += f", {number} {state}"
    at = ", ".join(
        f"{name} {value:.4g}{'' if name == 'accuracy' else ' ' + config.unit(name)}"
        for name, value in content.reference.items()
    )
    log = "; energy on a log10 scale" if "energy" in content.reference else ""
    return [
        ("data set", f"{config.data.name}, {content.samples:,} validation samples"),
        ("objectives", ", ".join(f"{way} {name}" for name, way in config.objectives.items())),
        ("constraints", _constraints(config.constraints)),
        ("trials", trials),
        ("front", _front_words(content.front)),
        ("hypervolume", f"{status.hypervolume:.4g} from the reference point {at}{log}"),
        ("search took", duration(status.seconds)),
        ("created", f"{_date(content.created)}; reported by latsearch {__version__}"),
    ]


def _constraints(constraints: Mapping[str, Any]) -> str:
    parts = []
    for name, bound in constraints.items():
        if bound.min is not None:
            parts.append(f"{name} ≥ {bound.min:g}")
        if bound.max is not None:
            parts.append(f"{name} ≤ {bound.max:g}")
    return ", ".join(parts) or "none"


def _front_words(front: Sequence[OperatingPoint]) -> str:
    trials = len({point.trial for point in front})
    return f"{count(len(front), 'operating point')} of {count(trials, 'trial')}"


def _columns(content: Content) -> list[Column]:
    figures = [Column(name, _HEADS.get(name, name), True) for name in ("trial", *_FIGURES)]
    return figures + [
        Column(p.name, p.name.split(".", 1)[-1], p.kind != "categorical")
        for p in content.parameters
    ]


def _row(point: OperatingPoint, content: Content) -> list[Cell]:
    figures = {**point.metrics, "decision_threshold": point.decision_threshold}
    cells = [Cell(str(point.trial), point.trial)]
    cells += [Cell(figure(name, figures[name]), figures[name]) for name in _FIGURES]
    for parameter in content.parameters:
        value = point.params.get(parameter.name)
        text = value_text(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            cells.append(Cell(text, value))
        else:
            cells.append(Cell(text, text))
    return cells


def _conventions(content: Content) -> str:
    from latsearch.snn.energy import conventions  # torch takes seconds to import

    own_code = CUSTOM in (content.config.space.domain("network.family") or ())
    return conventions(PROFILES[content.config.energy.profile], own_code=own_code)


def _priced(content: Content) -> list[tuple[OperatingPoint, Mapping[str, float | None]]]:
    """The front's points with their energy by profile."""
    measured = PROFILES[content.config.energy.profile]
    records = {record.number: record for record in content.records}
    return [(point, energies(point, records[point.trial], measured)) for point in content.front]


def _yaml(content: Content) -> str:
    resolved = content.config.model_dump(mode="json")
    return yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True, width=100)


def _versions() -> str:
    found = [f"latsearch {__version__}", f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join([*found, sys.platform])


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
