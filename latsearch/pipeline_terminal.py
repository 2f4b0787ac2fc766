"""A running pipeline in the terminal: all stages, and what the one at work is doing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from latsearch.search.driver import Observer, Search
from latsearch.search.storage import Study
from latsearch.tables import duration
from latsearch.terminal import LiveView, PlainView

_MARKS = {"waiting": ("·", "dim"), "current": ("✓", "green"), "running": ("●", "bold"),
          "done": ("✓", "green")}  # fmt: skip
_QUIET = 10.0  # seconds between two lines of a stage's progress where no bar can be drawn


class PipelineView:
    """Shows a running pipeline: redrawn in place on a terminal, as lines elsewhere.

    Args:
        console: where.
        stages: the names of all stages.
    """

    def __init__(self, console: Console, stages: Sequence[str]):
        self._console = console
        self._states = dict.fromkeys(stages, "waiting")
        self._stage, self._what = "", ""
        self._done, self._total = 0, 0
        self._began = self._said = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> PipelineView:
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                refresh_per_second=4,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def stage(self, name: str, state: str, reason: str | None = None) -> None:
        """Show a stage's new state; what is done stays as a line."""
        self._states[name] = state
        if state == "running":
            self._stage, self._what, self._total = name, "", 0
            self._began = time.monotonic()
            if self._live is None:
                self.note(f"{name}: {reason}" if reason else f"{name}: starts")
        elif state == "current":
            self.note(f"{name}: unchanged, nothing to do")
        else:
            self.note(f"{name}: done in {duration(time.monotonic() - self._began)}")

    def step(self, what: str, done: int, total: int) -> None:
        """Show how far the stage is."""
        self._what, self._done, self._total = what, done, total
        now = time.monotonic()
        if self._live is None and total and (done >= total or now - self._said > _QUIET):
            self._said = now
            self.note(f"{self._stage}: {done:,.0f} of {total:,.0f} {what}")

    def note(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def search(
        self, study: Study, search: Search, workers: int
    ) -> AbstractContextManager[Observer]:
        """The view of the search, below the stages."""
        if self._live is None:
            return PlainView(study, search, workers, self._console)
        return _Within(self, LiveView(study, search, workers, self._console, [self._stages()]))

    def resume(self) -> None:
        """Draw again after another view did."""
        if self._live is not None:
            self._live.start()

    def pause(self) -> None:
        """Leave the terminal to another view."""
        if self._live is not None:
            self._live.stop()

    def _stop(self) -> None:
        self.pause()
        self._live = None

    def _stages(self) -> Text:
        line = Text()
        for name, state in self._states.items():
            mark, style = _MARKS[state]
            line.append(f"{mark} {name}  ", style=style)
        return line

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [self._stages()]
        if self._total:
            bar = Progress(
                TextColumn("  {task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f} · {task.fields[time]}"),
                console=self._console,
            )
            passed = duration(time.monotonic() - self._began)
            bar.add_task(self._what, total=self._total, completed=self._done, time=passed)
            parts.append(bar)
        return Group(*parts)


class _Within:
    """Another view in the place of the pipeline's."""

    def __init__(self, outer: PipelineView, inner: LiveView):
        self._outer = outer
        self._inner = inner

    def __enter__(self) -> Observer:
        self._outer.pause()
        return self._inner.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inner.__exit__(kind, error, trace)
        self._outer.resume()
