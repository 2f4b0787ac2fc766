"""The only reader of configuration files: strict YAML in, a `StudyConfig` or all faults out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from latsearch.config.events import with_event_encoder
from latsearch.config.presets import with_preset
from latsearch.config.strict_yaml import Lines, read_yaml
from latsearch.config.study import StudyConfig
from latsearch.config.text import shown
from latsearch.config.wording import explain
from latsearch.errors import ConfigError, Fault

_LARGEST_FILE = 1_000_000  # bytes


def load_study(file: str | Path) -> StudyConfig:
    """Read and check a study's YAML file.

    Raises:
        ConfigError: with every fault of the file.
    """
    return parse_study(read_text(file), str(file))


def read_text(file: str | Path) -> str:
    """The text of a configuration file.

    Raises:
        ConfigError: there is none.
    """
    try:
        with Path(file).open("rb") as stream:
            raw = stream.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise ConfigError([Fault(str(file), "", "no such file")]) from None
    except OSError as error:
        raise ConfigError([Fault(str(file), "", f"cannot be read: {error.strerror}")]) from None
    if len(raw) > _LARGEST_FILE:
        raise ConfigError([Fault(str(file), "", "is larger than 1 MB, so no search space")])
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError([Fault(str(file), "", "is not a text file in UTF-8")]) from None


def read_mapping(text: str, file: str) -> tuple[dict[str, Any], Lines, list[Fault]]:
    """What a configuration's YAML holds, the lines of its fields, and its faults as YAML.

    Raises:
        ConfigError: it is no mapping.
    """
    data, lines, faults = read_yaml(text, file)
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"holds {shown(data)}, not a mapping"
        raise ConfigError(faults or [Fault(file, "", f"{what}; start with `version: 1`")])
    return data, lines, faults


def parse_study(text: str, file: str = "<study>") -> StudyConfig:
    """Check a study's YAML text; ``file`` is the name used in faults.

    Raises:
        ConfigError: with every fault of the text.
    """
    data, lines, faults = read_mapping(text, file)
    if "pipeline" in data and "data" not in data:
        what = "is a pipeline, not a search space: `latsearch pipeline` runs it"
        raise ConfigError([Fault(file, "", what)])
    study, found = checked_study(data, contradictions=not faults)
    faults += [located(file, path, message, lines) for path, message in found]
    if faults or study is None:
        raise ConfigError(first_of_each_path(faults))
    return study


def checked_study(
    data: Mapping[str, Any], *, contradictions: bool = True
) -> tuple[StudyConfig | None, list[tuple[str, str]]]:
    """The study of a raw mapping, None where it is none; and its faults as (path, message).

    Args:
        data: what the YAML holds.
        contradictions: look for those too; what a YAML's own faults left out may be what one is
            about.
    """
    try:
        # Through JSON: strict about types there, yet lists may become tuples.
        raw = with_event_encoder(with_preset(data))
        study = StudyConfig.model_validate_json(json.dumps(raw))
        return study, list(study.faults()) if contradictions else []
    except ValidationError as error:
        return None, [explain(details) for details in error.errors()]


def located(file: str, path: str, message: str, lines: Lines) -> Fault:
    """The fault with the line of its field, or of the nearest one around it."""
    line = 0
    for known, number in lines.items():
        name = ".".join(known)
        if name and (path == name or path.startswith(f"{name}.")):
            line = number  # an outer field comes before its inner ones
    return Fault(file, path, message + (f" (line {line})" if line else ""))


def first_of_each_path(faults: Iterable[Fault]) -> list[Fault]:
    """One fault a path: what is reported of it later follows from the first."""
    seen: dict[str, Fault] = {}
    for fault in faults:
        seen.setdefault(fault.path or fault.message, fault)
    return list(seen.values())
