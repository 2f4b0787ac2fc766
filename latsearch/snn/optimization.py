"""What a training step needs beside the network: randomness, optimiser, schedule, precision."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from latsearch.config.trial import NetworkConfig, TrainConfig
from latsearch.snn.hooks import Watching
from latsearch.snn.layers import Identity, TimestepNorm
from latsearch.snn.networks import LatencyNetwork, Network, build_any
from latsearch.snn.neurons import initial_gain

# Neuron updates of a whole training above which compiling the neuron kernels pays: it takes 10 to
# 20 s, twice that where settings vary, and saves 1 to 2.5 ns an update (benchmarks/neuron.py).
COMPILE_PAYS_ABOVE = 2e10


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The random numbers of one epoch, whatever was drawn before it."""
    state = np.random.SeedSequence([seed, epoch]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


def seeded_network(
    config: NetworkConfig, input_shape: tuple[int, int, int], classes: int, seed: int
) -> Network:
    """A network with weights drawn from `seed`, the global generator left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build_any(config, input_shape, classes)


@contextlib.contextmanager
def seeded_noise(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Torch's global generators at numbers of this epoch alone, afterwards as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(epoch_generator(seed, epoch).initial_seed() ^ 1)
        yield


def transfer_weights(ordinary: LatencyNetwork, spiking: LatencyNetwork) -> None:
    """Start a spiking network from a ReLU network of the same shape.

    Synapses and the statistics of the normalisations are copied, its affines scaled to the firing
    threshold; the encoder's code, and a learned leak, stay as they are.
    """
    gain = initial_gain(spiking.config)
    with torch.no_grad():
        spiking.encoder.conv.load_state_dict(ordinary.encoder.conv.state_dict())
        spiking.encoder.norm.load_state_dict(ordinary.encoder.norm.state_dict())
        spiking.output.synapse.load_state_dict(ordinary.output.synapse.state_dict())
        for source, target in zip(ordinary.projections(), spiking.projections(), strict=True):
            if isinstance(source, Identity) or isinstance(target, Identity):
                continue
            target.synapse.load_state_dict(source.synapse.state_dict())
            norms = target.norm.norms if isinstance(target.norm, TimestepNorm) else [target.norm]
            for norm in norms:
                norm.load_state_dict(source.norm.state_dict())
                for parameter in norm.parameters():
                    parameter.mul_(gain)


def build_optimizer(network: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum; no weight decay on scalars of channels."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": train.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if train.optimizer == "sgd":
        nesterov = train.momentum > 0
        return torch.optim.SGD(
            groups, lr=train.lr, momentum=train.momentum, nesterov=nesterov, fused=True
        )
    return torch.optim.AdamW(groups, lr=train.lr, fused=True)


def learning_rate(train: TrainConfig, step: int, steps_an_epoch: int) -> float:
    """Learning rate of a training step: linear warm-up, then a cosine down to zero."""
    warmup = train.warmup_epochs * steps_an_epoch
    if step + 1 < warmup:
        return train.lr * (step + 1) / warmup
    total = train.epochs * steps_an_epoch
    progress = (step - warmup) / max(1.0, total - warmup)
    return train.lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, progress))))


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """The lower precision to compute in; None for float32."""
    if precision == "fp32":
        return None
    if precision == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else None
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if device.type == "cpu" and fast else None


def compile_kernels(train: TrainConfig, network: Network, samples: int) -> bool:
    """Whether to use compiled neuron kernels; an estimate, never a measurement."""
    if train.compile != "auto":
        return train.compile == "always"
    updates = network.hidden_neurons() * network.timesteps * samples * train.epochs
    return updates > COMPILE_PAYS_ABOVE


class SpikeRate(Watching):
    """The mean firing rate of the hidden neurons in a forward pass, with its gradient.

    Args:
        network: the network to watch while this is entered.
        enabled: whether to watch at all.
    """

    def __init__(self, network: Network, *, enabled: bool):
        self._neurons = [unit for unit, _ in network.hidden_layers()] if enabled else []
        self._sums: list[Tensor] = []
        self._count = 0

    def _attach(self) -> list[RemovableHandle]:
        return [neuron.register_forward_hook(self._add) for neuron in self._neurons]

    def _add(self, module: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
        self._sums.append(spikes.sum(dtype=torch.float32))
        self._count += spikes.numel()

    def mean(self) -> Tensor:
        """Spikes a neuron and timestep, a scalar; zero without hidden layers."""
        return torch.stack(self._sums).sum() / self._count if self._sums else torch.zeros(())
