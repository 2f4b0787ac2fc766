"""Reads the pickles of CIFAR without unpickling: numbers, texts, lists, dicts and arrays of bytes.

A pickle is a program, and Python's own reader runs it. This one knows the few instructions that
such files consist of, calls nothing that a file names, and refuses the rest.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "INT", "BINSTRING", "SHORT_BINSTRING"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES", "BINBYTES"}
)
_PUTS = frozenset({"BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"BINGET", "LONG_BINGET"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_MARK, _ARRAY, _KIND, _BYTES = object(), object(), object(), object()
# what a file may name, and what stands for it here
_NAMES = {
    "numpy.core.multiarray _reconstruct": _ARRAY,
    "numpy._core.multiarray _reconstruct": _ARRAY,
    "numpy ndarray": None,
    "numpy dtype": _KIND,
    "_codecs encode": _BYTES,
}


class _Array:
    """An array that is being read."""

    def __init__(self) -> None:
        self.value: NDArray[np.uint8] | None = None

    def fill(self, state: Any) -> None:
        _, shape, kind, by_columns, content = state
        if kind != "u1" or by_columns:
            raise ValueError(f"an array of {kind!r}, not of bytes by rows")
        raw = content.encode("latin1") if isinstance(content, str) else content
        self.value = np.frombuffer(raw, np.uint8).reshape(shape)


def read_plain(content: bytes) -> dict[str, Any]:
    """The dict in a pickle, its arrays read-only.

    Raises:
        ValueError: the pickle is damaged, or holds what such a file does not.
    """
    reader = _Reader()
    try:
        for instruction, argument, _ in pickletools.genops(content):
            reader.step(instruction.name, argument)
        (found,) = reader.stack
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no whole pickle of CIFAR's kind ({error})") from None
    if not isinstance(found, dict):
        raise ValueError("no dict")
    return {
        str(key): value.value if isinstance(value, _Array) else value
        for key, value in found.items()
    }


class _Reader:
    """A stack and a memory, as the instructions want them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memory: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _PUTS:
            self._memory[argument] = stack[-1]
        elif name in _GETS:
            stack.append(self._memory[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(self._marked()))
        elif name in _TUPLES:
            items = stack[-_TUPLES[name] :]
            del stack[-len(items) :]
            stack.append(tuple(items))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._marked()
            list.extend(stack[-1], items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self._marked()
            dict.update(stack[-1], zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            if argument not in _NAMES:
                raise ValueError(f"names {argument[:60]!r}, which no data need")
            stack.append(_NAMES[argument])
        elif name == "REDUCE":
            arguments, what = stack.pop(), stack.pop()
            stack.append(_made(what, arguments))
        elif name == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], _Array):
                stack[-1].fill(state)
        elif name not in ("PROTO", "STOP"):
            raise ValueError(f"has the instruction {name}, which no data need")

    def _marked(self) -> list[Any]:
        """What is above the last mark, which is taken away with it."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError("no mark")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items


def _made(what: Any, arguments: Any) -> Any:
    """What stands for the result of a call."""
    if what is _ARRAY:
        return _Array()
    if what is _KIND:
        return arguments[0]
    if what is _BYTES:
        return arguments[0].encode("latin1")
    raise ValueError("calls what is no name")
