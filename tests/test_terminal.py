"""The live view of a running search."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from latsearch.config import StoppingConfig
from latsearch.tables import duration
from latsearch.terminal import LiveView, PlainView
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


def test_trials_that_were_stopped_count_for_the_time_left(tmp_path: Path) -> None:
    stopping = StoppingConfig(min_epochs=1, reduction_factor=2)
    study = studies.new_study(tmp_path, studies.config(stopping=stopping))
    search = studies.new_search(study)
    console = Console(file=io.StringIO(), width=200)
    search.observe(PlainView(study, search, 1, console))
    seconds = {}
    while len(seconds) < 4:
        number = search.ask().number
        values, epoch = dict(search.records[number].values), 0
        while epoch < 3 and search.report(number, studies.report(values, epoch + 1, f"{epoch}")):
            epoch += 1
        if epoch == 3:
            search.complete(number)
        seconds[number] = search.records[number].seconds
    assert len(set(seconds.values())) > 1  # some were stopped
    left = 8 * sum(seconds.values()) / 4
    assert "4/12, front" in console.file.getvalue()  # type: ignore[attr-defined]
    last = console.file.getvalue().splitlines()[-1]  # type: ignore[attr-defined]
    assert f"about {duration(left)} left" in last
