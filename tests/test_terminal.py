"""The live view of a running search."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from latsearch.terminal import LiveView
from tests.search import studies


def test_the_live_view_shows_scatter_and_table_in_24_lines(tmp_path: Path) -> None:
    study = studies.new_study(tmp_path)
    search = studies.new_search(study)
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=24)
    view = LiveView(study, search, 2, console)
    search.observe(view)
    for _ in range(3):
        studies.train(search, search.ask())
    running = search.ask()
    studies.train(search, running, epochs=1)
    console.print(view._render())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "●" in shown
    assert "latency/timesteps" in shown
    assert "3 of 12 trials" in shown
    assert "front: " in shown
    assert len(shown.splitlines()) <= 24
