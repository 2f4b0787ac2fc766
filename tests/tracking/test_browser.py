"""The views, the note and the plots as a person sees them: a real server, a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from latsearch.plots import DOMINATED_COLOR, FRONT_COLOR
from latsearch.reporting import study_front
from latsearch.selection import select_all
from latsearch.tracking import PublishReport, publish, register, serve_ui
from latsearch.tracking.views import ALL, view_fragment
from tests.tracking.browser import charts, page
from tests.tracking.conftest import Served
from tests.tracking.synthetic import SyntheticStudy

# where the first chart has its i-th point on the page, and its values
_POINT = """i => {
    const chart = document.querySelector('.js-plotly-plot');
    const {xaxis, yaxis} = chart._fullLayout;
    const box = chart.getBoundingClientRect();
    const {x, y} = chart._fullData.find(trace => trace.x?.length);
    return {left: box.left + xaxis._offset + xaxis.d2p(x[i]),
            top: box.top + yaxis._offset + yaxis.d2p(y[i]), x: x[i], y: y[i]};
}"""


@dataclass(frozen=True)
class Published:
    """A study that is on a server, and a browser to look at it."""

    server: str
    study: SyntheticStudy
    report: PublishReport
    page: Any

    @property
    def front_size(self) -> int:
        return len(study_front(self.study.study, self.study.study.trials()))

    def open(self, fragment: str) -> None:
        """Open an address of the server anew: a mere change of the fragment would not reload."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.server}/{fragment}")


@pytest.fixture(scope="module")
def published(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    study = SyntheticStudy(tmp_path_factory.mktemp("browser") / "synthetic", trials=9)
    for _ in range(8):
        study.trial(checkpoint=True)
    study.fail(study.start())
    report = publish(study.study, served.store)
    with page() as shown:
        yield Published(served.address, study, report, shown)


def test_the_printed_url_opens_the_preset_charts(published: Published) -> None:
    lines: list[str] = []
    serve_ui(Path("runs"), published.server, 0, lines.append, published.study.study)
    published.page.goto(lines[1].removeprefix(f"{published.study.study.name}: "))
    scatters = [c for c in charts(published.page, 3) if c["kind"].startswith("scatter")]
    assert len(scatters) == 3
    for chart in scatters:
        assert chart["points"] == published.front_size
        assert chart["colors"] == [FRONT_COLOR]
    published.page.get_by_text("Parallel Coordinates").wait_for()
    # the operating points themselves are listed, not a parent run that hides them
    listed = published.page.locator("[role=row] a").all_inner_texts()
    assert listed
    assert all(" @ " in name or "readout" in name for name in listed)


def test_all_trials_show_the_dominated_in_grey(published: Published) -> None:
    fragment = view_fragment(published.report.experiment_id, published.study.study.name, ALL)
    published.open(fragment)
    scatters = [c for c in charts(published.page, 3) if c["kind"].startswith("scatter")]
    for chart in scatters:
        assert chart["points"] == published.report.points
        assert set(chart["colors"]) == {FRONT_COLOR, DOMINATED_COLOR}


def test_hovering_over_a_point_shows_its_run(published: Published) -> None:
    published.open(published.report.view)
    charts(published.page, 3)
    listed = published.page.locator("[role=row] a").all_inner_texts()
    tooltip = published.page.get_by_test_id("tooltip-container")
    names = set()
    # not the uppermost ones: there MLflow's toolbar, unseen at first, is in front
    for index in (0, published.front_size // 4, published.front_size // 2):
        point = _hover(published.page, index)
        shown = tooltip.inner_text()
        assert f"X (latency): {point['x']:.5g}"[:15] in shown
        assert f"Y (accuracy): {point['y']:.5g}"[:15] in shown
        names.add(shown.splitlines()[0])
    assert len(names) == 3
    assert names <= set(listed)


def _hover(page: Any, index: int) -> dict[str, float]:
    """Hover over a point of the first chart until its tooltip is there."""
    tooltip = page.get_by_test_id("tooltip-container")
    for _ in range(40):  # MLflow hides tooltips for as long as the page builds up
        # plotly tells of a point only once the pointer has been elsewhere
        page.mouse.move(5, 5)
        tooltip.wait_for(state="detached")
        point: dict[str, float] = page.evaluate(_POINT, index)
        page.mouse.move(point["left"] - 2, point["top"])
        page.mouse.move(point["left"], point["top"], steps=2)
        page.wait_for_timeout(300)
        if tooltip.is_visible():
            return point
    raise AssertionError("no tooltip in 40 attempts")


def test_the_notes_link_opens_the_charts(published: Published) -> None:
    published.open(
        f"#/experiments/{published.report.experiment_id}/runs?workflowType=machine_learning"
    )
    with published.page.context.expect_page() as opened:
        published.page.get_by_role("link", name="Open the Pareto front").click()
    scatters = [c for c in charts(opened.value, 3) if c["kind"].startswith("scatter")]
    opened.value.close()
    assert [chart["points"] for chart in scatters] == [published.front_size] * 3


def test_the_plots_are_drawn_without_a_network(published: Published) -> None:
    published.open(
        f"#/experiments/{published.report.experiment_id}/runs/{published.report.run_id}"
        "/artifacts/pareto/front.html?workflowType=machine_learning"
    )
    published.page.locator("iframe").wait_for()
    frame = published.page.locator("iframe").element_handle().content_frame()
    _check_plots(charts(frame, 2), published)


def test_the_plots_of_a_file_are_complete(published: Published, tmp_path: Path) -> None:
    file = MlflowClient(published.report.uri).download_artifacts(
        published.report.run_id, "pareto/front.html", str(tmp_path)
    )
    faults: list[str] = []
    published.page.on("pageerror", lambda error: faults.append(str(error)))
    published.page.goto(Path(file).as_uri())
    _check_plots(charts(published.page, 2), published)
    assert faults == []


def test_a_trials_picture_is_shown(published: Published) -> None:
    runs = MlflowClient(published.server).search_runs(
        [published.report.experiment_id], "attributes.run_name = 'trial 0'"
    )
    published.open(
        f"#/experiments/{published.report.experiment_id}/runs/{runs[0].info.run_id}"
        "/artifacts/decision.svg?workflowType=machine_learning"
    )
    published.page.wait_for_function(
        "() => [...document.images].some(image => image.complete && image.naturalWidth === 1020)"
    )


def test_a_registered_models_page_shows_its_aliases(published: Published) -> None:
    points = study_front(published.study.study, published.study.study.trials())
    chosen = select_all(points, tuple(published.study.config.objectives))
    versions = register(published.study.study, chosen, "seen", published.server)
    published.open("#/models/seen")
    shown = published.page
    shown.get_by_role("link", name="Version 1").wait_for()
    for alias in ("knee", "most-accurate", "fastest", "least-energy"):
        shown.get_by_text(f"@ {alias}", exact=True).wait_for()
    published.open(f"#/models/seen/versions/{versions[0].version}")
    shown.get_by_text(f"@ {versions[0].aliases[0]}", exact=True).wait_for()
    shown.get_by_text("on the validation split").wait_for()  # its description


def _check_plots(found: list[dict[str, Any]], published: Published) -> None:
    plane, space = found
    assert plane["kind"] == "scattergl"
    assert space["kind"] == "scatter3d"
    assert set(space["colors"]) == {FRONT_COLOR, DOMINATED_COLOR}
    assert plane["points"] == 3 * space["points"]
    assert space["points"] >= published.front_size
