"""The errors that latsearch raises on purpose, each with the exit code of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class LatsearchError(Exception):
    """Base of every error raised on purpose; its text is one line for the user.

    What a terminal would act on instead of showing it is escaped: names and values in the text may
    come from a stranger's file.
    """

    exit_code = 1

    def __init__(self, *arguments: object):
        super().__init__(
            *(printable(each) if isinstance(each, str) else each for each in arguments)
        )


def printable(text: str) -> str:
    """A text with every character escaped that cannot be shown, but for the ends of lines."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode()
        for each in text
    )


class StudyFailed(LatsearchError):
    """The search itself failed: no trial could be finished."""


class UserError(LatsearchError):
    """Something the user can put right: a file, an option, a missing data set."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a configuration file.

    Attributes:
        file: the file as the user named it.
        path: dotted path of the field, e.g. ``network.timesteps``; empty for the whole file.
        message: value, rule and likely fix in one line.
    """

    file: str
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.path, self.message) if part)


class ConfigError(UserError):
    """A configuration with one or more faults, all reported at once, one a line."""

    def __init__(self, faults: Sequence[Fault]):
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class NotFiniteError(UserError, ValueError):
    """Output potentials that are NaN or infinite."""

    def __init__(self) -> None:
        super().__init__(
            "the potentials are not finite (NaN or inf): weights of the network are too large"
        )


class DataError(UserError):
    """A data set that is missing, unreadable or damaged."""


class StudyError(UserError):
    """A study that does not exist, is in use, or does not match its configuration."""


class ClusterError(UserError):
    """A Kubernetes cluster that is not there, or that refuses something."""


class JobFailed(LatsearchError):
    """A job in a cluster that ended, but did not do what it should."""
