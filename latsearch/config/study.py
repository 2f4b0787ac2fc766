"""The YAML's top level: `StudyConfig` and its sections."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    field_serializer,
    model_validator,
)

from latsearch.config.checks import annotations_of, space_faults
from latsearch.config.code import function_name
from latsearch.config.custom import custom_faults
from latsearch.config.energy import DEFAULT_PROFILE, PROFILES
from latsearch.config.enqueue import enqueue_faults
from latsearch.config.events import EVENT_DATASETS, EVENT_ENCODER, EventsConfig
from latsearch.config.forms import Model, NetworkSpace, TrainSpace
from latsearch.config.locations import STORAGE_PATTERN, storage_url, without_password
from latsearch.config.names import STUDY_NAME, study_name
from latsearch.config.presets import PresetName, preset_faults
from latsearch.config.space import Space
from latsearch.config.targets import target_faults
from latsearch.config.text import plain, shown
from latsearch.objectives import (
    BEFORE_TRAINING,
    NUMERIC_COLUMNS,
    OBJECTIVES,
    ROBUST,
    TRAITS,
    Direction,
    unit,
)

if TYPE_CHECKING:  # the models themselves are made at run time
    from latsearch.config.forms import Section as NetworkSection
    from latsearch.config.forms import Section as TrainSection
else:
    NetworkSection, TrainSection = NetworkSpace, TrainSpace

DatasetName = Literal[
    "digits",
    "mnist",
    "fashion-mnist",
    "cifar10",
    "cifar100",
    "svhn",
    "tiny-imagenet",
    "image-folder",
    "numpy",
    "custom",
    "nmnist",
    "cifar10-dvs",
    "dvs-gesture",
    "shd",
    "event-folder",
]
DATASETS: tuple[str, ...] = get_args(DatasetName)
ObjectiveName = Literal["accuracy", "latency", "energy", "robust_accuracy"]
CONSTRAINED = (*NUMERIC_COLUMNS, ROBUST, *TRAITS, *BEFORE_TRAINING)
_CURVES_UP_TO = 500  # trials of a study whose sampler is chosen for it
CorruptionName = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
]

_DURATION = r"(\d+(?:\.\d+)?)\s*(s|m|h|d)"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ACCELERATOR = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_RESOURCE = r"[A-Za-z][A-Za-z0-9_.:-]{0,63}"


def version_1(raw: Any) -> Any:
    """Check a format's version.

    Raises:
        ValueError: it is not known.
    """
    if type(raw) is not int or raw != 1:
        raise ValueError(f"{shown(raw)} is not a known version of this format; write 1")
    return raw


def _duration(raw: Any) -> Any:
    if not isinstance(raw, str):
        return raw
    match = re.fullmatch(_DURATION, raw.strip())
    if not match:
        raise ValueError(f"{shown(raw)} is no duration: write it like 90s, 30m, 2h or 1d")
    return float(match[1]) * _SECONDS[match[2]]


def _fraction_or_count(value: float) -> float:
    if value < 1 or value == int(value):
        return value
    raise ValueError(
        f"{plain(value)} is neither a fraction between 0 and 1 nor a number of samples"
    )


def _folder(name: str) -> str:
    if not name or "\0" in name:
        raise ValueError(f"{shown(name)} is no folder; write null for the usual places")
    return name


def _channels(count: int) -> int:
    if count == 2:
        raise ValueError("2 channels are neither grey (1) nor RGB (3)")
    return count


def _study(name: str) -> str:
    if "\0" in name:
        raise ValueError(f"{shown(name)} is no study's folder or name")
    return name


def _listed(raw: Any) -> Any:
    return [raw] if isinstance(raw, str) else raw


def _profile(name: str) -> str:
    if name not in PROFILES:
        raise ValueError(f"{shown(name)} is not one of {', '.join(PROFILES)}")
    return name


def _resource(name: str) -> str:
    if not re.fullmatch(_RESOURCE, name) or name.upper() in ("CPU", "GPU"):
        raise ValueError(
            f"{shown(name)} is no name of a custom resource: write one that a node was started "
            "with, e.g. spot for `ray start --resources '{\"spot\": 4}'`"
        )
    return name


def _accelerator(name: str) -> str:
    if not re.fullmatch(_ACCELERATOR, name):
        raise ValueError(f"{shown(name)} is no type of GPU as Ray names them, e.g. A100 or T4")
    return name


def _whole_beyond_one(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(f"{plain(gpus)} GPUs cannot be shared; write a fraction or whole ones")
    return gpus


Duration = Annotated[
    float,
    Field(gt=0, le=1e9),
    BeforeValidator(
        _duration,
        json_schema_input_type=Annotated[float, Field(gt=0, le=1e9)]
        | Annotated[str, Field(pattern=rf"^\s*{_DURATION}\s*$")],
    ),
]


class DataConfig(Model):
    """Which data, and how they are split."""

    name: DatasetName = Field(
        description="data set; `latsearch datasets` lists what is known and present"
    )
    root: Annotated[str, AfterValidator(_folder)] | None = Field(
        default=None, description="folder that holds the data set; null: where it is usually found"
    )
    validation: Annotated[float, AfterValidator(_fraction_or_count)] = Field(
        default=0.2,
        gt=0,
        le=1e9,
        description="stratified part of the training split kept for validation: a fraction "
        "below 1, or a number of samples",
    )
    train_samples: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="use only this many training samples, stratified; null: all of them",
    )
    split_seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="seed of the validation split"
    )
    size: int | None = Field(
        default=None,
        ge=4,
        le=2048,
        description="image-folder: pixels along each axis that images are scaled to; null: as they "
        "are, which must be all the same",
    )
    channels: Annotated[int, AfterValidator(_channels)] | None = Field(
        default=None,
        ge=1,
        le=3,
        description="image-folder: 1 for grey, 3 for RGB; null: grey where all images are",
    )
    unreadable: Literal["fail", "skip"] = Field(
        default="fail",
        description="image-folder: whether unreadable files and empty class folders are an error, "
        "or are left out and counted; recordings of events: likewise damaged and empty ones",
    )
    function: Annotated[str, AfterValidator(function_name)] | None = Field(
        default=None,
        description="custom: `module:function` that returns the arrays; Python code, which runs "
        "only with --allow-code",
    )

    events: EventsConfig | None = Field(
        default=None,
        description="how recordings become frames, for event data alone; null: as usual",
    )

    @model_validator(mode="after")
    def _check_function(self) -> DataConfig:
        if self.name == "custom" and self.function is None:
            raise ValueError("custom data need a function: write function: my_module:my_function")
        if self.name != "custom" and self.function is not None:
            raise ValueError(f"a function is for name: custom, not for {self.name}")
        return self

    def faults(self) -> Iterator[tuple[str, str]]:
        """What contradicts itself, as (path, message)."""
        if self.events is None:
            return
        if self.name not in EVENT_DATASETS:
            yield "events", f"is given, but {self.name} is a data set of images; leave it out"
        elif self.name != "event-folder" and (self.events.width or self.events.height):
            yield "events", f"width and height are known of {self.name}; leave them out"


class Bound(Model):
    """The range that a row's figure must lie in, both ends included."""

    min: float | None = Field(default=None, description="smallest figure that is allowed")
    max: float | None = Field(default=None, description="largest figure that is allowed")

    @model_validator(mode="after")
    def _check(self) -> Bound:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {plain(self.min)} is above max = {plain(self.max)}")
        return self


class StoppingConfig(Model):
    """When a trial that promises little is stopped early (docs/early_stopping.md)."""

    rule: Literal["halving", "median", "none"] = Field(
        default="halving",
        description="asynchronous successive halving, the better half at each rung, or no rule",
    )
    reduction_factor: int = Field(
        default=3, ge=2, le=100, description="halving lets 1 in this many go on past a rung"
    )
    min_epochs: int = Field(
        default=4, ge=1, le=100_000, description="epochs that every trial trains: the first rung"
    )


class ScreeningConfig(Model):
    """A short training on a part of the data, by which most trials end (docs/early_stopping.md)."""

    data: float = Field(
        default=0.25, gt=0, le=1, description="part of the training samples, stratified"
    )
    epochs: int = Field(
        default=4,
        ge=1,
        le=100_000,
        description="epochs on that part, over which the learning rate takes its whole course",
    )
    reduction_factor: int = Field(
        default=3, ge=2, le=100, description="1 in this many goes on to its full training"
    )

    @property
    def cost(self) -> float:
        """Its samples in epochs of a full training."""
        return self.data * self.epochs


class SearchConfig(Model):
    """Who proposes trials, how many, and which are stopped early."""

    sampler: Literal["auto", "curves", "tpe", "random", "qmc", "nsgaii", "nsgaiii", "gp"] = Field(
        default="auto",
        description=f"who proposes trials; auto: curves up to {_CURVES_UP_TO} trials, else tpe",
    )
    trials: int = Field(default=30, ge=1, le=10**6, description="trials of the study in total")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of sampler and trainings")
    enqueue: tuple[dict[str, int | float | str | bool | None], ...] = Field(
        default=(),
        max_length=1000,
        description="configurations to try first, e.g. [{network.timesteps: 2}]; what one does "
        "not name is proposed by the sampler",
    )
    warm_start: Annotated[
        tuple[Annotated[str, Field(min_length=1), AfterValidator(_study)], ...],
        BeforeValidator(
            _listed,
            json_schema_input_type=str | list[str],
        ),
    ] = Field(
        default=(),
        strict=False,
        description="earlier studies of the same data and objectives, by folder or name, whose "
        "trials the sampler learns from",
    )
    stopping: StoppingConfig | None = Field(
        default=None, description="early stopping of trials; null: every trial trains to its end"
    )
    screening: ScreeningConfig | None = Field(
        default=None,
        description="a short training on a part of the data before each trial's own; null: none",
    )

    @property
    def stops_early(self) -> bool:
        """Whether trials may end before their full training."""
        ruled = self.stopping is not None and self.stopping.rule != "none"
        return ruled or self.screening is not None

    @property
    def screening_cost(self) -> float:
        """Samples of a trial's screening, in epochs of the full training; 0 where there is none."""
        return 0.0 if self.screening is None else self.screening.cost

    @property
    def chosen_sampler(self) -> str:
        """The sampler, where it is ``auto`` the one for this many trials (docs/search.md)."""
        if self.sampler != "auto":
            return self.sampler
        return "curves" if self.trials <= _CURVES_UP_TO else "tpe"


class ResourcesConfig(Model):
    """What one trial takes of a machine."""

    cpus_per_trial: float = Field(default=1.0, gt=0, le=10_000, description="CPU cores of a trial")
    gpus_per_trial: Annotated[float, AfterValidator(_whole_beyond_one)] = Field(
        default=0.0, ge=0, le=1000, description="GPUs of a trial; a fraction shares one"
    )
    accelerator_type: Annotated[str, AfterValidator(_accelerator)] | None = Field(
        default=None,
        json_schema_extra={"pattern": f"^{_ACCELERATOR}$"},
        description="type of a trial's GPU as Ray names it, e.g. A100; null: any",
    )
    custom: dict[
        Annotated[str, AfterValidator(_resource)], Annotated[float, Field(gt=0, le=1e6)]
    ] = Field(
        default={},
        description="what a trial takes of nodes' custom resources, e.g. {spot: 1}",
        json_schema_extra={"propertyNames": {"pattern": f"^{_RESOURCE}$"}},
    )

    def per_trial(self) -> Mapping[str, float]:
        """What a trial takes, by the names that Ray has for it; nothing of which it takes 0."""
        wanted = {"CPU": self.cpus_per_trial, "GPU": self.gpus_per_trial, **self.custom}
        if self.accelerator_type is not None:
            # Ray gives each node one of its type, to be asked for in small parts
            wanted[f"accelerator_type:{self.accelerator_type}"] = 0.001
        return {name: amount for name, amount in wanted.items() if amount > 0}


class RunConfig(Model):
    """How a search runs on; may be changed while a study goes on."""

    checkpoint_every: int = Field(
        default=5, ge=1, le=100_000, description="epochs between two checkpoints"
    )
    retries: int = Field(
        default=2, ge=0, le=100, description="times a crashed trial is tried again"
    )
    keep: int = Field(
        default=20, ge=0, le=10**6, description="trials whose weights are kept besides the front's"
    )
    timeout: Duration | None = Field(
        default=None,
        description="time without a report after which a trial's worker is taken for hung, e.g. "
        "2h; null: none",
    )
    deterministic: bool = Field(
        default=False,
        description="trainings give the same figures however many run at a time, at some cost "
        "(docs/reproducibility.md)",
    )


class EnergyConfig(Model):
    """How energy is priced, and how long a timestep takes (docs/energy.md)."""

    profile: Annotated[str, AfterValidator(_profile)] = Field(
        default=DEFAULT_PROFILE.name,
        description="prices of a network's operations",
        json_schema_extra={"enum": list(PROFILES)},
    )
    timestep_ms: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="milliseconds that the hardware takes for a timestep, to show latencies in "
        "them too; null: in timesteps alone",
    )


class TrackingConfig(Model):
    """Where MLflow keeps its copy of the study."""

    uri: str | None = Field(
        default=None,
        min_length=1,
        repr=False,
        description="MLflow tracking URI; null: MLFLOW_TRACKING_URI, or mlflow.db in the runs "
        "folder",
    )
    enabled: bool = Field(default=True, description="publish to MLflow at all")

    @field_serializer("uri")
    def _uri_shown(self, uri: str | None) -> str | None:
        """A password is never written to storage, MLflow or reports."""
        return None if uri is None else without_password(uri)


class RobustnessConfig(Model):
    """What `robust_accuracy` is measured on: validation samples under corruptions."""

    samples: int = Field(
        default=200, ge=1, le=10**6, description="validation samples under each corruption"
    )
    severity: int = Field(default=3, ge=1, le=5, description="severity, as in ImageNet-C")
    corruptions: list[CorruptionName] = Field(
        default=[], description="which corruptions; empty: all 15"
    )


class StudyConfig(Model):
    """A study: data, search space, objectives, and how to search."""

    model_config = ConfigDict(
        title="A latsearch study",
        json_schema_extra={"$schema": "https://json-schema.org/draft/2020-12/schema"},
    )

    version: Annotated[Literal[1], BeforeValidator(version_1)] = Field(
        description="version of this file's format"
    )
    study: Annotated[str, AfterValidator(study_name)] = Field(
        description="name of the study", json_schema_extra={"pattern": f"^{STUDY_NAME}$"}
    )
    preset: PresetName | None = Field(
        default=None,
        description="named settings for what `network` and `train` leave out: the paper's method, "
        "or a baseline",
    )
    data: DataConfig = Field(description="which data, and how they are split")
    network: NetworkSection = Field(default=NetworkSpace(), description="the network")
    train: TrainSection = Field(default=TrainSpace(), description="its training")
    objectives: dict[ObjectiveName, Direction] = Field(
        default={"accuracy": "maximize", "latency": "minimize", "energy": "minimize"},
        min_length=1,
        description="what the front is about; any subset",
        json_schema_extra={
            "properties": {name: {"const": known.direction} for name, known in OBJECTIVES.items()}
        },
    )
    constraints: dict[str, Bound] = Field(
        default={},
        description="bounds that a decision curve's row must keep to be on the front, and bounds "
        "of parameters, macs and energy_bound, beyond which nothing is trained",
        json_schema_extra={"propertyNames": {"enum": list(CONSTRAINED)}},
    )
    robustness: RobustnessConfig = Field(
        default=RobustnessConfig(),
        description="what robust_accuracy is measured on, where it is an objective or constrained",
    )
    search: SearchConfig = Field(default=SearchConfig(), description="how trials are proposed")
    resources: ResourcesConfig = Field(
        default=ResourcesConfig(), description="what one trial takes of a machine"
    )
    run: RunConfig = Field(default=RunConfig(), description="how the search runs on")
    energy: EnergyConfig = Field(default=EnergyConfig(), description="how energy is priced")
    storage: Annotated[str, AfterValidator(storage_url)] | None = Field(
        default=None,
        repr=False,
        description="where the study is stored: null for a journal in the runs folder, "
        "postgresql://USER@HOST/DATABASE, or sqlite:///FILE",
        json_schema_extra={"pattern": f"^{STORAGE_PATTERN}$"},
    )
    tracking: TrackingConfig = Field(
        default=TrackingConfig(), description="where MLflow keeps its copy of the study"
    )

    @field_serializer("storage")
    def _storage_shown(self, url: str | None) -> str | None:
        """A password is never written to storage, MLflow or reports."""
        return None if url is None else without_password(url)

    @cached_property
    def space(self) -> Space:
        """The flat search space."""
        return Space.of(self.network, self.train)

    @property
    def robust(self) -> RobustnessConfig | None:
        """What `robust_accuracy` is measured on; None where nobody asks for it."""
        return self.robustness if ROBUST in {*self.objectives, *self.constraints} else None

    @property
    def events(self) -> bool:
        """Whether the data are recordings of events, not images."""
        return self.data.name in EVENT_DATASETS

    def unit(self, objective: str) -> str:
        """Unit of an objective's figures in this study."""
        return unit(objective, events=self.events)

    def faults(self) -> Iterator[tuple[str, str]]:
        """What contradicts itself across sections, as (path, message)."""
        yield from ((f"data.{path}", message) for path, message in self.data.faults())
        yield from self._event_faults()
        for name, direction in self.objectives.items():
            if direction != OBJECTIVES[name].direction:
                yield (
                    f"objectives.{name}",
                    f"{direction} would search for the worst networks; "
                    f"write {OBJECTIVES[name].direction}",
                )
        for column in self.constraints:
            if column not in CONSTRAINED:
                yield (
                    f"constraints.{column}",
                    "is no column of a decision curve nor a figure of a network; known are "
                    f"{', '.join(CONSTRAINED)}",
                )
        if self.events and self.energy.timestep_ms is not None:
            yield (
                "energy.timestep_ms",
                "is given, but latencies of event data are in milliseconds already; leave it out",
            )
        if self.robust is not None and self.events:
            yield "objectives", f"{ROBUST} is measured on images, but {self.data.name} holds events"
        if self.resources.accelerator_type is not None and self.resources.gpus_per_trial == 0:
            yield (
                "resources.accelerator_type",
                f"is {self.resources.accelerator_type}, but a trial takes no GPU: set "
                "gpus_per_trial",
            )
        stages = getattr(self.network, "stages", ())
        families = self.space.domain("network.family") or ()
        if "stages" in families and not stages:
            yield "network.stages", "the family stages needs at least one stage: {channels: 32}"
        if "stages" not in families and stages:
            yield "network.stages", "is given, but network.family can never be stages"
        yield from custom_faults(self.preset, self.space)
        yield from preset_faults(self.preset, self.space)
        yield from target_faults(self.space)
        yield from space_faults(self.network, self.train, self.space)
        fields = annotations_of(self.network, self.train)
        yield from enqueue_faults(self.search.enqueue, self.space, fields)
        stopping, most = self.search.stopping, self.space.largest("train.epochs")
        if stopping is not None and stopping.rule != "none" and stopping.min_epochs >= most:
            yield (
                "search.stopping.min_epochs",
                f"{stopping.min_epochs} epochs, but no trial has more than {plain(most)}: nothing "
                "could be stopped before its end",
            )
        screening = self.search.screening
        if screening is not None and screening.cost >= most:
            yield (
                "search.screening",
                f"{screening.epochs} epochs on {plain(screening.data)} of the data cost as much as "
                f"the longest trial of {plain(most)}; give fewer epochs, or a smaller part",
            )
        if not self.space.parameters and self.search.trials > 1:
            yield (
                "search.trials",
                f"{self.search.trials} trials, but nothing is searched: give a field "
                "{low: …, high: …} or {choices: […]}, or set trials to 1",
            )

    def _event_faults(self) -> Iterator[tuple[str, str]]:
        """What does not go with recordings, or with images."""
        encoders = self.space.domain("network.encoder") or ()
        if self.events and any(encoder != EVENT_ENCODER for encoder in encoders):
            yield (
                "network.encoder",
                f"{self.data.name} has its own time, which only the encoder {EVENT_ENCODER} takes; "
                "leave it out",
            )
        if not self.events and EVENT_ENCODER in encoders:
            yield (
                "network.encoder",
                f"{EVENT_ENCODER} takes recordings of events, but {self.data.name} is a data set "
                "of images",
            )
        if not self.events and self.space.fixed.get("train.event_drop") != 0:
            yield "train.event_drop", f"{self.data.name} is a data set of images; leave it out"

    def identity(self) -> Mapping[str, Any]:
        """What may not change while a study goes on; where a machine keeps the data may."""
        return self.model_dump(
            mode="json",
            include={
                **dict.fromkeys(
                    ("data", "network", "train", "objectives", "constraints", "energy"), True
                ),
                # trials are compared by it: what of it lets them go on may change
                "search": {"screening": {"data", "epochs"}},
                **({"robustness": True} if self.robust else {}),
            },
            exclude={"data": {"root"}, "energy": {"timestep_ms"}},
        )
