"""Measuring trained networks: decision curves on a split, and networks loaded from checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latsearch.config.energy import DEFAULT_PROFILE, EnergyProfile
from latsearch.data.splits import Samples
from latsearch.objectives import DecisionCurve
from latsearch.snn.checkpoint import CheckpointError, CheckpointInfo, load_weights, read_info
from latsearch.snn.custom import CustomNetwork
from latsearch.snn.decoding import Decision, decide, decision_curve, decision_times, joined
from latsearch.snn.diagnostics import NeuronActivity, blank_firing_rate
from latsearch.snn.energy import energy_meter
from latsearch.snn.images import Normalization, as_tensor
from latsearch.snn.integer import quantised
from latsearch.snn.networks import LatencyNetwork, Network, build_any, own
from latsearch.snn.operations import EnergyReport
from latsearch.snn.pipeline import delay_of
from latsearch.snn.runtime import EarlyExit
from latsearch.snn.store import SampleStore

# a spike needs a positive potential: the lowest decision threshold of our networks
MINIMUM_THRESHOLD = 0.0

_ELEMENTS_A_BATCH = {"cpu": 2**22, "cuda": 2**27}


def batch_size(network: Network, device: torch.device) -> int:
    """Samples of an evaluation batch: as many as keep the largest layer's activations moderate."""
    largest = network.largest_layer()
    elements = _ELEMENTS_A_BATCH.get(device.type, 2**24)
    return max(16, min(4096, elements // (largest * network.timesteps)))


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a network did on a set of samples.

    Attributes:
        potentials: ``[T, N, K]`` float32 output potentials, on the CPU.
        energy: energy of the inferences.
        rule: what decides.
        delay: timesteps by which the hardware delays every decision.
        activity: fractions of hidden neurons and their firing on a blank input, by name.
    """

    potentials: Tensor
    energy: EnergyReport
    rule: str
    delay: int = 0
    activity: Mapping[str, float] = field(default_factory=dict)

    def curve(
        self,
        labels: NDArray[np.int64],
        bin_ends: NDArray[np.float32] | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> DecisionCurve:
        """The decision curve for the labels ``[N]``, and the bins' ends ``[N, T]`` of events.

        It has a row for each of the thresholds, where they are given.
        """
        curve = decision_curve(
            self.potentials,
            labels,
            self.energy.cumulative(),
            bin_ends=bin_ends,
            minimum_threshold=MINIMUM_THRESHOLD,
            rule=self.rule,
            delay=self.delay,
            thresholds=thresholds,
        )
        return replace(curve, traits={"firing_rate": self.energy.firing_rate, **self.activity})

    def decision_times(self, curve: DecisionCurve) -> tuple[tuple[int, ...], ...]:
        """Samples that decide at each timestep, for each row of the curve."""
        found = decision_times(self.potentials, curve.decision_threshold, self.rule)
        return tuple(map(tuple, found.tolist()))

    def decided(self, decision_threshold: float) -> tuple[Decision, NDArray[np.float64]]:
        """The decisions at a threshold, and each one's energy in nJ, ``[N]``."""
        decision = decide(self.potentials, decision_threshold, self.rule)
        energy = self.energy.cumulative().cpu().numpy()
        return decision, energy[decision.decision_time - 1, np.arange(energy.shape[1])]

    def times(self, samples: Samples, decision: Decision) -> NDArray[np.float64]:
        """Decision times ``[N]`` in timesteps, of recordings in ms, the hardware's delay included.

        Args:
            samples: what was measured.
            decision: the decisions on it.
        """
        first = samples.times(np.ones_like(decision.decision_time))
        return (samples.times(decision.decision_time) + self.delay * first).astype(np.float64)

    def diagnostics(self) -> dict[str, float]:
        """Firing rates, silent and saturated neurons, operations and energy shares, by name."""
        encoder, *hidden = self.energy.firing_rates
        figures = {"firing_rate": self.energy.firing_rate, "firing_rate_encoder": encoder}
        figures |= {f"firing_rate_layer{i}": rate for i, rate in enumerate(hidden, start=1)}
        figures |= {f"energy_share_{k}": v for k, v in self.energy.shares().items()}
        figures |= self.activity
        figures["synaptic_operations"] = float(self.energy.synaptic_operations()[-1].mean())
        return figures | ({"delay": float(self.delay)} if self.delay else {})


def measure(
    network: Network,
    images: Tensor | SampleStore,
    normalize: Normalization,
    profile: EnergyProfile,
    *,
    parts: int = 1,
) -> Measurement:
    """Run the network in evaluation mode and count its operations.

    Always in float32, whatever it was trained in: figures are those of the network as it is loaded.

    Args:
        network: left in the mode it was in.
        images: ``[N, C, H, W]`` uint8, or floats on the scale 0..1, on the network's device; or
            a store of them.
        normalize: the normalisation it was trained with.
        profile: prices of the operations.
        parts: by what batches are smaller than usual, where memory is short.
    """
    mode = network.training
    network.eval()
    device = images.device
    try:
        with torch.inference_mode():
            with energy_meter(network, profile) as meter, NeuronActivity(network) as neurons:
                potentials = [
                    network(normalize(batch)).cpu()
                    for batch in images.split(max(1, batch_size(network, device) // parts))
                ]
            first = next(iter(images.split(1)))
            blank = blank_firing_rate(network, normalize(torch.zeros_like(first)))
    finally:
        network.train(mode)
    return Measurement(
        torch.cat(potentials, dim=1),
        meter.report(),
        network.config.decision,
        delay_of(network),
        {
            "blank_firing_rate": blank,
            "silent_neurons": neurons.silent(),
            "saturated_neurons": neurons.saturated(),
        },
    )


def validation_curve(
    network: Network,
    samples: Samples,
    mean: Sequence[float],
    std: Sequence[float],
    profile: EnergyProfile,
    device: torch.device | str = "cpu",
) -> tuple[DecisionCurve, dict[str, float]]:
    """Decision curve of a network on samples, with firing rates and energy shares.

    Args:
        network: a network on `device`.
        samples: images and labels.
        mean: mean of the training pixels by channel, on the scale 0..1.
        std: their standard deviation by channel.
        profile: prices of the operations.
        device: where to compute.
    """
    images = as_tensor(samples.images, device)
    measurement = measure(network, images, Normalization(mean, std, device), profile)
    return measurement.curve(samples.labels, samples.bin_ends), measurement.diagnostics()


class LoadedNetwork:
    """A trained network with everything that its inputs need.

    Args:
        network: the network with its weights.
        info: what its checkpoint says of it.
        device: where to compute.

    Attributes:
        module: the network, whoever wrote it.
    """

    def __init__(self, network: Network, info: CheckpointInfo, device: torch.device | str):
        self.module = network.to(device).eval()
        self.info = info
        self.device = torch.device(device)
        self._normalize = Normalization(info.mean, info.std, device)
        self._early_exit: EarlyExit | None = None

    @property
    def network(self) -> LatencyNetwork:
        """The network, as layers that latsearch knows.

        Raises:
            UserError: it is the user's own code; `module` has it.
        """
        return own(self.module, "what was asked for")

    def potentials(self, images: NDArray[Any] | Tensor) -> Tensor:
        """Output potentials ``[T, N, K]`` float32, on the CPU.

        Args:
            images: ``[N, C, H, W]`` uint8, or floats on the scale 0..1; of a network for events
                the counts ``[N, T, P, H, W]``.
        """
        with torch.inference_mode():
            parts = [self.module(self._normalize(batch)).cpu() for batch in self._batches(images)]
        return torch.cat(parts, dim=1)

    def predict(
        self,
        images: NDArray[Any] | Tensor,
        decision_threshold: float,
        profile: EnergyProfile = DEFAULT_PROFILE,
    ) -> tuple[Decision, NDArray[np.float64]]:
        """Decisions at the first output spike, and each one's energy in nJ, ``[N]``.

        Args:
            images: ``[N, C, H, W]`` uint8, or floats on the scale 0..1.
            decision_threshold: potential above which a class spikes.
            profile: prices of the operations.
        """
        return self.measure(images, profile).decided(decision_threshold)

    def decide(self, images: NDArray[Any] | Tensor, decision_threshold: float) -> Decision:
        """The decisions of `predict` without their energy, in as little time as possible.

        Runs timestep by timestep; no timestep of a sample is computed after its decision. A network
        of the user's own is computed in full.

        Args:
            images: ``[N, C, H, W]`` uint8, or floats on the scale 0..1.
            decision_threshold: potential above which a class spikes; inf for the readout at T.
        """
        parts = [
            self.decide_normalized(self._normalize(batch), decision_threshold)
            for batch in self._batches(images)
        ]
        return parts[0] if len(parts) == 1 else joined(parts)

    def normalized(self, images: NDArray[Any] | Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` as the network's layers take them, float32 on its device."""
        return self._normalize(self._on_device(images))

    def decide_normalized(self, images: Tensor, decision_threshold: float) -> Decision:
        """`decide` for one batch of what `normalized` made.

        Args:
            images: ``[N, C, H, W]`` or event frames, normalised.
            decision_threshold: potential above which a class spikes; inf for the readout at T.
        """
        if isinstance(self.module, CustomNetwork):  # its timesteps cannot be told apart
            with torch.inference_mode():
                found = self.module(images).cpu()
            return decide(found, decision_threshold, self.module.config.decision)
        if self._early_exit is None:
            self._early_exit = EarlyExit(self.network)
        return self._early_exit.decide(images, decision_threshold)

    def measure(
        self, images: NDArray[Any] | Tensor, profile: EnergyProfile = DEFAULT_PROFILE
    ) -> Measurement:
        """Potentials and energy of the images."""
        return measure(self.module, self._on_device(images), self._normalize, profile)

    def curve(self, samples: Samples, profile: EnergyProfile = DEFAULT_PROFILE) -> DecisionCurve:
        """The decision curve on samples."""
        return self.measure(samples.images, profile).curve(samples.labels, samples.bin_ends)

    def _on_device(self, images: NDArray[Any] | Tensor) -> Tensor:
        tensor = images if isinstance(images, Tensor) else as_tensor(images, self.device)
        shape: tuple[int, ...] = self.info.input_shape
        if self.info.duration_ms is not None:
            shape = (self.info.trial.network.timesteps, *shape)
        if tuple(tensor.shape[1:]) != shape:
            raise ValueError(
                f"images must be [N, {', '.join(map(str, shape))}], got {list(tensor.shape)}"
            )
        return tensor.to(self.device)

    def _batches(self, images: NDArray[Any] | Tensor) -> Iterator[Tensor]:
        yield from torch.split(self._on_device(images), batch_size(self.module, self.device))


def load_checkpoint(folder: Path, device: torch.device | str = "cpu") -> LoadedNetwork:
    """The trained network of a checkpoint.

    Raises:
        CheckpointError: a file is missing, damaged or not ours; the message names it.
    """
    info = read_info(folder)
    try:
        network = build_any(info.trial.network, info.input_shape, info.classes, meta=True)
    except (RuntimeError, ArithmeticError, TypeError, ValueError) as error:  # torch's, of sizes
        reason = (str(error).splitlines() or [""])[0]
        raise CheckpointError(f"{folder}: no such network can be built: {reason}") from None
    if info.weights == "int8" and not isinstance(network, CustomNetwork):
        network = quantised(network)
    load_weights(network, folder)
    return LoadedNetwork(network, info, device)
