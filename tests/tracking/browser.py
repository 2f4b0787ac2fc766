"""A real headless Chromium for tests, without any network but this machine's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
]
# of every chart on the page: its kind, how many points it shows, in which colours
_CHARTS = """() => [...document.querySelectorAll('.js-plotly-plot')].map(chart => ({
    kind: chart._fullData?.[0]?.type ?? '',
    points: (chart._fullData ?? []).reduce((sum, trace) => sum + (trace.x?.length ?? 0), 0),
    colors: [...new Set((chart._fullData ?? []).flatMap(trace => trace.marker?.color ?? []))],
}))"""
_DRAWN = """count => [...document.querySelectorAll('.js-plotly-plot')]
    .filter(chart => chart._fullData?.some(trace => trace.x?.length)).length >= count"""


@contextmanager
def page() -> Iterator[Any]:
    """A page of a browser; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_OPTIONS)
        context = browser.new_context(viewport={"width": 1700, "height": 1300})
        context.route(lambda url: not _local(url), lambda route: route.abort())
        context.set_default_timeout(60_000)
        yield context.new_page()
        browser.close()


def charts(frame: Any, count: int) -> list[dict[str, Any]]:
    """The charts of a page or frame, once there are ``count`` of them with points."""
    frame.wait_for_function(_DRAWN, arg=count)
    found: list[dict[str, Any]] = frame.evaluate(_CHARTS)
    return found


def _local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "file:", "data:", "blob:", "about:"))
