"""What the user sees in the terminal: the running search, fronts, tables."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from latsearch.config import StudyConfig
from latsearch.objectives import OperatingPoint
from latsearch.reporting import study_front
from latsearch.search.driver import (
    Event,
    Search,
    TrialEnded,
    TrialReported,
    TrialStarted,
)
from latsearch.search.results import (
    best_rows,
    hypervolume,
    joined_front,
    knee_row,
    operating_points,
)
from latsearch.search.storage import Study
from latsearch.search.trials import SCREENED, TrialRecord, TrialState
from latsearch.tables import count, duration, front_scatter, front_table, values_words

_TRAINED = (TrialState.COMPLETE, TrialState.PRUNED)  # what trials to come will most likely be
_LIVE_ROWS = 8
_LIVE_LINES = 6  # of the scatter: with bar and table it fits into 24


class _Progress:
    """What both views know of the running search."""

    def __init__(self, study: Study, search: Search, workers: int):
        self.study = study
        self.search = search
        self.workers = workers
        self.started = time.monotonic()
        self.running: dict[int, TrialStarted] = {}
        ended = [record for record in search.records.values() if record.state.finished]
        self.finished = len(ended)
        trained = [record.seconds for record in ended if record.state in _TRAINED]
        self._trained, self._seconds = len(trained), sum(trained)
        self.front: list[OperatingPoint] = study_front(study, ended)
        self.hypervolume = self._volume()

    @property
    def trials(self) -> int:
        """Trials that the study is going to have."""
        return self.study.config.search.trials

    @property
    def seconds(self) -> float:
        """Wall time of this run."""
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the wall time left; None before there is anything to go by."""
        if not self._trained:
            return None
        mean = self._seconds / self._trained
        begun = sum(self.search.records[number].seconds for number in self.running)
        left = (self.trials - self.finished) * mean - begun
        return max(0.0, left / max(1, min(self.workers, self.trials - self.finished)))

    def take(self, event: Event) -> None:
        """Follow an event."""
        if isinstance(event, TrialStarted):
            self.running[event.assignment.number] = event
        elif isinstance(event, TrialEnded):
            self.running.pop(event.number, None)
            if event.state.finished:
                self._take_ended(self.search.records[event.number])

    def _take_ended(self, record: TrialRecord) -> None:
        """Take one trial: to look at all again would take seconds among thousands."""
        self.finished += 1
        if record.state in _TRAINED:
            self._trained += 1
            self._seconds += record.seconds
        objectives = tuple(self.study.config.objectives)
        points = operating_points([record], objectives, self.study.config.constraints)
        self.front = joined_front(self.front, points, objectives)
        self.hypervolume = self._volume()

    def _volume(self) -> float:
        return hypervolume(self.front, tuple(self.study.config.objectives), self.study.reference)


class LiveView:
    """The running search on a terminal, redrawn in place, below what it is a part of."""

    def __init__(
        self,
        study: Study,
        search: Search,
        workers: int,
        console: Console,
        above: Sequence[RenderableType] = (),
    ):
        self._progress = _Progress(study, search, workers)
        self._console = console
        self._above = above
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Follow an event; failures stay on the screen."""
        self._progress.take(event)
        if isinstance(event, TrialEnded) and event.reason:
            self._live.console.print(_failure_line(event), style="red", highlight=False)

    def _render(self) -> RenderableType:
        progress = self._progress
        parts: list[RenderableType] = [*self._above, self._bar(), self._running()]
        if progress.front:
            parts += [
                Text(),
                *map(Text, front_scatter(progress.front, progress.study, height=_LIVE_LINES)),
                front_table(progress.front, progress.study, _LIVE_ROWS),
            ]
        return Group(*parts)

    def _bar(self) -> RenderableType:
        progress = self._progress
        bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.completed} of {task.total} trials · {task.fields[time]}"),
            console=self._console,
        )
        left = progress.seconds_left
        clock = duration(progress.seconds)
        clock += f", about {duration(left)} left" if left is not None else ""
        bar.add_task(
            progress.study.config.study,
            total=progress.trials,
            completed=progress.finished,
            time=clock,
        )
        rows = count(len(progress.front), "row")
        volume = Text(f"{rows} on the front · hypervolume ", style="dim")
        volume.append(f"{progress.hypervolume:.4g}")
        return Group(bar, volume)

    def _running(self) -> RenderableType:
        lines = Text(no_wrap=True, overflow="ellipsis")
        for number, event in sorted(self._progress.running.items()):
            record = self._progress.search.records[number]
            epochs = event.assignment.trial.train.epochs
            screened = event.assignment.screening is not None and not record.log
            place = "screening" if screened else f"epoch {record.epoch:>3}/{epochs}"
            lines.append(f"\n  trial {number:<4} {place}  ")
            lines.append(_curve_words(record, self._progress.study.config), style="cyan")
            lines.append(f"  {values_words(event.values)}", style="dim")
        return lines


class PlainView:
    """The running search as plain lines, for logs and pipes."""

    def __init__(self, study: Study, search: Search, workers: int, console: Console):
        self._progress = _Progress(study, search, workers)
        self._console = console

    def __enter__(self) -> PlainView:
        progress = self._progress
        self._line(
            f"{progress.study.config.study}: {progress.finished} of {progress.trials} trials done, "
            f"{progress.workers} at a time"
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to put back."""

    def __call__(self, event: Event) -> None:
        """Print a line for what starts, resumes, ends."""
        progress = self._progress
        progress.take(event)
        if isinstance(event, TrialStarted):
            begins = f"goes on after epoch {event.epoch}" if event.epoch else "starts"
            self._line(f"trial {event.assignment.number} {begins}: {values_words(event.values)}")
        elif isinstance(event, TrialReported):
            return
        elif event.reason:
            self._line(_failure_line(event))
        else:
            record = progress.search.records[event.number]
            left, rows = progress.seconds_left, count(len(progress.front), "row")
            after = " after its screening" if set(record.log) == {SCREENED} else ""
            self._line(
                f"trial {event.number} {event.state}{after} in {duration(record.seconds)}: "
                f"{_curve_words(record, progress.study.config)} | "
                f"{progress.finished}/{progress.trials}, front {rows}, "
                f"hypervolume {progress.hypervolume:.4g}"
                + (f", about {duration(left)} left" if left else "")
            )

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _curve_words(record: TrialRecord, config: StudyConfig) -> str:
    """The knee of a trial's newest curve."""
    curve = record.curve
    if curve is None:
        return "no report yet"
    objectives = tuple(config.objectives)
    row = knee_row(curve, objectives, config.constraints)
    words = f"{curve.accuracy[row]:.1%} at {curve.latency[row]:.2f} {config.unit('latency')}"
    if not best_rows(curve, objectives, config.constraints):
        words += ", breaks a constraint"
    return words


def _failure_line(event: TrialEnded) -> str:
    again = "" if event.state.finished else "; it is tried again from its checkpoint"
    return f"trial {event.number} failed: {event.reason}{again}"
