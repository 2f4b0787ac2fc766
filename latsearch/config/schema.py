"""The JSON schema of study files, for completion and checks in editors."""

from __future__ import annotations

from typing import Any

from latsearch.config.study import StudyConfig


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of study files.

    It accepts every file that the loader accepts. What a schema cannot say, such as that ``low``
    lies below ``high``, is left to `load_study`.
    """
    schema = StudyConfig.model_json_schema()
    shorten(schema)
    return schema


def shorten(node: Any) -> None:
    """Drop the titles that only repeat a field's name, and the defaults of whole sections."""
    if isinstance(node, list):
        for item in node:
            shorten(item)
    if not isinstance(node, dict):
        return
    for field in node.get("properties", {}).values():
        field.pop("title", None)
        if isinstance(default := field.get("default"), dict) and default:
            del field["default"]
    for value in node.values():
        shorten(value)
