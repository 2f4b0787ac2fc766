"""A study of 300 trials as a person sees it: the view opens, the HTML plot has the whole front."""

from __future__ import annotations

from pathlib import Path

import pytest

from latsearch.plots import FRONT_COLOR
from latsearch.reporting import study_front
from latsearch.tracking import default_uri, publish
from latsearch.tracking.ui import ui_server
from tests.tracking.browser import charts, page
from tests.tracking.conftest import unused_port
from tests.tracking.rows import database_rows
from tests.tracking.synthetic import SyntheticStudy

_LOADED = 100  # runs, a page of MLflow's


@pytest.mark.slow
def test_three_hundred_trials(tmp_path: Path) -> None:
    made = SyntheticStudy(tmp_path / "runs" / "synthetic", trials=300)
    for _ in range(300):
        made.trial(epochs=1)
    front = study_front(made.study, made.study.trials())
    assert len(front) > _LOADED
    uri = default_uri(tmp_path / "runs")
    report = publish(made.study, uri)
    before = database_rows(uri)
    assert publish(made.study, uri).written == 0
    assert database_rows(uri) == before
    with ui_server(uri, unused_port()) as (address, _), page() as shown:
        shown.goto(f"{address}/{report.view}")
        scatters = [c for c in charts(shown, 3) if c["kind"].startswith("scatter")]
        assert [chart["points"] for chart in scatters] == [_LOADED] * 3
        assert {color for chart in scatters for color in chart["colors"]} == {FRONT_COLOR}
        shown.goto("about:blank")
        shown.goto(
            f"{address}/#/experiments/{report.experiment_id}/runs/{report.run_id}"
            "/artifacts/pareto/front.html?workflowType=machine_learning"
        )
        shown.locator("iframe").wait_for()
        frame = shown.locator("iframe").element_handle().content_frame()
        charts(frame, 2)
        in_space = frame.evaluate(
            "() => document.querySelectorAll('.js-plotly-plot')[1]._fullData"
            ".find(trace => trace.name === 'Pareto front').x.length"
        )
    assert in_space == len(front)
