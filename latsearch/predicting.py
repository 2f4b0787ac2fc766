"""Predictions of a trained network for the user's own images: `latsearch predict`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latsearch.config import PROFILES
from latsearch.config.code import allowing_code
from latsearch.errors import UserError
from latsearch.inputs import Input, InputShape, read_inputs
from latsearch.located import locate
from latsearch.runs import DEFAULT_RUNS, Runs

_AT_ONCE = 256  # images in memory


@dataclass(frozen=True)
class PredictOptions:
    """How images are decided.

    Attributes:
        decision_threshold: potential above which a class spikes; None for the one set for the
            network, else the knee of its stored curve.
        profile: name of the energy profile; None for the network's.
        resize: scale images of other sizes and channels.
        allow_code: the user allows that the code of their own networks is run.
    """

    decision_threshold: float | None = None
    profile: str | None = None
    resize: bool = False
    allow_code: bool = False


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image.

    Attributes:
        image: file that it comes from, with its index where that holds several.
        prediction: the class, 0..K-1.
        class_name: its name; the number where it has none.
        decision_time: timestep of the decision, 1..T.
        energy: of the inference up to it in nJ.
        silent: whether no output spiked, so that the readout at T decided.
    """

    image: str
    prediction: int
    class_name: str
    decision_time: int
    energy: float
    silent: bool

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def predict(
    model: str | Path,
    images: Sequence[str | Path],
    options: PredictOptions | None = None,
    runs: Runs = DEFAULT_RUNS,
) -> Iterator[Prediction]:
    """Decide the images in files and folders, in order.

    Args:
        model: a trial such as ``runs/digits:22``, or the folder of a checkpoint.
        images: image files, npy and npz files, and folders of them.
        options: how.
        runs: folder of all studies.

    Raises:
        UserError: there is no such network, an image cannot be read or does not fit, or nothing
            says at which threshold to decide.
    """
    options = options or PredictOptions()
    found = locate(model, runs)
    wanted = options.decision_threshold
    threshold = found.threshold() if wanted is None else wanted
    if options.profile is not None and options.profile not in PROFILES:
        raise UserError(f"{options.profile} is no profile; known are {', '.join(PROFILES)}")
    profile = found.profile if options.profile is None else PROFILES[options.profile]
    with allowing_code(options.allow_code):
        network = found.load()
    names = found.class_names()
    inputs = read_inputs(images, InputShape.of(network.info), resize=options.resize)
    for batch in _batches(inputs):
        pixels = np.stack([one.pixels for one in batch])
        decision, energy = network.predict(pixels, threshold, profile)
        for index, one in enumerate(batch):
            label = int(decision.prediction[index])
            yield Prediction(
                one.name,
                label,
                class_name(names, label),
                int(decision.decision_time[index]),
                float(energy[index]),
                bool(decision.silent[index]),
            )


def class_name(names: Sequence[str], label: int) -> str:
    """A class's name; its number where it has none."""
    return names[label] if label < len(names) else str(label)


def _batches(inputs: Iterator[Input]) -> Iterator[list[Input]]:
    """Up to so many images of one type at a time."""
    waiting: list[Input] = []
    for one in inputs:
        if waiting and (len(waiting) == _AT_ONCE or one.pixels.dtype != waiting[0].pixels.dtype):
            yield waiting
            waiting = []
        waiting.append(one)
    if waiting:
        yield waiting
