"""The YAML's top level: `StudyConfig` and its sections."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from latsearch.config.energy import PROFILES
from latsearch.config.space import Model, NetworkSpace, Space, TrainSpace
from latsearch.objectives import NUMERIC_COLUMNS, OBJECTIVES, Direction

if TYPE_CHECKING:  # the models themselves are made at run time
    from latsearch.config.space import Section as NetworkSection
    from latsearch.config.space import Section as TrainSection
else:
    NetworkSection, TrainSection = NetworkSpace, TrainSpace

DATASETS = ("digits", "fashion-mnist", "cifar10", "cifar100")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def study_name(name: str) -> str:
    """Check that a study's name is a plain folder name.

    Raises:
        ValueError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no study name: use up to 64 letters, digits, '.', '_' and '-', "
            "starting with a letter or digit"
        )
    return name


def _duration(raw: Any) -> Any:
    if not isinstance(raw, str):
        return raw
    match = _DURATION.fullmatch(raw.strip())
    if not match:
        raise ValueError(f"{raw!r} is no duration: write it like 90s, 30m, 2h or 1d")
    return float(match[1]) * _SECONDS[match[2]]


def _fraction_or_count(value: float) -> float:
    if 0 < value < 1 or (value >= 1 and value == int(value)):
        return value
    raise ValueError(f"{value:g} is neither a fraction between 0 and 1 nor a number of samples")


def _profile(name: str) -> str:
    if name not in PROFILES:
        raise ValueError(f"{name!r} is not one of {', '.join(PROFILES)}")
    return name


Duration = Annotated[float, BeforeValidator(_duration), Field(gt=0)]


class DataConfig(Model):
    """Which data, and how they are split."""

    name: Literal["digits", "fashion-mnist", "cifar10", "cifar100"] = Field(
        description="data set; `latsearch datasets` lists what is known and present"
    )
    root: str | None = Field(
        default=None, description="folder that holds the data set; null: where it is usually found"
    )
    validation: Annotated[float, AfterValidator(_fraction_or_count)] = Field(
        default=0.2,
        description="stratified part of the training split kept for validation: a fraction "
        "below 1, or a number of samples",
    )
    train_samples: int | None = Field(
        default=None,
        ge=1,
        description="use only this many training samples, stratified; null: all of them",
    )
    split_seed: int = Field(default=0, ge=0, description="seed of the validation split")


class Bound(Model):
    """The range that a row's figure must lie in, both ends included."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Bound:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min:g} is above max = {self.max:g}")
        return self


class SearchConfig(Model):
    """Who proposes trials, and how many."""

    sampler: Literal["tpe", "random"] = Field(default="tpe", description="who proposes trials")
    trials: int = Field(default=30, ge=1, description="trials of the study in total")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of sampler and trainings")


class ResourcesConfig(Model):
    """What one trial takes of a machine."""

    cpus_per_trial: float = Field(default=1.0, gt=0, description="CPU cores of a trial")
    gpus_per_trial: float = Field(
        default=0.0, ge=0, description="GPUs of a trial; a fraction shares one"
    )


class RunConfig(Model):
    """How a search runs on; may be changed while a study goes on."""

    checkpoint_every: int = Field(default=5, ge=1, description="epochs between two checkpoints")
    retries: int = Field(default=2, ge=0, description="times a crashed trial is tried again")
    keep: int = Field(
        default=20, ge=0, description="trials whose weights are kept besides the front's"
    )
    timeout: Duration | None = Field(
        default=None, description="wall time after which the search pauses, e.g. 2h; null: none"
    )


class EnergyConfig(Model):
    """How energy is priced."""

    profile: Annotated[str, AfterValidator(_profile)] = Field(
        default="horowitz-45nm-fp32", json_schema_extra={"enum": list(PROFILES)}
    )


class TrackingConfig(Model):
    """Where MLflow keeps its copy of the study."""

    uri: str | None = Field(
        default=None, description="MLflow tracking URI; null: mlflow.db in the runs folder"
    )
    enabled: bool = Field(default=True, description="publish to MLflow at all")


ObjectiveName = Literal["accuracy", "latency", "energy"]


class StudyConfig(Model):
    """A study: data, search space, objectives, and how to search."""

    version: Literal[1] = Field(description="version of this file's format")
    study: Annotated[str, AfterValidator(study_name)] = Field(description="name of the study")
    data: DataConfig
    network: NetworkSection = Field(default=NetworkSpace(), description="the network")
    train: TrainSection = Field(default=TrainSpace(), description="its training")
    objectives: dict[ObjectiveName, Direction] = Field(
        default={"accuracy": "maximize", "latency": "minimize", "energy": "minimize"},
        min_length=1,
        description="what the front is about; any subset",
    )
    constraints: dict[str, Bound] = Field(
        default={}, description="bounds that a decision curve's row must keep to be on the front"
    )
    search: SearchConfig = SearchConfig()
    resources: ResourcesConfig = ResourcesConfig()
    run: RunConfig = RunConfig()
    energy: EnergyConfig = EnergyConfig()
    storage: str | None = Field(
        default=None,
        pattern=r"^sqlite:///.+",
        description="where the study is stored: null for a journal in the runs folder, or "
        "sqlite:///FILE",
    )
    tracking: TrackingConfig = TrackingConfig()

    @cached_property
    def space(self) -> Space:
        """The flat search space."""
        return Space.of(self.network, self.train)

    def faults(self) -> Iterator[tuple[str, str]]:
        """What contradicts itself across sections, as (path, message)."""
        for name, direction in self.objectives.items():
            if direction != OBJECTIVES[name].direction:
                yield (
                    f"objectives.{name}",
                    f"{direction!r} would search for the worst networks; "
                    f"write {OBJECTIVES[name].direction}",
                )
        for column in self.constraints:
            if column not in NUMERIC_COLUMNS:
                yield (
                    f"constraints.{column}",
                    f"is no column of a decision curve; known are {', '.join(NUMERIC_COLUMNS)}",
                )
        stages = getattr(self.network, "stages", ())
        families = self.space.domain("network.family") or ()
        if "stages" in families and not stages:
            yield "network.stages", "the family stages needs at least one stage: {channels: 32}"
        if "stages" not in families and stages:
            yield "network.stages", "is given, but network.family can never be stages"
        if not self.space.parameters and self.search.trials > 1:
            yield (
                "search.trials",
                f"{self.search.trials} trials, but nothing is searched: give a field "
                "{low: …, high: …} or {choices: […]}, or set trials to 1",
            )

    def identity(self) -> Mapping[str, Any]:
        """What may not change while a study goes on."""
        return self.model_dump(
            mode="json",
            include={"data", "network", "train", "objectives", "constraints", "energy"},
        )
