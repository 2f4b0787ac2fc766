"""The JSON schema accepts what the loader accepts, and rejects what a schema can reject."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from latsearch.config import json_schema, parse_study
from latsearch.config.strict_yaml import read_yaml
from tests.config.spaces import BUNDLED, FOLDER, HEAD

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
BAD = Path(__file__).parent / "bad"

# Faults that are about several fields at once, or about YAML itself, are beyond a schema.
BEYOND = {
    "custom_for_nir",
    "custom_incomplete",
    "custom_unused",
    "depth_beyond_stages",
    "enqueue",
    "depth_cuts_a_search",
    "events_encoder",
    "events_for_images",
    "events_sensor_known",
    "events_settings_for_images",
    "low_above_high",
    "nothing_searched",
    "searched_but_unused",
    "stages_missing",
    "stages_unused",
    "stopping_too_late",
    "target_nir",
    "when_circle",
    "when_continuous",
    "when_never",
    "when_unknown",
    "when_wrong_value",
    "log_from_zero",
}


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    json.dumps(SCHEMA)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_files(name: str) -> None:
    VALIDATOR.validate(read_yaml((FOLDER / name).read_text(), name)[0])


@pytest.mark.parametrize(
    "text",
    [
        "run: {timeout: 2h}",
        "run: {timeout: 1.5 d}",
        "run: {timeout: 60}",
        "run: {timeout: null}",
        "storage: sqlite:///studies.db",
        "storage: postgresql://me@db.example:5432/studies",
        "resources: {gpus_per_trial: 0.5, accelerator_type: A100-40G, custom: {spot: 1}}",
        "network: {output_tau_mem: {choices: [null, 2]}}",
        "network: {output_tau_mem: {low: 1, high: 2, step: 0.5}}",
        "network: {timesteps: {low: 1, high: 2, step: null, when: {train.loss: [tad, tet]}}}",
        "network: {timesteps: {low: 1, high: 2, when: {train.horizontal_flip: false}}}",
        "network: {stem_kernel: {choices: [1, 3]}}",
        "train: {horizontal_flip: {choices: [true, false]}}",
        "constraints: {energy: {max: 5}}",
        "constraints: {parameters: {max: 1e6}, macs: {max: 1e9}, energy_bound: {max: 500}}",
        "search: {trials: 1, warm_start: runs/other}",
        "search: {trials: 1, warm_start: [runs/one, two]}",
        "search: {trials: 1, enqueue: [{network.timesteps: 4}]}",
        "objectives: {energy: minimize}",
        "data: {name: cifar10, root: ~/data, validation: 5000, train_samples: null}",
        "resources: {gpus_per_trial: 0.25}",
        "tracking: {enabled: false}",
        "search: {trials: 1, stopping: null}",
        "search: {trials: 1, stopping: {rule: median, reduction_factor: 4, min_epochs: 2}}",
    ],
)
def test_it_accepts_what_the_loader_accepts(text: str) -> None:
    head = re.sub(r"data: .*\n", "", HEAD) if text.startswith("data") else HEAD
    text = f"{head}{text}\n" + ("" if "search" in text else "search: {trials: 1}\n")
    parse_study(text)
    VALIDATOR.validate(read_yaml(text, "")[0])


@pytest.mark.parametrize("file", sorted(BAD.glob("*.yaml")), ids=lambda file: file.stem)
def test_it_rejects_bad_files(file: Path) -> None:
    try:
        value, _, faults = read_yaml(file.read_text(), file.name)
    except UnicodeDecodeError:
        return
    if not faults:
        assert VALIDATOR.is_valid(value) == (file.stem in BEYOND)


def test_names_are_readable_and_fields_described() -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9]+", name) for name in SCHEMA["$defs"])
    for model in (SCHEMA, *SCHEMA["$defs"].values()):
        assert model["additionalProperties"] is False
        for name, field in model["properties"].items():
            assert field.get("description"), f"{model['title']}.{name}"


def test_every_default_is_valid() -> None:
    for name, field in SCHEMA["$defs"]["NetworkSpace"]["properties"].items():
        one = {"version": 1, "study": "s", "data": {"name": "digits"}}
        VALIDATOR.validate({**one, "network": {name: field["default"]}})
