"""The bar that shows how a data set is prepared at its first use."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class DataProgress:
    """Told of the preparation of data; draws a bar on a terminal, a line elsewhere."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._what = ""

    def __enter__(self) -> DataProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` is done; the last call has them equal."""
        if what != self._what or self._bars is None:
            self._stop()
            if what == self._what and done >= total:
                return  # said already
            self._start(what)
        assert self._bars is not None
        self._bars.update(self._bars.task_ids[0], completed=done, total=max(total, 1))
        if done >= total:
            self._stop()

    def _start(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        self._what = what
        console = Console(stderr=True)
        if not console.is_terminal:
            console.print(what, highlight=False)
        columns = (
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=console)
        self._bars.add_task(what, total=None)
        self._bars.start()

    def _stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
