"""Watching a network's layers through hooks that are gone afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from torch.utils.hooks import RemovableHandle


class Watching(ABC):
    """Hooks that are attached while this is entered."""

    _handles: tuple[RemovableHandle, ...] = ()

    @abstractmethod
    def _attach(self) -> Iterable[RemovableHandle]:
        """Register the hooks."""

    def __enter__(self) -> Self:
        self._handles = tuple(self._attach())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = ()
