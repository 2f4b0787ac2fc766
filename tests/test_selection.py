"""Choosing operating points, comparing fronts, plots in characters."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from latsearch.errors import UserError
from latsearch.objectives import OperatingPoint
from latsearch.scatter import Series, scatter
from latsearch.selection import RULES, compare, rule_for, select, select_all
from latsearch.tables import comparison_scatter, comparison_tables
from tests.search import studies

ALL = ("accuracy", "latency", "energy")


def point(trial: int, accuracy: float, latency: float, energy: float) -> OperatingPoint:
    figures = {"accuracy": accuracy, "latency": latency, "energy": energy}
    return OperatingPoint(trial, 0, 1, "complete", 0.5, "first_spike", figures)


FRONT = [point(0, 0.99, 3.0, 900.0), point(1, 0.97, 1.2, 100.0), point(2, 0.80, 1.0, 90.0)]


@pytest.mark.parametrize(
    ("rule", "trial"), [("knee", 1), ("most-accurate", 0), ("fastest", 2), ("least-energy", 2)]
)
def test_rules(rule: str, trial: int) -> None:
    assert select(FRONT, ALL, rule).trial == trial  # type: ignore[arg-type]


def test_every_rule_about_the_objectives_at_once() -> None:
    chosen = select_all(FRONT, ALL)
    assert chosen == {rule: select(FRONT, ALL, rule) for rule in RULES}
    assert list(select_all(FRONT, ("accuracy",))) == ["most-accurate"]
    assert "least-energy" not in select_all(FRONT, ("accuracy", "latency"))


def test_a_rule_for_each_objective() -> None:
    assert [rule_for(name) for name in ALL] == ["most-accurate", "fastest", "least-energy"]
    with pytest.raises(UserError, match="known are accuracy, latency, energy"):
        rule_for("speed")


def test_ties_are_broken_by_the_other_objectives() -> None:
    tied = [point(0, 0.9, 1.0, 50.0), point(1, 0.95, 1.0, 60.0), point(2, 0.95, 1.0, 55.0)]
    assert select(tied, ALL, "fastest").trial == 2


def test_nothing_to_choose_from_is_told() -> None:
    with pytest.raises(UserError, match="no operating point to choose from"):
        select([], ALL, "knee")


def test_comparison_by_volume_coverage_and_attainment(tmp_path: Path) -> None:
    two = [studies.new_study(tmp_path / name) for name in "ab"]
    worse = [point(0, 0.95, 3.0, 950.0), point(1, 0.97, 1.2, 100.0)]
    found = compare(["a", "b"], two, [FRONT, worse])
    assert found.hypervolumes[0] > found.hypervolumes[1] > 0
    drawn = "\n".join(comparison_scatter(found))
    assert drawn.count("●") > 1  # and in the legend
    assert drawn.count("○") > 1
    assert drawn.rstrip().endswith("● a  ○ b")
    console = Console(file=io.StringIO(), width=120)
    for part in comparison_tables(found):
        console.print(part)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "against a" in shown
    assert "b − a" in shown
    assert "-2.00" in shown  # points of accuracy, at the largest latency
    assert found.coverage.tolist() == [[1.0, 1.0], [pytest.approx(1 / 3), 1.0]]
    at_most = found.attained["latency"]
    assert at_most[3.0] == (0.99, 0.97)
    assert at_most[min(at_most)] == pytest.approx((0.97, 0.97))
    lowest = found.attained["energy"][min(found.attained["energy"])]
    assert lowest[0] == 0.97


def test_studies_that_differ_cannot_be_compared(tmp_path: Path) -> None:
    one = studies.new_study(tmp_path / "a")
    text = studies.CONFIG + "energy: {profile: horowitz-45nm-int8}\n"
    other = studies.new_study(tmp_path / "b", studies.config(text))
    with pytest.raises(UserError, match="differ in their energy profile"):
        compare(["a", "b"], [one, other], [FRONT, FRONT])


def test_a_scatter_puts_the_ends_into_the_corners() -> None:
    lines = list(scatter([Series("o", [(0.0, 0.0), (2.0, 4.0)])], "x", "y", width=11, height=5))
    assert lines[0].strip() == "y"
    assert lines[1].endswith("│          o")
    assert lines[5].endswith("│o")
    assert lines[-1].split() == ["0", "2", "x"]


@given(
    st.lists(st.tuples(st.floats(), st.floats()), max_size=20),
    st.integers(2, 40),
    st.integers(2, 20),
)
def test_a_scatter_stays_in_its_frame(
    points: list[tuple[float, float]], width: int, height: int
) -> None:
    sane = [p for p in points if all(abs(v) < 1e150 or not math.isfinite(v) for v in p)]
    lines = list(scatter([Series("o", sane)], "x", "y", width=width, height=height))
    finite = [p for p in sane if all(map(math.isfinite, p))]
    assert len(lines) == (height + 3 if finite else 0)
    assert all(len(line.split("│", 1)[1]) <= width for line in lines[1 : height + 1])
