"""What is fuzzed: valid inputs, how they are damaged, and what may come of a damaged one.

Each target's `check` gives True where the input was taken and False where it was refused with one
of latsearch's own errors; whatever else it raises is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random

from latsearch.errors import LatsearchError
from tests.fuzz.mutation import Mutate

Check = Callable[[bytes], object]
MODULES = ("texts", "events", "images", "models", "requests", "cluster")


@dataclass(frozen=True)
class Target:
    """A reader of what strangers give.

    Attributes:
        name: for the table.
        goal: inputs that a campaign tries.
        seeds: valid inputs, given a folder to work in.
        mutate: a damaged version of one.
        open: the check, given a folder to work in.
    """

    name: str
    goal: int
    seeds: Callable[[Path], list[bytes]]
    mutate: Mutate
    open: Callable[[Path], Check]

    def input(self, seeds: list[bytes], number: int) -> bytes:
        """The input of a number, which is always the same one."""
        random = Random(f"{self.name}:{number}")
        seed = random.choice(seeds)
        try:
            return self.mutate(seed, random)
        except RecursionError:  # nested within nested: more deeply than Python itself copies
            return seed


def accepted(check: Check, content: bytes) -> bool:
    """Whether an input was taken.

    Raises:
        AssertionError: an error's text is not what a terminal should show.
        Exception: what the reader let through.
    """
    try:
        check(content)
    except LatsearchError as error:
        text = str(error)
        assert text, "an error without words"
        for line in text.split("\n"):
            assert line.isprintable(), f"not printable: {line!r}"
        return False
    return True


def targets() -> Mapping[str, Target]:
    """All targets by name."""
    return {target.name: target for module in MODULES for target in _of(module)}


def find(name: str) -> Target:
    """A target; modules after its own are not imported, some of which take seconds."""
    return next(target for module in MODULES for target in _of(module) if target.name == name)


def _of(module: str) -> tuple[Target, ...]:
    found: tuple[Target, ...] = import_module(f"tests.fuzz.{module}").TARGETS
    return found


def file_check(name: str, read: Callable[[Path], object]) -> Callable[[Path], Check]:
    """A check that writes the input to a file of this name and reads that."""

    def opened(folder: Path) -> Check:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)

        def check(content: bytes) -> None:
            file.write_bytes(content)
            read(file)

        return check

    return opened
