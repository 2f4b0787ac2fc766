"""The reference of study files, written from the models that check them (docs/search_space.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from latsearch.config.energy import PROFILES
from latsearch.config.schema import json_schema
from latsearch.config.text import plain
from latsearch.config.trial import AppliesWhere, NetworkConfig, StageConfig, TrainConfig
from latsearch.objectives import BEFORE_TRAINING, OBJECTIVES

_TITLE = """# Every field of a study file

Written by `latsearch schema --reference`. A study file is YAML. `version`, `study` and `data` have
to be there, all other fields have defaults. `latsearch validate FILE` shows what a file comes to,
and all its faults at once with their lines.

Each field of `network` and `train` has one of these forms:

| form | meaning |
| --- | --- |
| `timesteps: 4` | fixed |
| `timesteps: {low: 2, high: 6}` | searched, both ends included |
| `lr: {low: 1e-3, high: 0.1, log: true}` | searched on a logarithmic scale |
| `width: {low: 8, high: 64, step: 8}` | searched in steps |
| `family: {choices: [mlp, lenet]}` | searched among values |

A searched field may carry a condition: `hidden: {low: 16, high: 64, when: {network.family: mlp}}`.
Where it does not hold the field has its default. "Used where" in the tables below is a condition
that every search knows by itself.
"""

# section → path of its model in the JSON schema, dataclass with its conditions
_SECTIONS: tuple[tuple[str, str, type | None], ...] = (
    ("the top level", "", None),
    ("data", "DataConfig", None),
    ("data.events", "EventsConfig", None),
    ("network", "NetworkSpace", NetworkConfig),
    ("network.stages", "StageSpace", StageConfig),
    ("train", "TrainSpace", TrainConfig),
    ("robustness", "RobustnessConfig", None),
    ("search", "SearchConfig", None),
    ("search.stopping", "StoppingConfig", None),
    ("search.screening", "ScreeningConfig", None),
    ("resources", "ResourcesConfig", None),
    ("run", "RunConfig", None),
    ("energy", "EnergyConfig", None),
    ("tracking", "TrackingConfig", None),
)


def reference_page() -> str:
    """The reference as Markdown."""
    schema = json_schema()
    parts = [_TITLE]
    for title, name, config in _SECTIONS:
        model = schema["$defs"][name] if name else schema
        heading = f"`{title}`" if name else title[0].upper() + title[1:]
        parts.append(f"## {heading}\n\n" + "\n".join(_table(model, config, schema["$defs"])) + "\n")
    parts.append(_figures())
    return "\n".join(parts)


def _table(
    model: Mapping[str, Any], config: type | None, models: Mapping[str, Any]
) -> Iterator[str]:
    conditions = _conditions(config) if config else {}
    where = " used where |" if conditions else ""
    yield f"| field | values | default | meaning |{where}"
    yield "| --- | --- | --- | --- |" + (" --- |" if conditions else "")
    for name, field in model["properties"].items():
        required = name in model.get("required", ())
        cells = [
            f"`{name}`",
            _values(field, models),
            "required" if required else _shown(field.get("default", _SECTION)),
            field["description"].replace("|", "\\|"),
            *([conditions.get(name, "")] if conditions else []),
        ]
        yield f"| {' | '.join(cells)} |"


_SECTION = object()  # a section's default: that of its fields


def _shown(value: Any) -> str:
    if value is _SECTION:
        return "as below"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if value in ([], {}):
        return "none"
    return plain(value) if isinstance(value, int | float) else f"`{value}`"


def _conditions(config: type) -> dict[str, str]:
    """Field → where it is used, in words."""
    found = {}
    hints = get_type_hints(config, include_extras=True)
    for column in fields(config):
        words = [
            f"`{other}` is {' or '.join(f'`{value}`' for value in values)}"
            for marker in hints[column.name].__metadata__
            if isinstance(marker, AppliesWhere)
            for other, values in marker.conditions.items()
        ]
        if words:
            found[column.name] = "; ".join(words)
    return found


def _values(field: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """What a field may be, without the forms of a search."""
    arms = list(_arms(field, models))
    return " or ".join(dict.fromkeys(arm for arm in arms if arm)) or "a section"


def _arms(field: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[1]
        if not name.endswith(("Range", "Choices")):
            model = models[name]
            yield from _arms(model, models) if "enum" in model else ["a section"]
        return
    for key in ("anyOf", "oneOf"):
        if key in field:
            for arm in field[key]:
                yield from _arms(arm, models)
            return
    if "enum" in field or "const" in field:
        yield ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
        return
    kind = field.get("type")
    if kind in ("integer", "number"):
        yield f"{'a whole number' if kind == 'integer' else 'a number'}{_bounds(field)}"
    elif isinstance(kind, str):
        names = {"string": "text", "boolean": "true, false", "null": "null"}
        yield names.get(kind, {"array": "a list", "object": "a mapping"}.get(kind, kind))


def _bounds(field: Mapping[str, Any]) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum", -math.inf))
    high = field.get("maximum", field.get("exclusiveMaximum", math.inf))
    words = []
    if math.isfinite(low):
        words.append(f"{'from' if 'minimum' in field else 'above'} {_count(low)}")
    if math.isfinite(high):
        upper = "below" if "maximum" not in field else "to" if "minimum" in field else "up to"
        words.append(f"{upper} {_count(high)}")
    return f" {' '.join(words)}" if words else ""


def _count(number: float) -> str:
    return f"{number:,.10g}"


def _figures() -> str:
    """What objectives, constraints and profiles there are."""
    objectives = [f"| `{n}` | {o.direction} |" for n, o in OBJECTIVES.items()]
    before = [f"| `{name}` | {meaning} |" for name, meaning in BEFORE_TRAINING.items()]
    profiles = [f"| `{p.name}` | {p.mac:g} | {p.ac:g} | {p.neuron:g} |" for p in PROFILES.values()]
    return "\n".join(
        [
            "## `objectives`",
            "",
            "| name | direction |",
            "| --- | --- |",
            *objectives,
            "",
            "Without the field: accuracy, latency and energy.",
            "",
            "## `constraints`",
            "",
            "Any figure of a decision curve with `min`, `max` or both, e.g. "
            "`silent_fraction: {max: 0.05}`. Three are known before anything is trained; what "
            "breaks them is not trained:",
            "",
            "| name | meaning |",
            "| --- | --- |",
            *before,
            "",
            "## Energy profiles",
            "",
            "In picojoules; sources and conventions are in [energy](energy.md).",
            "",
            "| `energy.profile` | MAC | AC | neuron update |",
            "| --- | --- | --- | --- |",
            *profiles,
            "",
        ]
    )
