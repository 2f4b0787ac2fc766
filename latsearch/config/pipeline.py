"""The YAML of a pipeline: a search space, and a section of settings for each stage after it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError

from latsearch.config.checks import meant, possible
from latsearch.config.forms import Model
from latsearch.config.loading import (
    checked_study,
    first_of_each_path,
    located,
    read_mapping,
    read_text,
)
from latsearch.config.names import model_name, study_name
from latsearch.config.presets import PRESETS
from latsearch.config.schema import shorten
from latsearch.config.strict_yaml import read_yaml
from latsearch.config.study import Bound, CorruptionName, StudyConfig, version_1
from latsearch.config.text import shown
from latsearch.config.trial import NetworkConfig, TrainConfig, field_types
from latsearch.config.wording import explain
from latsearch.errors import ConfigError, Fault
from latsearch.objectives import NUMERIC_COLUMNS, ROBUST

Variant = dict[str, int | float | str | bool | None]

# what a network's validation curve and the robustness stage know of an operating point
SELECTABLE = tuple(name for name in NUMERIC_COLUMNS if name != "decision_threshold")
RuleName = Literal["knee", "most-accurate", "fastest", "least-energy"]
FormatName = Literal["safetensors", "nir", "onnx", "torch-export"]


def _one_or_more(raw: Any) -> Any:
    return raw if isinstance(raw, list) else [raw]


class SearchStage(Model):
    """Where the networks come from."""

    space: Annotated[
        tuple[str | dict[str, Any], ...],
        BeforeValidator(
            _one_or_more,
            json_schema_input_type=str | dict[str, Any] | list[str | dict[str, Any]],
        ),
    ] = Field(
        strict=False,
        min_length=1,
        max_length=16,
        description="search space: a file (relative to this one), the name of a bundled one, or "
        "the study itself; of a list the first whose data are present",
    )
    trials: int | None = Field(
        default=None, ge=1, le=10**6, description="trials in total; null: as in the space"
    )
    seed: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="seed; null: as in the space"
    )


class RefitStage(Model):
    """Members of the front, trained anew to their full budget with several seeds."""

    members: int = Field(
        default=6, ge=1, le=1000, description="networks of the front, those that matter most to it"
    )
    seeds: int = Field(default=3, ge=1, le=100, description="trainings of each")
    points: int = Field(
        default=3, ge=1, le=64, description="operating points of each that are measured on"
    )
    epochs: int | None = Field(
        default=None, ge=1, le=100_000, description="epochs of a training; null: as in the search"
    )
    variants: dict[Annotated[str, AfterValidator(study_name)], Variant] = Field(
        default={},
        description="ablations: the network at the front's knee with other values of some fields, "
        "e.g. {rate: {network.encoder: rate}}, or of a preset, {rate: {preset: rate}}",
    )


class RobustnessStage(Model):
    """Accuracy, decision time and energy under corruptions."""

    split: Literal["validation", "test"] = Field(
        default="test",
        description="which samples are corrupted; only on validation may select use the figures",
    )
    samples: int | None = Field(
        default=1000, ge=1, le=10**7, description="samples, stratified; null: all"
    )
    corruptions: list[CorruptionName] = Field(
        default=[], description="which corruptions; empty: all 15"
    )
    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field(
        default=[1, 2, 3, 4, 5], min_length=1, max_length=5, description="1 to 5"
    )
    drawn: bool = Field(
        default=False,
        description="draw corruptions even where CIFAR-10-C or CIFAR-100-C is present",
    )


class SelectStage(Model):
    """Which operating points are delivered, chosen on validation alone."""

    rules: list[RuleName] = Field(
        default=["knee", "most-accurate", "fastest", "least-energy"],
        min_length=1,
        description="each chooses one point",
    )
    constraints: dict[str, Bound] = Field(
        default={},
        description="bounds that a point's mean over the seeds must keep",
        json_schema_extra={"propertyNames": {"enum": [*SELECTABLE, ROBUST]}},
    )


class ExportStage(Model):
    """The selected networks in formats that others read, each proven equal."""

    formats: list[FormatName] = Field(
        default=["safetensors", "nir"], min_length=1, description="what is written"
    )
    samples: int = Field(
        default=100, ge=1, le=10**6, description="validation samples that the proof compares"
    )


class RegisterStage(Model):
    """The selected networks in MLflow's model registry, under their rules' names as aliases."""

    name: Annotated[str, AfterValidator(model_name)] | None = Field(
        default=None, description="name of the registered model; null: the study's"
    )
    uri: str | None = Field(
        default=None, min_length=1, description="MLflow tracking URI; null: the study's"
    )


class ReportStage(Model):
    """Tables and pictures of all stages."""

    published: bool = Field(
        default=True, description="put published figures for the data set beside ours"
    )


class PipelineConfig(Model):
    """A pipeline: from a search space to exported, registered networks."""

    model_config = ConfigDict(
        title="A latsearch pipeline",
        json_schema_extra={"$schema": "https://json-schema.org/draft/2020-12/schema"},
    )

    version: Annotated[Literal[1], BeforeValidator(version_1)] = Field(
        description="version of this file's format"
    )
    pipeline: Annotated[str, AfterValidator(study_name)] = Field(
        description="name of the pipeline, and of its study where the space is a list"
    )
    search: SearchStage = Field(description="where the networks come from")
    refit: RefitStage = Field(default=RefitStage(), description="retraining of front members")
    robustness: RobustnessStage | None = Field(
        default=None, description="corruptions; null: not measured"
    )
    select: SelectStage = Field(default=SelectStage(), description="what is delivered")
    export: ExportStage | None = Field(default=None, description="null: nothing is exported")
    register_: RegisterStage | None = Field(
        default=None, alias="register", description="null: nothing is registered"
    )
    report: ReportStage = Field(default=ReportStage(), description="tables and pictures")

    def faults(self) -> Iterator[tuple[str, str]]:
        """What contradicts itself across sections, as (path, message)."""
        robust = self.robustness is not None and self.robustness.split == "validation"
        for column in self.select.constraints:
            if column not in (*SELECTABLE, ROBUST):
                yield (
                    f"select.constraints.{column}",
                    f"is no column of an operating point; known are "
                    f"{', '.join((*SELECTABLE, ROBUST))}",
                )
            if column == ROBUST and not robust:
                yield (
                    f"select.constraints.{column}",
                    "needs the section robustness with split: validation; nothing is selected on "
                    "test samples",
                )
        for name, values in self.refit.variants.items():
            yield from variant_faults(f"refit.variants.{name}", values)


def variant_values(variant: Variant) -> Mapping[str, Any]:
    """A variant's values by the fields' dotted names, its preset's among them."""
    own = {name: value for name, value in variant.items() if name != "preset"}
    return {**PRESETS.get(str(variant.get("preset")), {}), **own}


def variant_faults(path: str, variant: Variant) -> Iterator[tuple[str, str]]:
    """What is wrong with a variant, as (path, message)."""
    if not variant:
        yield path, "is empty: give at least one field, e.g. {network.encoder: rate}"
    if "preset" in variant and variant["preset"] not in PRESETS:
        yield f"{path}.preset", f"{shown(variant['preset'])} is not one of {', '.join(PRESETS)}"
    known = _fields()
    for name, value in variant.items():
        if name == "preset":
            continue
        if name not in known:
            yield f"{path}.{name}", f"is not a field of the study{meant(name, known)}"
        elif not possible(value, known[name]):
            yield f"{path}.{name}", f"{shown(value)} is no value that {name} can have"


def _fields() -> dict[str, Any]:
    """Dotted name → annotation of everything that a variant may change."""
    sections = (("network", NetworkConfig), ("train", TrainConfig))
    return {
        f"{section}.{name}": annotation
        for section, config in sections
        for name, annotation in field_types(config).items()
        if name not in ("stages", "options", "__pydantic_config__")
    }


def load_pipeline(file: str | Path) -> PipelineConfig:
    """Read and check a pipeline's YAML file.

    Raises:
        ConfigError: with every fault of the file.
    """
    return parse_pipeline(read_text(file), str(file))


def is_pipeline(file: str | Path) -> bool:
    """Whether a configuration file describes a pipeline, not a study.

    Raises:
        ConfigError: there is no such file.
    """
    data, _, _ = read_yaml(read_text(file), str(file))
    return isinstance(data, dict) and "pipeline" in data


def parse_pipeline(text: str, file: str = "<pipeline>") -> PipelineConfig:
    """Check a pipeline's YAML text; ``file`` is the name used in faults.

    Raises:
        ConfigError: with every fault of the text.
    """
    data, lines, faults = read_mapping(text, file)
    if "data" in data and "pipeline" not in data:
        what = (
            "is a search space, not a pipeline: `latsearch run` searches it; a pipeline has it "
            "under search.space"
        )
        raise ConfigError([Fault(file, "", what)])
    found: list[tuple[str, str]] = []
    pipeline: PipelineConfig | None = None
    try:
        pipeline = PipelineConfig.model_validate_json(json.dumps(data))
        found = [] if faults else list(pipeline.faults())
    except ValidationError as error:
        found = [explain(details, PipelineConfig) for details in error.errors()]
    found += _inline_faults(data, contradictions=not faults)
    faults += [located(file, path, message, lines) for path, message in found]
    if faults or pipeline is None:
        raise ConfigError(first_of_each_path(faults))
    return pipeline


def _inline_faults(data: Mapping[str, Any], *, contradictions: bool) -> Iterator[tuple[str, str]]:
    """Faults of studies that stand in the pipeline's file."""
    search = data.get("search")
    given = search.get("space") if isinstance(search, dict) else None
    for index, one in enumerate(given if isinstance(given, list) else [given]):
        if isinstance(one, dict):
            path = f"search.space.{index}" if isinstance(given, list) else "search.space"
            _, found = checked_study(one, contradictions=contradictions)
            yield from ((f"{path}.{inner}", message) for inner, message in found)


def inline_study(data: Mapping[str, Any]) -> StudyConfig:
    """The study that stands in a pipeline's file, which was checked."""
    study, _ = checked_study(data)
    assert study is not None
    return study


def pipeline_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of pipeline files."""
    schema = PipelineConfig.model_json_schema()
    shorten(schema)
    return schema
