"""The report's page as text: what is in it, what it loads, that nothing in it can run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from latsearch import api
from latsearch.cli import cli
from latsearch.config import Parameter, parse_study
from latsearch.errors import UserError
from latsearch.objectives import OperatingPoint
from latsearch.report import Content, gather, report_page
from latsearch.search.trials import TrialRecord
from tests.report.conftest import NewStudy, filled
from tests.tracking.synthetic import SyntheticStudy

HOSTILE = """<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"""
_LOADING = ("src", "srcset", "href", "data", "action", "poster", "background")


class Elements(HTMLParser):
    """Tags and attributes of a page, and its text without scripts and styles."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data


def hostile(content: Content) -> Content:
    """The same study with markup as a parameter's name and value, a reason and a trace."""
    parameter = Parameter(HOSTILE, "categorical", choices=(HOSTILE,), default=HOSTILE)

    def point(given: OperatingPoint) -> OperatingPoint:
        return replace(given, params={HOSTILE: HOSTILE}, state=HOSTILE)

    def record(given: TrialRecord) -> TrialRecord:
        reason = HOSTILE if given.reason else None
        return replace(given, values={"network." + HOSTILE: HOSTILE}, reason=reason, trace=reason)

    return replace(
        content,
        folder=f"runs/{HOSTILE}",
        parameters=[parameter],
        front=[point(entry) for entry in content.front],
        records=[record(entry) for entry in content.records],
        knees=[replace(knee, params={HOSTILE: HOSTILE}) for knee in content.knees],
        recommended=[
            replace(choice, point=replace(choice.point, params={"network." + HOSTILE: HOSTILE}))
            for choice in content.recommended
        ],
    )


def test_one_file_that_loads_nothing(new_study: NewStudy) -> None:
    page = report_page(gather(filled(new_study()).study))
    assert len(page.encode()) < 8e6
    elements = Elements(page)
    for tag, attributes in elements.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        for name in _LOADING:
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    policies = [a["content"] for _, a in elements.tags if "http-equiv" in a]
    assert len(policies) == 1
    assert "default-src 'none'" in (policies[0] or "")
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_what_is_told(new_study: NewStudy) -> None:
    study = filled(new_study())
    content = gather(study.study)
    text = " ".join(Elements(report_page(content)).text.split())
    for part in (
        "30 planned: 14 complete, 1 pruned, 1 failed",
        "silent_fraction ≤ 0.05",
        "288 validation samples",
        "reference point accuracy 0.1, latency 4 timesteps, energy 500 nJ",
        f"{len(content.front)} of {len(content.front)}",
        "horowitz-45nm-fp32: MAC 4.6 pJ",
        "CUDA out of memory",
        "latsearch run synthetic.yaml --workers 1",
        "latsearch.load(",
    ):
        assert part in text


def test_the_configuration_is_the_study(new_study: NewStudy) -> None:
    study = filled(new_study())
    page = report_page(gather(study.study))
    text = page[page.index("version: 1") :]
    text = text[: text.index("</pre>")].replace("&#39;", "'")
    assert parse_study(text, "report.yaml") == study.config
    assert yaml.safe_load(text)["study"] == "synthetic"


def test_markup_in_a_study_is_text(new_study: NewStudy) -> None:
    page = report_page(hostile(gather(filled(new_study()).study)))
    assert HOSTILE not in page
    elements = Elements(page)
    assert [tag for tag, _ in elements.tags].count("script") == 3
    assert "img" not in [tag for tag, _ in elements.tags]
    assert elements.text.count(HOSTILE) > 20
    data = page[page.index('id="charts">') :]
    assert "<" not in data[len('id="charts">') : data.index("</script>")]


def _nothing(study: SyntheticStudy) -> None:
    """No trial has started."""


def _running(study: SyntheticStudy) -> None:
    study.start()


def _failed(study: SyntheticStudy) -> None:
    study.fail(study.start())
    number = study.start()
    study.report(number, 1)
    study.fail(number)


@pytest.mark.parametrize("fill", [_nothing, _running, _failed])
def test_studies_without_a_front(
    new_study: NewStudy, fill: Callable[[SyntheticStudy], None]
) -> None:
    study = new_study()
    fill(study)
    text = Elements(report_page(gather(study.study))).text
    assert "There is no operating point yet" in text
    assert "Nothing is on the front yet." in text


def test_a_study_in_which_no_row_keeps_the_constraints(new_study: NewStudy) -> None:
    study = filled(new_study(constraints="{accuracy: {min: 1.0}}"))
    content = gather(study.study)
    assert not content.front
    assert "There is no operating point yet" in Elements(report_page(content)).text


@pytest.mark.parametrize("objective", ["accuracy: maximize", "energy: minimize"])
def test_a_single_objective(new_study: NewStudy, objective: str) -> None:
    content = gather(filled(new_study(objectives=f"{{{objective}}}")).study)
    assert len(content.front) == 1
    assert len(content.recommended) == 1
    assert "knee" not in content.recommended[0].rules
    report_page(content)


def test_files(new_study: NewStudy, tmp_path: Path) -> None:
    study = filled(new_study())
    folder = study.study.folder
    assert api.report(folder) == folder / "report.html"
    out, png = tmp_path / "there.html", tmp_path / "front.png"
    words = ["report", "synthetic", "--runs", folder.parent, "--out", out, "--png", png]
    told = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert told.output.splitlines()[0].startswith(f"{out} (")
    assert told.output.splitlines()[1] == str(png)
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["front.png", "runs", "there.html"]


def test_a_place_that_cannot_be_written(new_study: NewStudy, tmp_path: Path) -> None:
    study = filled(new_study())
    with pytest.raises(UserError, match="cannot be written"):
        api.report(study.study.folder, tmp_path / "nowhere" / "report.html")
