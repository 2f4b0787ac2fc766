"""Rows of an MLflow database, for comparing what was published."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

_TABLES = {
    "experiments": "experiment_id, name, artifact_location, lifecycle_stage, last_update_time",
    "experiment_tags": "experiment_id, key, value",
    "runs": "run_uuid, name, source_type, source_name, entry_point_name, user_id, status, "
    "start_time, end_time, deleted_time, source_version, lifecycle_stage, artifact_uri",
    "tags": "run_uuid, key, value",
    "params": "run_uuid, key, value",
    "metrics": "run_uuid, key, value, step, timestamp, is_nan",
    "latest_metrics": "run_uuid, key, value, step, timestamp, is_nan",
    "datasets": "experiment_id, name, digest, dataset_source_type, dataset_source, "
    "dataset_schema, dataset_profile",
    "inputs": "input_uuid, source_type, source_id, destination_type, destination_id, step",
    "input_tags": "input_uuid, name, value",
}
Rows = dict[str, list[tuple[Any, ...]]]


def database_rows(uri: str) -> Rows:
    """All rows that a publication may write, by table."""
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        return {
            table: sorted(database.execute(f"SELECT {columns} FROM {table}"), key=repr)
            for table, columns in _TABLES.items()
        }


def comparable_rows(uri: str) -> Rows:
    """The rows of the runs with ids and folders replaced by what they stand for."""
    rows = database_rows(uri)
    names: dict[str, str] = {}
    for run_id, key, value in rows["tags"]:
        if key.startswith("latsearch.") and key.endswith((".kind", ".trial_id", ".row")):
            names[run_id] = f"{names.get(run_id, '')}<{key}={value}>"
    folder = str(Path(uri.removeprefix("sqlite:///")).parent)

    def plain(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        for run_id, name in names.items():
            if run_id in value:
                value = value.replace(run_id, name)
        return value.replace(folder, "<folder>")

    return {
        table: sorted((tuple(plain(value) for value in row) for row in rows[table]), key=repr)
        for table in ("runs", "tags", "params", "metrics", "latest_metrics", "datasets")
    } | {"inputs": _inputs(rows, names)}


def _inputs(rows: Rows, names: dict[str, str]) -> list[tuple[Any, ...]]:
    """Which runs have a data set as their input, with the input's tags."""
    tags: dict[str, dict[str, str]] = {}
    for key, name, value in rows["input_tags"]:
        tags.setdefault(key, {})[name] = value
    return sorted(
        (names[run_id], kind, source, step, str(tags.pop(key)))
        for key, kind, _, source, run_id, step in rows["inputs"]
    ) + sorted(tags.items(), key=repr)


def runs_of_kind(uri: str, kind: str) -> dict[str, dict[str, str]]:
    """Tags of all runs of a kind by run id."""
    rows = database_rows(uri)
    tags: dict[str, dict[str, str]] = {}
    for run_id, key, value in rows["tags"]:
        tags.setdefault(run_id, {})[key] = value
    return {run_id: found for run_id, found in tags.items() if found["latsearch.kind"] == kind}
