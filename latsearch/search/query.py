"""The small language of ``--where``: comparisons of columns, joined by and, or, not, brackets.

``latency <= 1.5 and (energy < 200 or network.family == 'lenet')``. It is parsed here and never
evaluated as Python.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from latsearch.errors import UserError

Row = Mapping[str, Any]
Predicate = Callable[[Row], bool]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<operator><=|>=|==|!=|<|>|=)"
    r"|(?P<bracket>[()])"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_.]*))"
)
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
}
_CONSTANTS = {"true": True, "false": False, "null": None}
_WORDS = ("and", "or", "not")
_DEEPEST = 100


def parse(text: str, columns: Collection[str]) -> Predicate:
    """The condition that the text states, as a function of a row.

    Args:
        text: the condition.
        columns: names that it may use.

    Raises:
        UserError: the text is no condition, or names an unknown column.

    Example:
        >>> parse("latency <= 1.5 and not energy > 200", ["latency", "energy"])(
        ...     {"latency": 1.2, "energy": 150.0}
        ... )
        True
    """
    parser = _Parser(text, columns)
    predicate = parser.either(0)
    if parser.peek() is not None:
        raise parser.error(f"did not expect {parser.peek()!r}")
    return predicate


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, text: str, columns: Collection[str]):
        self._text = text
        self._columns = columns
        self._tokens = self._scan()
        self._next = 0

    def error(self, message: str) -> UserError:
        return UserError(
            f"--where {self._text!r}: {message}; write it like 'latency <= 1.5 and energy < 200'"
        )

    def peek(self) -> str | None:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else None

    def either(self, depth: int) -> Predicate:
        if depth > _DEEPEST:
            raise self.error("nested too deeply")
        arms = [self._both(depth)]
        while self._take("or"):
            arms.append(self._both(depth))
        return arms[0] if len(arms) == 1 else lambda row: any(arm(row) for arm in arms)

    def _both(self, depth: int) -> Predicate:
        arms = [self._negated(depth)]
        while self._take("and"):
            arms.append(self._negated(depth))
        return arms[0] if len(arms) == 1 else lambda row: all(arm(row) for arm in arms)

    def _negated(self, depth: int) -> Predicate:
        turned = False
        while self._take("not"):
            turned = not turned
        inner = self._atom(depth)
        return (lambda row: not inner(row)) if turned else inner

    def _atom(self, depth: int) -> Predicate:
        if self._take("("):
            inner = self.either(depth + 1)
            if not self._take(")"):
                raise self.error("a bracket is not closed")
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        left, left_is_column = self._operand()
        kind, sign = self._advance("a comparison such as <=")
        if kind != "operator":
            raise self.error(f"expected a comparison such as <=, found {sign!r}")
        right, right_is_column = self._operand(text_allowed=left_is_column)
        if not left_is_column and not right_is_column:
            raise self.error("a comparison needs a column" + self._near(left))
        compare = _OPERATORS[sign]

        def holds(row: Row) -> bool:
            a = row.get(left) if left_is_column else left
            b = row.get(right) if right_is_column else right
            return _compared(compare, a, b)

        return holds

    def _operand(self, text_allowed: bool = True) -> tuple[Any, bool]:
        """A column's name and True, or a value and False."""
        kind, token = self._advance("a column or a value")
        if kind == "number":
            return float(token), False
        if kind == "text":
            return token[1:-1], False
        if kind != "name" or token in _WORDS:
            raise self.error(f"expected a column or a value, found {token!r}")
        if token in self._columns:
            return token, True
        if token in _CONSTANTS:
            return _CONSTANTS[token], False
        if not text_allowed:
            raise self.error(f"unknown column {token!r}" + self._near(token))
        return token, False

    def _near(self, name: Any) -> str:
        near = difflib.get_close_matches(str(name), list(self._columns), n=1)
        return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(self._columns)}"

    def _take(self, token: str) -> bool:
        found = self.peek() == token and self._tokens[self._next][0] in ("name", "bracket")
        self._next += found
        return found

    def _advance(self, expected: str) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            raise self.error(f"ends where {expected} was expected")
        self._next += 1
        return self._tokens[self._next - 1]

    def _scan(self) -> list[tuple[str, str]]:
        tokens, position, text = [], 0, self._text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error(f"cannot read {text[position:].strip()[:20]!r}")
            assert match.lastgroup is not None
            tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        return tokens


def _compared(compare: Callable[[Any, Any], bool], a: Any, b: Any) -> bool:
    """The comparison; order between what has none (a missing value, text and number) is false."""
    if compare in (operator.eq, operator.ne):
        return compare(a, b)
    try:
        return compare(a, b)
    except TypeError:
        return False
