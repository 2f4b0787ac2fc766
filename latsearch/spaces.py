"""The search spaces and pipelines that ship with latsearch, found by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latsearch.config import StudyConfig, load_study
from latsearch.config.pipeline import PipelineConfig, inline_study
from latsearch.errors import ConfigError, Fault

_PACKAGE = Path(__file__).parent
# in the wheel they are below the package, in a checkout beside it
_FOLDERS = (_PACKAGE / "search_spaces", _PACKAGE.parent / "search_spaces")
_PIPELINES = (_PACKAGE / "pipelines" / "files", _PACKAGE.parent / "pipelines")


def bundled_spaces() -> dict[str, Path]:
    """The search spaces that ship, by name."""
    return {file.stem: file for folder in _FOLDERS for file in sorted(folder.glob("*.yaml"))}


def find_space(source: str | Path) -> Path:
    """The file that is meant: a path, or the name of a bundled search space.

    Raises:
        ConfigError: it is neither.
    """
    return _find(source, bundled_spaces(), "search space")


def bundled_pipelines() -> dict[str, Path]:
    """The pipelines that ship, by name."""
    return {file.stem: file for folder in _PIPELINES for file in sorted(folder.glob("*.yaml"))}


def find_pipeline(source: str | Path) -> Path:
    """The file that is meant: a path, or the name of a bundled pipeline.

    Raises:
        ConfigError: it is neither.
    """
    return _find(source, bundled_pipelines(), "pipeline")


def pipeline_studies(config: PipelineConfig, base: Path) -> list[StudyConfig]:
    """The studies that a pipeline's search may carry out, in the order of its spaces.

    Args:
        config: the pipeline.
        base: folder of its file, where the spaces that it names are looked for first.

    Raises:
        ConfigError: a space is not there, or has faults.
    """
    return [_study(space, base) for space in config.search.space]


def _study(space: str | dict[str, Any], base: Path) -> StudyConfig:
    if isinstance(space, dict):
        return inline_study(space)
    beside = base / space
    return load_study(beside if beside.is_file() else find_space(space))


def _find(source: str | Path, bundled: Mapping[str, Path], kind: str) -> Path:
    path = Path(source)
    # a folder of the name, such as runs of it, is not what is meant
    if path.is_dir() and str(source) in bundled:
        return bundled[str(source)]
    if path.exists() or str(source) not in bundled:
        if not path.exists() and path.suffix not in (".yaml", ".yml"):
            message = f"no such file, and no bundled {kind}; there are {', '.join(bundled)}"
            raise ConfigError([Fault(str(source), "", message)])
        return path
    return bundled[str(source)]
