"""Training of one trial: epoch by epoch, each followed by its decision curve on validation."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from latsearch.config.energy import EnergyProfile
from latsearch.config.events import EVENT_ENCODER
from latsearch.config.study import ScreeningConfig
from latsearch.config.trial import TrialConfig
from latsearch.data.splits import Samples, Splits
from latsearch.data.splitting import part
from latsearch.errors import LatsearchError
from latsearch.evaluation import Measurement, measure
from latsearch.objectives import DecisionCurve, EpochReport
from latsearch.snn.augmentation import auto_augment, cutout
from latsearch.snn.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    load_weights,
    read_info,
    read_state,
    weights_digest,
    write_checkpoint,
)
from latsearch.snn.decoding import accuracies
from latsearch.snn.diagnostics import GradientNorms
from latsearch.snn.frames import augment_frames
from latsearch.snn.images import Normalization, as_tensor, augment
from latsearch.snn.losses import LossRule, decision_loss
from latsearch.snn.networks import Network, own
from latsearch.snn.optimization import (
    SpikeRate,
    autocast_type,
    build_optimizer,
    compile_kernels,
    epoch_generator,
    learning_rate,
    seeded_network,
    seeded_noise,
    transfer_weights,
)
from latsearch.snn.store import SampleStore


class TrainingError(LatsearchError):
    """A training that went wrong, e.g. diverged."""


class Trainer:
    """One trial's training.

    Everything random is drawn from `seed` and the epoch, so that a training that is continued
    from a checkpoint gives bit by bit what an uninterrupted one does.

    Args:
        trial: the trial's configuration.
        splits: the data; the test split is not touched.
        seed: of the weights, the order of the samples and their augmentation.
        profile: energy prices for the validation curve.
        device: where to train.
        robust: corrupted samples that robust accuracy is measured on; None: it is not.
        parts: in how many parts a batch is computed, one after the other, where memory is short.
            Its gradient is that of the whole batch, but for normalisations, whose statistics are
            those of each part.
        screening: a short training on a part of the data that comes first, by a network of its
            own, and is reported as epoch 0; None: there is none, or it was.

    Attributes:
        epoch: epochs trained so far.
        network: the network.
        parts: as given; may be changed between two epochs.
    """

    def __init__(
        self,
        trial: TrialConfig,
        splits: Splits,
        *,
        seed: int,
        profile: EnergyProfile,
        device: str | torch.device = "cpu",
        robust: Samples | None = None,
        parts: int = 1,
        screening: ScreeningConfig | None = None,
    ):
        self.epoch = 0
        self.parts = parts
        self._screening = screening
        self._screened: Trainer | None = None  # of the newest report, where that is the screening's
        self._robust = robust
        self.trial = trial
        self.device = torch.device(device)
        if splits.events != (trial.network.encoder == EVENT_ENCODER):
            raise TrainingError(
                f"network.encoder = {trial.network.encoder} does not take {splits.name}: "
                f"{EVENT_ENCODER} is for recordings of events, the others are for images"
            )
        self._splits = splits = splits.at(trial.network.timesteps)
        self._seed = seed
        self._profile = profile
        self._autocast = autocast_type(trial.train.precision, self.device)
        self._images = SampleStore(splits.train.pixels, splits.train.rows, self.device)
        self._labels = as_tensor(splits.train.labels, self.device)
        held = splits.validation
        self._validation_images = SampleStore(held.pixels, held.rows, self.device)
        self._normalize = Normalization(splits.mean, splits.std, self.device)
        network = seeded_network(trial.network, splits.input_shape, splits.classes, seed)
        self.network = network.to(self.device)
        self.network.use_compiled_kernels(
            compile_kernels(trial.train, self.network, len(splits.train))
        )
        self.network.recompute = trial.train.recompute
        self._optimizer = build_optimizer(self.network, trial.train)
        self._gradients = GradientNorms(self.network)
        self._loss = LossRule.of(trial.train, trial.network)

    @property
    def reported(self) -> Network:
        """The network of the newest report: that of the screening, or the one that is trained."""
        return (self._screened or self).network

    @property
    def steps_an_epoch(self) -> int:
        """Training steps of an epoch; a last partial batch counts only where it is the only one."""
        return max(1, len(self._labels) // self.trial.train.batch_size)

    def step(self) -> EpochReport:
        """Train one epoch, then measure the decision curve on the validation split.

        Where there is a screening, the first step is all of it.

        Raises:
            TrainingError: the loss is not finite.
        """
        start = time.perf_counter()
        if self._screening is not None:
            return self._screen(self._screening, start)
        self._screened = None
        return self._report(self._advance(), self._validation_images, start)

    def batch_step(self) -> EpochReport:
        """Train and validate on one batch, to see that everything works.

        Raises:
            TrainingError: the loss is not finite.
        """
        start = time.perf_counter()
        batch = self.trial.train.batch_size
        metrics = self._train(iter([next(self._batches())]))
        return self._report(metrics, self._validation_images.first(batch), start)

    def save(self, folder: Path) -> None:
        """Write a checkpoint; the folder is complete or absent.

        After a screening it is that of the screening's network, which no training goes on from.
        """
        if self._screened is not None:
            self._screened.save(folder)
            return
        splits = self._splits
        info = CheckpointInfo(
            trial=self.trial,
            input_shape=splits.input_shape,
            classes=splits.classes,
            mean=splits.mean,
            std=splits.std,
            dataset=splits.name,
            epoch=self.epoch,
            seed=self._seed,
            duration_ms=splits.duration_ms,
        )
        state = {"optimizer": self._optimizer.state_dict()}
        write_checkpoint(folder, info, self.network.state_dict(), state)

    def weights_digest(self) -> str:
        """Digest of the weights of the network that was reported last."""
        return weights_digest(self.reported.state_dict())

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint of the same trial.

        Raises:
            CheckpointError: it is missing, damaged, or of another trial.
        """
        info = read_info(folder)
        if info.trial != self.trial or info.seed != self._seed:
            raise CheckpointError(f"{folder}: the checkpoint belongs to another trial")
        load_weights(self.network, folder)
        self._optimizer.load_state_dict(read_state(folder)["optimizer"])
        self.epoch = info.epoch

    def _advance(self) -> dict[str, float]:
        """Train one epoch; its metrics."""
        if self.epoch == 0 and self.trial.train.relu_epochs > 0:
            self._start_as_relu_network()
        metrics = self._train(self._batches())
        self.epoch += 1
        return metrics

    def _screen(self, screening: ScreeningConfig, start: float) -> EpochReport:
        """Train another network of the same configuration on a part of the data."""
        twin = Trainer(
            dataclasses.replace(
                self.trial, train=dataclasses.replace(self.trial.train, epochs=screening.epochs)
            ),
            part(self._splits, screening.data),
            seed=self._seed,
            profile=self._profile,
            device=self.device,
            robust=self._robust,
            parts=self.parts,
        )
        while twin.epoch < screening.epochs:
            metrics = twin._advance()
        self._screening, self._screened = None, twin
        report = twin._report(metrics, twin._validation_images, start)
        return dataclasses.replace(report, epoch=0)

    def _start_as_relu_network(self) -> None:
        """Train an ordinary network of the same shape, and take over its weights."""
        network, train = self.trial.network, self.trial.train
        spiking = own(self.network, "train.relu_epochs")
        still = spiking.encoder.still
        ordinary = TrialConfig(
            network=dataclasses.replace(
                network, neuron="relu", norm="pooled", encoder="analog" if still else "frames"
            ),
            train=dataclasses.replace(train, epochs=train.relu_epochs, relu_epochs=0),
        )
        twin = Trainer(
            ordinary,
            self._splits,
            seed=self._seed,
            profile=self._profile,
            device=self.device,
            parts=self.parts,
        )
        while twin.epoch < ordinary.train.epochs:
            twin._train(twin._batches())
            twin.epoch += 1
        transfer_weights(own(twin.network, "train.relu_epochs"), spiking)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented, normalised images and labels of the next epoch's training steps."""
        train = self.trial.train
        generator = epoch_generator(self._seed, self.epoch)
        order = torch.randperm(len(self._labels), generator=generator)
        indices = torch.split(order, train.batch_size)[: self.steps_an_epoch]
        for images, index in zip(self._images.batches(indices), indices, strict=True):
            yield self._normalize(self._augmented(images, generator)), self._labels[index]

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images, or event frames, changed at random."""
        train = self.trial.train
        if self._splits.events:
            return augment_frames(
                images,
                generator,
                crop_padding=train.crop_padding,
                horizontal_flip=train.horizontal_flip,
                event_drop=train.event_drop,
            )
        moved = augment(
            images,
            generator,
            crop_padding=train.crop_padding,
            horizontal_flip=train.horizontal_flip,
        )
        changed = auto_augment(moved, generator, train.auto_augment)
        return cutout(changed, generator, train.cutout, self._splits.mean)

    def _train(self, batches: Iterator[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Train on the batches; their mean loss, gradient norm and weights over time."""
        self.network.train()
        with seeded_noise(self._seed, self.epoch, self.device):
            return self._train_seeded(batches)

    def _train_seeded(self, batches: Iterator[tuple[Tensor, Tensor]]) -> dict[str, float]:
        norms = self._gradients.names
        totals = torch.zeros(2 + len(norms) + self.network.timesteps, device=self.device)
        steps = 0
        for images, labels in batches:
            totals += self._optimize(images, labels, self.epoch * self.steps_an_epoch + steps)
            steps += 1
        loss, grad_norm, *rest = (totals / steps).tolist()
        if not math.isfinite(loss) or not math.isfinite(grad_norm):
            raise TrainingError(
                f"the loss is not finite in epoch {self.epoch + 1}: try a lower train.lr than "
                f"{self.trial.train.lr:g}, or set train.clip_grad_norm"
            )
        metrics = {"train_loss": loss, "grad_norm": grad_norm}
        metrics |= dict(zip(norms, rest, strict=False))
        weights = enumerate(rest[len(norms) :], start=1)
        return metrics | {f"weight_t{t}": weight for t, weight in weights}

    def _optimize(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """One training step; its loss, gradient norm, that of each layer, weights of timesteps."""
        train = self.trial.train
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(train, step, self.steps_an_epoch)
        self._optimizer.zero_grad()
        count = min(self.parts, max(1, len(images) // 2))  # a normalisation needs two samples
        parts = zip(images.tensor_split(count), labels.tensor_split(count), strict=True)
        found = [self._backward(*part, share=len(part[0]) / len(images)) for part in parts]
        loss, *weights = torch.stack(found).sum(0)
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        by_layer = self._gradients.read()
        if train.clip_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, train.clip_grad_norm, norm)
        self._optimizer.step()
        return torch.cat([torch.stack([loss, norm]), by_layer, torch.stack(weights)])

    def _backward(self, images: Tensor, labels: Tensor, share: float) -> Tensor:
        """Add the gradients of a share of a batch; its share of loss and weights of timesteps."""
        train = self.trial.train
        with (
            torch.autocast(
                self.device.type, dtype=self._autocast, enabled=self._autocast is not None
            ),
            SpikeRate(self.network, enabled=train.lambda_spike > 0) as rate,
        ):
            potentials = self.network(images)
        loss, weights = decision_loss(potentials, labels, self._loss)
        objective = loss + train.lambda_spike * rate.mean() if train.lambda_spike > 0 else loss
        (objective * share).backward()  # type: ignore[no-untyped-call]
        return torch.cat([loss.detach()[None], weights.float()]) * share

    def _report(self, metrics: dict[str, float], images: SampleStore, start: float) -> EpochReport:
        measurement = self._measure(images)
        try:
            validation = self._splits.validation
            ends = None if validation.bin_ends is None else validation.bin_ends[: len(images)]
            curve = measurement.curve(validation.labels[: len(images)], ends)
        except ValueError as error:
            raise TrainingError(
                f"after epoch {self.epoch} {error}; try a lower train.lr than "
                f"{self.trial.train.lr:g}"
            ) from error
        if self._robust is not None:
            curve = self._with_robustness(curve, self._robust)
        metrics |= measurement.diagnostics()
        metrics["lr"] = self._optimizer.param_groups[0]["lr"]
        metrics["parameters"] = float(self.network.parameter_count())
        return EpochReport(
            epoch=self.epoch,
            curve=curve,
            metrics=metrics,
            seconds=time.perf_counter() - start,
            decision_times=measurement.decision_times(curve),
        )

    def _with_robustness(self, curve: DecisionCurve, robust: Samples) -> DecisionCurve:
        """The curve with the accuracy on corrupted samples at each of its thresholds."""
        measurement = self._measure(SampleStore(robust.pixels, robust.rows, self.device))
        found = accuracies(
            measurement.potentials, robust.labels, curve.decision_threshold, measurement.rule
        )
        return dataclasses.replace(curve, robust_accuracy=found)

    def _measure(self, images: SampleStore) -> Measurement:
        return measure(self.network, images, self._normalize, self._profile, parts=self.parts)


def train(
    trial: TrialConfig,
    splits: Splits,
    report: Callable[[EpochReport], None],
    *,
    seed: int,
    profile: EnergyProfile,
    device: str | torch.device = "cpu",
) -> Trainer:
    """Train a trial to its last epoch.

    Args:
        trial: the trial's configuration.
        splits: the data.
        report: called after every epoch.
        seed: of everything random.
        profile: energy prices for the curves.
        device: where to train.

    Returns:
        The trainer with the trained network.
    """
    trainer = Trainer(trial, splits, seed=seed, profile=profile, device=device)
    while trainer.epoch < trial.train.epochs:
        report(trainer.step())
    return trainer
