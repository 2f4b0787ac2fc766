"""The report as a person sees it: opened from disk in a browser that has no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from latsearch.report import Content, gather, report_page
from tests.report.conftest import filled
from tests.report.test_page import hostile
from tests.tracking.browser import page
from tests.tracking.synthetic import SyntheticStudy

_DRAWN = """() => Object.fromEntries([...document.querySelectorAll('.chart')].map(chart => [
    chart.id, chart.querySelectorAll('.point, .js-line').length]))"""
_MARKED = "tr[aria-selected=true]"


@dataclass
class Reader:
    """A browser's page, and what went wrong on it."""

    page: Any
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._request)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.faults.append(request.url)

    def open(self, content: Content, folder: Path) -> None:
        file = folder / "report.html"
        file.write_text(report_page(content), encoding="utf-8")
        self.page.goto(file.as_uri())

    def drawn(self) -> dict[str, int]:
        """Points and lines of each chart."""
        found: dict[str, int] = self.page.evaluate(_DRAWN)
        return found

    def click(self, element: Any) -> None:
        """Click at the middle of what another layer catches the clicks of."""
        element.scroll_into_view_if_needed()
        box = element.bounding_box()
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with page() as shown:
        shown.context.set_offline(True)
        yield Reader(shown)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    return gather(filled(SyntheticStudy(tmp_path_factory.mktemp("report") / "synthetic")).study)


@pytest.fixture(scope="module")
def whole(reader: Reader, content: Content, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The report of that study; drawing it takes seconds, so the tests share it."""
    reader.open(content, tmp_path_factory.mktemp("whole"))
    return reader


@pytest.fixture
def opened(whole: Reader) -> Iterator[Reader]:
    """That report, with an empty filter."""
    whole.page.fill("#filter", "")
    yield whole
    assert whole.faults == []


def test_every_chart_is_drawn(opened: Reader, content: Content) -> None:
    drawn = opened.drawn()
    assert {"curves", "training-loss", "training-accuracy", "hypervolume", "importance"} < set(
        drawn
    )
    assert all(drawn.values()), drawn
    whole = len(content.front) + len(content.points)
    assert drawn["front-latency"] == drawn["front-energy"] == whole


def test_a_point_finds_its_row_and_a_row_its_points(opened: Reader, content: Content) -> None:
    page, last = opened.page, len(content.front) - 1
    page.locator(f"#points tr[data-point='{last}']").click()
    assert page.locator(_MARKED).get_attribute("data-point") == str(last)
    chosen = "id => { const t = document.getElementById(id).data[2]; return [t.x[0], t.y[0]]; }"
    for name in ("latency", "energy"):
        x, y = page.evaluate(chosen, f"front-{name}")
        assert x == pytest.approx(content.front[last].metrics[name], rel=1e-5)
        assert y == pytest.approx(content.front[last].metrics["accuracy"], rel=1e-5)
    opened.click(page.locator("#front-energy .trace").nth(1).locator("path.point").first)
    page.locator("#points tr[data-point='0'][aria-selected=true]").wait_for()
    assert page.locator(_MARKED).count() == 1
    assert page.evaluate(chosen, "front-latency")[1] == pytest.approx(
        content.front[0].metrics["accuracy"], rel=1e-5
    )


def test_hovering_shows_the_configuration(opened: Reader, content: Content) -> None:
    page = opened.page
    point = page.locator("#front-latency .trace").nth(1).locator("path.point").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    hover = page.locator("#front-latency .hovertext")
    hover.wait_for()
    for part in (f"trial {content.front[0].trial}", "decision threshold", "network.family ="):
        assert part in hover.text_content()


def test_no_button_uploads_the_data(opened: Reader) -> None:
    titles = opened.page.eval_on_selector_all(
        ".modebar-btn", "buttons => buttons.map(button => button.dataset.title)"
    )
    assert "Zoom in" in titles
    assert not [title for title in titles if "share" in title.lower() or "cloud" in title.lower()]


def test_the_table_is_sorted_and_filtered(opened: Reader, content: Content) -> None:
    page = opened.page

    def latencies() -> list[float]:
        cells = page.locator("#points tbody tr:visible td:nth-child(4)").all_inner_texts()
        return [float(cell) for cell in cells]

    head = page.get_by_role("button", name="latency")
    head.click()
    assert latencies() == sorted(latencies())
    head.click()
    assert latencies() == sorted(latencies(), reverse=True)
    page.fill("#filter", "latency <= 1.5 and accuracy>0.7")
    kept = [p.metrics for p in content.front]
    kept = [m for m in kept if m["latency"] <= 1.5 and m["accuracy"] > 0.7]
    assert len(latencies()) == len(kept) < len(content.front)
    assert page.inner_text("#shown") == f"{len(kept)} of {len(content.front)}"
    page.fill("#filter", "lenet")
    lenets = [p for p in content.front if p.params["network.family"] == "lenet"]
    assert len(latencies()) == len(lenets)


def test_the_slices_follow_the_chosen_objective(opened: Reader) -> None:
    opened.page.select_option("#view", "energy")
    titles = opened.page.locator(".grid .ytitle").all_text_contents()
    assert titles
    assert set(titles) == {"energy / nJ"}
    assert all(opened.drawn().values())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_in_light_and_dark(opened: Reader, scheme: str) -> None:
    page = opened.page
    usual = page.viewport_size
    page.set_viewport_size({"width": 380, "height": 800})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    assert all(opened.drawn().values())
    page.set_viewport_size(usual)


def test_markup_in_a_study_does_not_run(reader: Reader, content: Content, tmp_path: Path) -> None:
    reader.open(hostile(content), tmp_path)
    assert reader.page.evaluate("window.ran") is None
    assert reader.page.locator("img").count() == 0
    assert "<script>" in reader.page.locator("#failed").text_content()
    assert "<script>" in reader.page.locator(".grid .xtitle").first.text_content()
    assert reader.faults == []


def test_studies_with_little_to_draw(reader: Reader, tmp_path: Path) -> None:
    empty = SyntheticStudy(tmp_path / "empty")
    reader.open(gather(empty.study), tmp_path)
    assert reader.drawn() == {}
    failed = SyntheticStudy(tmp_path / "failed")
    failed.fail(failed.start())
    reader.open(gather(failed.study), tmp_path)
    assert set(reader.drawn()) == {"hypervolume"}
    one = SyntheticStudy(tmp_path / "one")
    one.trial(epochs=1)
    reader.open(gather(one.study), tmp_path)
    assert all(reader.drawn().values())
    assert reader.faults == []
