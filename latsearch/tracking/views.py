"""Saved views of MLflow's Runs page: preset charts that a URL opens (no mlflow).

MLflow keeps a view as an experiment tag. The tag's format is not documented: it was read off
MLflow 3.17, works since 3.15, and a test opens these views in a browser.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from latsearch.config import Space, StudyConfig
from latsearch.plots import axis_pairs
from latsearch.tracking.layout import DECISION, PARETO, RANK, STUDY_ID, TRIAL_ID

PREFIX = "mlflow.sharedViewState."
FRONT, ALL = "front", "all"
_NAMES = {FRONT: "Pareto front", ALL: "All trials"}
_JOIN = " · "
_MOST_RUNS = 1000
_OBJECTIVES, _PARAMETERS = "latsearch-objectives", "latsearch-parameters"
_FOLDED = ("val", "train", "pareto", "Model metrics", "System metrics")  # MLflow's own sections
_CARD_HEIGHT = 400
_SEARCHED = object()  # is equal to no value


def view_key(study_id: str, view: str) -> str:
    """Key of a study's view; URLs carry it."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", f"{study_id}-{view}")


def view_fragment(experiment_id: str, study_id: str, view: str = FRONT) -> str:
    """What follows a server's address to open a study's view."""
    # any other facet here would make MLflow ignore the view, without workflowType it shows
    # another page altogether
    return (
        f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"
        f"&compareRunsMode=CHART&viewStateShareKey={quote(view_key(study_id, view))}"
    )


def view_tags(config: StudyConfig, study_id: str, created: int) -> dict[str, str]:
    """Experiment tags of a study's views: the front alone, and everything, best rank first."""
    best = next(iter(config.objectives))
    of_study = f"tags.`{STUDY_ID}` = '{study_id}'"
    states = {
        FRONT: _state(
            config,
            f"{of_study} and tags.`{PARETO}` = 'true'",
            f"metrics.`{best}`",
            ascending=config.objectives[best] == "minimize",
        ),
        ALL: _state(config, of_study, f"metrics.`{RANK}`", ascending=True),
    }
    return {
        PREFIX + view_key(study_id, view): _tag(f"{_NAMES[view]}{_JOIN}{study_id}", state, created)
        for view, state in states.items()
    }


def published_views(tags: Mapping[str, str]) -> dict[str, int]:
    """The studies that have views among an experiment's tags, and when each was created."""
    return {
        study_id: created
        for key, tag in tags.items()
        if key.startswith(PREFIX)
        for study_id, created in _ours(tag)
    }


def _ours(tag: str) -> Iterator[tuple[str, int]]:
    """Study and creation of a front's view; nothing of a view that somebody else made."""
    try:
        view = json.loads(tag)
        label, _, study_id = view["name"].partition(_JOIN)
        if label == _NAMES[FRONT]:
            yield study_id, int(view["createdAt"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return


def read_view(tag: str) -> dict[str, Any]:
    """The state of a view from its tag."""
    packed = json.loads(tag)["state"].removeprefix("deflate;")
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def _tag(name: str, state: Mapping[str, Any], created: int) -> str:
    packed = zlib.compress(json.dumps(state, separators=(",", ":")).encode())
    return json.dumps(
        {
            "name": name,
            "createdAt": created,
            "updatedAt": created,
            "state": f"deflate;{base64.b64encode(packed).decode()}",
        }
    )


def _state(config: StudyConfig, search: str, order_by: str, *, ascending: bool) -> dict[str, Any]:
    parameters = [parameter.name for parameter in config.space.parameters]
    objectives: list[str] = list(config.objectives)
    return {
        "searchFilter": search,
        # sorted by a metric the runs are a flat list; otherwise those below a parent are folded
        # away, and the charts would not have them
        "orderByKey": order_by,
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in (*objectives, "decision_threshold", RANK)),
            *(f"params.`{name}`" for name in parameters),
            *(f"tags.`{name}`" for name in (TRIAL_ID, DECISION)),
        ],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": _charts(objectives, _everywhere(config.space)),
        "compareRunSections": [
            _section(_OBJECTIVES, "Trade-offs", columns=3),
            _section(_PARAMETERS, "Parameters", columns=2),
            *(_section(name, name, display=False) for name in _FOLDED),
        ],
        "isAccordionReordered": True,
        "viewMaximized": False,
        "runListHidden": False,
        "useGroupedValuesInCharts": False,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }


def _everywhere(space: Space) -> list[str]:
    """Parameters that every trial has: MLflow's parallel coordinates leave out other runs."""
    return [
        parameter.name
        for parameter in space.parameters
        if all(space.fixed.get(c.name, _SEARCHED) in c.values for c in parameter.conditions)
    ]


def _section(uuid: str, name: str, *, columns: int = 3, display: bool = True) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": name,
        "display": display,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": columns,
        "cardHeight": _CARD_HEIGHT,
    }


def _charts(objectives: list[str], parameters: list[str]) -> list[dict[str, Any]]:
    """A scatter of each pair, parallel coordinates, and of three objectives a contour."""
    charts = [
        _chart("SCATTER", _OBJECTIVES, xaxis=_metric(x), yaxis=_metric(y))
        for x, y in axis_pairs(objectives)
    ]
    charts.append(
        _chart(
            "PARALLEL",
            _PARAMETERS,
            selectedParams=parameters,
            selectedMetrics=objectives,
            showAllRuns=True,
        )
    )
    if len(objectives) == 3:
        z, x, y = (_metric(name) for name in objectives)
        charts.append(_chart("CONTOUR", _PARAMETERS, xaxis=x, yaxis=y, zaxis=z))
    return [{**chart, "uuid": f"latsearch-{index}"} for index, chart in enumerate(charts)]


def _chart(kind: str, section: str, **settings: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "runsCountToCompare": _MOST_RUNS,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        **settings,
    }


def _metric(name: str) -> dict[str, str]:
    return {"key": name, "type": "METRIC"}
