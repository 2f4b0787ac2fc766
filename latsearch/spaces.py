"""The search spaces that ship with latsearch, found by name."""

from __future__ import annotations

from pathlib import Path

from latsearch.errors import ConfigError, Fault

_PACKAGE = Path(__file__).parent
# in the wheel they are below the package, in a checkout beside it
_FOLDERS = (_PACKAGE / "search_spaces", _PACKAGE.parent / "search_spaces")


def bundled_spaces() -> dict[str, Path]:
    """The search spaces that ship, by name."""
    return {file.stem: file for folder in _FOLDERS for file in sorted(folder.glob("*.yaml"))}


def find_space(source: str | Path) -> Path:
    """The file that is meant: a path, or the name of a bundled search space.

    Raises:
        ConfigError: it is neither.
    """
    path, bundled = Path(source), bundled_spaces()
    if path.exists() or str(source) not in bundled:
        if not path.exists() and path.suffix not in (".yaml", ".yml"):
            message = f"no such file, and no bundled search space; there are {', '.join(bundled)}"
            raise ConfigError([Fault(str(source), "", message)])
        return path
    return bundled[str(source)]
