"""Studies that look like searched ones, made without training anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from latsearch.config import StudyConfig, Value, parse_study
from latsearch.config.trial import NetworkConfig, TrainConfig, TrialConfig
from latsearch.objectives import DecisionCurve, EpochReport
from latsearch.search.checkpoints import trial_folder
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState
from latsearch.snn.checkpoint import CheckpointInfo, write_checkpoint
from latsearch.snn.networks import build_network

REFERENCE = {"accuracy": 0.1, "latency": 4.0, "energy": 500.0}
YAML = """
version: 1
study: synthetic
data: {name: digits}
network:
  family: {choices: [mlp, lenet]}
  timesteps: {low: 1, high: 4}
  firing_threshold: {low: 0.5, high: 2.0}
  synapse: {choices: [delta, step]}
train:
  epochs: 40
  temperature: {low: 0.1, high: 10.0, log: true}
  lr: {low: 1.0e-3, high: 2.0e-2, log: true}
objectives: {accuracy: maximize, latency: minimize, energy: minimize}
constraints: {silent_fraction: {max: 0.05}}
search: {sampler: tpe, trials: 30, seed: 0}
"""


def write_untrained(folder: Path, seed: int, epoch: int) -> None:
    """A true checkpoint of a small network for the digits that has learned nothing."""
    torch.manual_seed(seed)
    network = NetworkConfig(family="mlp", width=2, hidden=4, timesteps=2)
    info = CheckpointInfo(
        trial=TrialConfig(network=network, train=TrainConfig()),
        input_shape=(1, 8, 8),
        classes=10,
        mean=(0.3,),
        std=(0.4,),
        dataset="digits",
        epoch=epoch,
        seed=seed,
    )
    weights = build_network(network, info.input_shape, info.classes).state_dict()
    write_checkpoint(folder, info, weights, {"optimizer": {}})


class SyntheticStudy:
    """A study whose trials are made up, the same for the same seed."""

    def __init__(self, folder: Path, *, trials: int = 30, rows: int = 12, seed: int = 0):
        text = YAML.replace("trials: 30", f"trials: {trials}")
        self.config: StudyConfig = parse_study(text, "synthetic.yaml")
        self.study = Study.create(folder, self.config, REFERENCE)
        self.token = self.study.start_session()
        self.rows = rows
        self._random = np.random.default_rng(seed)
        self._quality: dict[int, float] = {}

    def start(self) -> int:
        """A trial that runs."""
        number = self.study.new_trial(self._values())
        self._quality[number] = float(self._random.beta(2, 3))
        return number

    def report(self, number: int, epoch: int, checkpoint: bool = False) -> None:
        """Its next epoch, with a checkpoint's files if wanted."""
        folder = f"{trial_folder(number)}/{epoch:05d}" if checkpoint else None
        if folder:
            write_untrained(self.study.folder / folder, number, epoch)
        report = EpochReport(
            epoch,
            self._curve(number, epoch),
            self._metrics(epoch),
            0.5,
            checkpoint=folder,
            decision_times=tuple((300 - r, r + 60) for r in range(self.rows)) if folder else None,
        )
        self.study.append_report(number, report, self.token)

    def complete(self, number: int) -> None:
        """End a trial as complete."""
        self.study.end_trial(self._record(number), TrialState.COMPLETE)

    def prune(self, number: int) -> None:
        """End a trial as pruned."""
        self.study.end_trial(self._record(number), TrialState.PRUNED)

    def fail(self, number: int, reason: str = "the loss is not finite in epoch 2") -> None:
        """End a trial as failed."""
        self.study.fail_trial(number, reason, "Traceback (most recent call last):\n  somewhere")

    def trial(self, epochs: int = 3, checkpoint: bool = False) -> int:
        """A complete trial."""
        number = self.start()
        for epoch in range(1, epochs + 1):
            self.report(number, epoch, checkpoint=checkpoint and epoch == epochs)
        self.complete(number)
        return number

    def _record(self, number: int) -> TrialRecord:
        return next(record for record in self.study.trials() if record.number == number)

    def _values(self) -> dict[str, Value]:
        draw = self._random

        def suggest(parameter: object) -> Value:
            from latsearch.config import Parameter

            assert isinstance(parameter, Parameter)
            if parameter.kind == "categorical":
                return parameter.choices[int(draw.integers(len(parameter.choices)))]
            low, high = float(parameter.low or 0), float(parameter.high or 0)
            if parameter.kind == "int":
                return int(draw.integers(int(low), int(high) + 1))
            if parameter.log:
                return float(np.exp(draw.uniform(np.log(low), np.log(high))))
            return float(draw.uniform(low, high))

        return self.config.space.ask(suggest)

    def _curve(self, number: int, epoch: int) -> DecisionCurve:
        """A curve as trained networks have them: the later the decision, the better."""
        time = np.linspace(0, 1, self.rows)
        quality = self._quality[number] * (1 - 0.6 / max(epoch, 1))
        noise = self._random.normal(0, 0.004, self.rows)
        accuracy = np.clip(0.55 + 0.3 * quality + 0.14 * time**0.5 + noise, 0, 1)
        latency = 1 + (1 + 2 * (number % 3)) * time * (1.2 - quality)
        energy = (20 + 200 * ((number * 7) % 11) / 11) * latency ** (0.5 + quality)
        silent = np.where(time > 0.8, 0.06, 0.01 * time)
        silent[-1] = 0.0
        threshold = np.linspace(0.1, 3, self.rows)
        threshold[-1] = np.inf
        kind = ("first_spike",) * (self.rows - 1) + ("readout",)
        return DecisionCurve(
            decision_threshold=threshold,
            kind=kind,
            accuracy=accuracy,
            accuracy_silent_wrong=accuracy * (1 - silent),
            latency=latency,
            latency_p95=latency + 0.5,
            energy=energy,
            silent_fraction=silent,
            tie_fraction=np.zeros(self.rows),
        )

    def _metrics(self, epoch: int) -> dict[str, float]:
        loss = 1.5 / max(epoch, 1) + float(self._random.normal(0, 0.02))
        return {
            "train_loss": loss,
            "grad_norm": 2 * loss,
            "weight_t1": 0.6,
            "weight_t2": 0.4,
            "firing_rate_encoder": 0.2,
            "firing_rate_layer1": 0.1,
            "energy_share_encoder": float("nan"),
            "lr": 0.01 / max(epoch, 1),
            "parameters": 12345.0,
        }
