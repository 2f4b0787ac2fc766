"""What one trial is made of: `NetworkConfig` and `TrainConfig`, plain values, nothing to search.

These dataclasses are the only place where a field, its type, its bounds, its default and its
meaning are written; the search-space models of the YAML are derived from them (`space.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticKnownError

from latsearch.config.code import function_name

Value = int | float | str | bool | None

Family = Literal[
    "mlp",
    "lenet",
    "vgg11",
    "vgg16",
    "resnet18",
    "resnet19",
    "sew_resnet18",
    "stages",
    "custom",
]
CUSTOM = "custom"
"""The family of networks that are the user's own code."""

Downsampling = Literal["max", "sum", "stride", "none"]


def _integer(raw: Any) -> Any:
    """Refuse true and 1.0, which are equal to 1 and would pass as one of a Literal's numbers."""
    if isinstance(raw, bool | float):
        raise PydanticKnownError("int_type")
    return raw


Kernel = Annotated[Literal[1, 3, 5, 7], BeforeValidator(_integer)]

_CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)


class AppliesWhere:
    """Marks a field that is used only where other fields of its section have certain values."""

    def __init__(self, **conditions: tuple[Any, ...]):
        self.conditions = conditions


def _doc(text: str, **bounds: Any) -> Any:
    return Field(description=text, **bounds)


class Options(dict[str, Value]):
    """What a network of the user's own is told beside the other fields; not to be changed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


_CUSTOM_ONLY = AppliesWhere(family=(CUSTOM,))
_STAGES_ONLY = AppliesWhere(family=("stages",))
_SPIKING_ONLY = AppliesWhere(neuron=("if", "lif"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """One stage of the free family ``stages``: blocks of equal width, downsampled at its end."""

    __pydantic_config__ = _CHECKED

    channels: Annotated[int, _doc("channels of the stage", ge=1, le=4096)] = 32
    blocks: Annotated[int, _doc("convolution + neuron blocks in the stage", ge=1, le=16)] = 1
    kernel: Annotated[Kernel, _doc("width of the convolution kernel")] = 3
    downsampling: Annotated[
        Downsampling,
        _doc("how the stage halves the map: pooling after it, or a strided first block"),
    ] = "sum"
    block: Annotated[
        Literal["plain", "residual"],
        _doc("a block: one convolution, or two with a shortcut around them"),
    ] = "plain"
    neuron: Annotated[
        Literal["network", "if", "lif"], _doc("the stage's neuron model; network: as all others")
    ] = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """A latency-coded spiking network (docs/method.md has the formulas).

    Every field may be given as a value or searched in the YAML.
    """

    __pydantic_config__ = _CHECKED

    family: Annotated[
        Family, _doc("architecture family; custom: the user's own code, see `function`")
    ] = "lenet"
    function: Annotated[
        Annotated[str, AfterValidator(function_name)] | None,
        _doc(
            "custom: `module:function` that makes the network; Python code, which runs only with "
            "--allow-code"
        ),
        _CUSTOM_ONLY,
    ] = None
    options: Annotated[
        Annotated[dict[str, Value], AfterValidator(Options)],
        _doc("custom: what the function finds in `config.options`, each fixed or searched"),
    ] = Options()  # noqa: RUF009  (nobody changes it)
    target: Annotated[
        Literal["any", "nir"],
        _doc("what the network is for; nir: nothing that NIR cannot say, checked before training"),
    ] = "any"
    timesteps: Annotated[int, _doc("T, timesteps of an inference", ge=1, le=64)] = 4
    encoder: Annotated[
        Literal["latency", "rate", "direct", "analog", "frames"],
        _doc("how images become spikes; `frames` takes event frames, `analog` sends real values"),
    ] = "latency"
    encoder_map: Annotated[
        Literal["linear", "log"],
        _doc("levels of the latency code: evenly spaced, or halved with every timestep"),
        AppliesWhere(encoder=("latency",)),
    ] = "linear"
    encoder_surrogate_width: Annotated[
        float,
        _doc("width w of the encoder's straight-through kernel", gt=0, le=100),
        AppliesWhere(encoder=("latency",)),
    ] = 1.0
    stem_channels: Annotated[
        int | None, _doc("feature channels of the encoder; null: as `width`", ge=1, le=4096)
    ] = None
    stem_kernel: Annotated[Kernel, _doc("kernel of the encoder's convolution")] = 3
    stem_stride: Annotated[int, _doc("stride of the encoder's convolution", ge=1, le=4)] = 1
    width: Annotated[
        int,
        _doc("channels of the first layer; deeper layers multiply it", ge=1, le=1024),
        AppliesWhere(
            family=("mlp", "lenet", "vgg11", "vgg16", "resnet18", "resnet19", "sew_resnet18")
        ),
    ] = 16
    hidden: Annotated[
        int,
        _doc("neurons of a hidden dense layer", ge=1, le=65536),
        AppliesWhere(family=("mlp", "lenet")),
    ] = 128
    hidden_layers: Annotated[
        int, _doc("hidden dense layers", ge=1, le=32), AppliesWhere(family=("mlp",))
    ] = 1
    downsampling: Annotated[
        Literal["max", "sum", "stride"],
        _doc("max or sum pooling of the spikes, or strided convolutions"),
        AppliesWhere(family=("lenet", "vgg11", "vgg16")),
    ] = "sum"
    depth: Annotated[
        int | None, _doc("use the first `depth` stages; null: all of them", ge=1), _STAGES_ONLY
    ] = None
    stages: Annotated[
        tuple[StageConfig, ...], _doc("the stages of the family `stages`", max_length=16)
    ] = ()
    neuron: Annotated[
        Literal["if", "lif", "relu", "sign"],
        _doc(
            "hidden units; `relu` and `sign` make an ordinary network, which runs in one timestep"
        ),
    ] = "if"
    tau_mem: Annotated[
        float,
        _doc("membrane time constant in timesteps; leak factor 1 - 1/tau_mem", ge=1, le=1e6),
        AppliesWhere(neuron=("lif",)),
    ] = 2.0
    learn_tau_mem: Annotated[
        bool,
        _doc("learn the leak factor, one a layer, from tau_mem on"),
        AppliesWhere(neuron=("lif",)),
    ] = False
    firing_threshold: Annotated[
        float,
        _doc("membrane potential above which a hidden neuron spikes", gt=0, le=1e6),
        _SPIKING_ONLY,
    ] = 1.0
    reset: Annotated[
        Literal["hard", "soft"], _doc("reset to zero, or by subtraction"), _SPIKING_ONLY
    ] = "hard"
    spiking: Annotated[
        Literal["relaxed", "strict"],
        _doc("hidden neurons may spike repeatedly, or once"),
        _SPIKING_ONLY,
    ] = "relaxed"
    synapse: Annotated[
        Literal["delta", "step", "exp"],
        _doc("kernel of the synaptic current after a spike"),
        _SPIKING_ONLY,
    ] = "step"
    tau_syn: Annotated[
        float,
        _doc("time constant in timesteps of the `exp` synapse", ge=1, le=1e6),
        AppliesWhere(synapse=("exp",)),
    ] = 2.0
    surrogate: Annotated[
        Literal["triangle", "rectangle", "sigmoid", "arctan"],
        _doc("surrogate derivative of the spike"),
        _SPIKING_ONLY,
    ] = "triangle"
    surrogate_width: Annotated[
        float,
        _doc("width of the surrogate relative to the firing threshold", gt=0, le=100),
        _SPIKING_ONLY,
    ] = 2.0
    output_tau_mem: Annotated[
        float | None,
        _doc("time constant in timesteps of the output potentials; null: no leak", ge=1, le=1e6),
    ] = None
    norm: Annotated[
        Literal["pooled", "timestep"],
        _doc("batch normalisation over all timesteps together, or of each timestep by itself"),
    ] = "pooled"
    output_centred: Annotated[
        bool, _doc("centre the output's weights over the classes, so that potentials sum to zero")
    ] = True
    decision: Annotated[
        Literal["first_spike", "margin", "entropy", "max_softmax"],
        _doc(
            "what must exceed the decision threshold: the largest potential, its lead over the "
            "second, one minus the normalised entropy, or the largest softmax"
        ),
    ] = "first_spike"
    output_bias: Annotated[bool, _doc("a bias in the output layer, added every timestep")] = False
    delay: Annotated[
        Literal["none", "layer"],
        _doc(
            "timesteps that a layer takes to pass spikes on: none, or one as on pipelined hardware"
        ),
    ] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How a network is trained with backpropagation through time.

    Every field may be given as a value or searched in the YAML.
    """

    __pydantic_config__ = _CHECKED

    epochs: Annotated[int, _doc("passes over the training split", ge=1, le=100_000)] = 20
    batch_size: Annotated[int, _doc("samples of a training step", ge=1, le=1_000_000)] = 128
    optimizer: Annotated[Literal["adamw", "sgd"], _doc("optimiser")] = "adamw"
    lr: Annotated[float, _doc("peak learning rate, decayed along a cosine", gt=0, le=100)] = 5e-3
    momentum: Annotated[
        float, _doc("Nesterov momentum", ge=0, lt=1), AppliesWhere(optimizer=("sgd",))
    ] = 0.9
    weight_decay: Annotated[float, _doc("weight decay", ge=0, le=10)] = 1e-4
    warmup_epochs: Annotated[
        float, _doc("epochs over which the learning rate rises to its peak", ge=0, le=1000)
    ] = 0.5
    loss: Annotated[
        Literal["tad", "tet", "tet_step", "last"],
        _doc(
            "temporal adaptive decision; the plain mean over time of the potentials' "
            "cross-entropies, or of those of each timestep's own output; cross-entropy at T alone"
        ),
    ] = "tad"
    temperature: Annotated[
        float,
        _doc("temperature of TAD's confidence weights over time", gt=0, le=1e6),
        AppliesWhere(loss=("tad",)),
    ] = 1.0
    tad_weighting: Annotated[
        Literal["log", "inverse"],
        _doc("confidence in TAD's softmax over time: -log(H), or 1/H, H the normalised entropy"),
        AppliesWhere(loss=("tad",)),
    ] = "log"
    tad_gradient: Annotated[
        bool, _doc("let gradients flow through TAD's weights too"), AppliesWhere(loss=("tad",))
    ] = False
    logits: Annotated[
        Literal["potential", "mean"], _doc("logits of timestep t: V[t], or V[t] / t")
    ] = "potential"
    anchor: Annotated[
        float,
        _doc("weight of a term that ties potentials to `anchor_threshold`", ge=0, le=1000),
    ] = 0.0
    anchor_threshold: Annotated[float, _doc("decision threshold of the anchor", gt=0, le=1e6)] = 1.0
    relu_epochs: Annotated[
        int,
        _doc("epochs as a ReLU network of the same weights before the first one", ge=0, le=100_000),
    ] = 0
    recompute: Annotated[
        bool, _doc("compute activations again in the backward pass: less memory, more time")
    ] = False
    label_smoothing: Annotated[float, _doc("label smoothing", ge=0, lt=1)] = 0.0
    lambda_spike: Annotated[
        float, _doc("weight of the mean hidden firing rate in the loss", ge=0, le=1000)
    ] = 0.0
    clip_grad_norm: Annotated[
        float | None, _doc("largest gradient norm; null: not clipped", gt=0)
    ] = None
    crop_padding: Annotated[
        int, _doc("pixels by which training images are shifted at random", ge=0, le=64)
    ] = 0
    horizontal_flip: Annotated[bool, _doc("mirror training images at random")] = False
    cutout: Annotated[
        int, _doc("side in pixels of a square of each training image that is hidden", ge=0, le=1024)
    ] = 0
    auto_augment: Annotated[
        Literal["none", "autoaugment", "randaugment", "trivialaugment"],
        _doc("policy of torchvision's by which training images are changed"),
    ] = "none"
    event_drop: Annotated[
        float,
        _doc("share of the events of a training recording that are lost at random", ge=0, lt=1),
    ] = 0.0
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        _doc("auto: bf16 autocast where the device is faster with it"),
    ] = "auto"
    compile: Annotated[
        Literal["auto", "always", "never"],
        _doc("fused neuron kernels; auto: where the training is long enough to pay for them"),
    ] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialConfig:
    """Everything that is particular to one training."""

    __pydantic_config__ = _CHECKED

    network: NetworkConfig
    train: TrainConfig

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrialConfig:
        """The configuration that `to_json` wrote, checked again.

        Raises:
            pydantic.ValidationError: a field is unknown or out of its bounds.
        """
        return _adapter().validate_python(data)


@cache
def _adapter() -> TypeAdapter[TrialConfig]:
    """The checker of whole configurations; it takes milliseconds to build."""
    return TypeAdapter(TrialConfig)


@cache
def field_types(config: type) -> Mapping[str, Any]:
    """Name → annotation of a configuration's fields, with their markers; slow without a cache."""
    return get_type_hints(config, include_extras=True)
