"""Python code that a configuration names: run only where its user allows it."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from latsearch.config.text import shown
from latsearch.errors import UserError

FLAG = "--allow-code"

# what is not the user's own: Python, installed packages, latsearch
_OTHERS = tuple(
    os.path.realpath(folder)
    for folder in (
        *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
        str(Path(__file__).parents[1]),
    )
)

_scopes: list[bool] = []  # of this process; the innermost counts


def function_name(name: str) -> str:
    """Check that a name is ``module:function``.

    Raises:
        ValueError: it is not.
    """
    module, _, function = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise ValueError(f"{shown(name)} is no function: write it like my_module:my_function")
    return name


@contextlib.contextmanager
def allowing_code(allowed: bool) -> Iterator[None]:
    """Whether networks that are code of the user's may be built in this process meanwhile."""
    _scopes.append(allowed)
    try:
        yield
    finally:
        _scopes.pop()


def code_allowed() -> bool:
    """Whether the user has allowed that code named in a configuration is run."""
    return bool(_scopes) and _scopes[-1]


def refused(field: str, where: str) -> str:
    """What is said to a user who has not allowed the code."""
    return f"{field} is Python code ({where}); if you trust it, allow it with {FLAG}"


def find_function(field: str, where: str) -> Callable[..., Any]:
    """The function ``module:function``; the working folder's modules are found too.

    Raises:
        UserError: there is none, or its module fails.
    """
    module, _, name = where.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{field} = {where}: {error}; start from the folder that holds the module, or "
            "install it"
        ) from error
    except AttributeError as error:
        if place(error):  # raised inside the module
            raise UserError(f"{field} = {where}: {reason(error)}") from error
        raise UserError(f"{field} = {where}: {module} has no {name}") from None
    except Exception as error:  # the user's module may raise anything
        raise UserError(f"{field} = {where}: {reason(error)}") from error
    return function


def reason(error: BaseException) -> str:
    """An error of the user's code in one line, with the file and line where it happened."""
    text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".removesuffix(": ")
    where = place(error)
    return f"{text} ({where})" if where else text


def place(error: BaseException) -> str:
    """``file:line`` of the last call in the user's own files; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename)]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


def _is_own(file: str) -> bool:
    if file.startswith("<"):
        return False
    path = os.path.realpath(file)
    return not any(path == other or path.startswith(other + os.sep) for other in _OTHERS)
