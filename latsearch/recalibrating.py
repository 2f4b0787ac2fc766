"""Setting a decision threshold from unlabelled data of a device: `latsearch recalibrate`.

Decision time and energy need no labels: both are exact step functions of the threshold, which rise
at the running maxima of the samples' evidence. The threshold is placed on the step that is
nearest to the wanted mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from latsearch.config import PROFILES
from latsearch.config.code import allowing_code
from latsearch.copies import check_new, copy_network
from latsearch.errors import UserError
from latsearch.inputs import Input, InputShape, read_inputs
from latsearch.located import Deployment, Model, locate
from latsearch.objectives import FloatArray
from latsearch.runs import DEFAULT_RUNS, Runs

Wanted = Literal["latency", "energy"]
_AT_ONCE = 512  # images in memory
_FEW = 100  # samples below which a mean says little


@dataclass(frozen=True)
class RecalibrateOptions:
    """How a threshold is set.

    Attributes:
        latency: wanted mean decision time in timesteps; None where energy is wanted.
        energy: wanted mean energy of an inference in nJ; None where latency is wanted.
        profile: name of the energy profile; None for the network's.
        to: folder for a copy of the network with the threshold; None for none.
        in_place: set it in the network's own folder.
        resize: scale images of other sizes and channels.
        allow_code: the user allows that the code of their own networks is run.
    """

    latency: float | None = None
    energy: float | None = None
    profile: str | None = None
    to: Path | None = None
    in_place: bool = False
    resize: bool = False
    allow_code: bool = False

    @property
    def wanted(self) -> tuple[Wanted, float]:
        """Which mean is wanted, and its value."""
        if self.latency is not None:
            return "latency", self.latency
        assert self.energy is not None
        return "energy", self.energy


@dataclass(frozen=True)
class Recalibrated:
    """The threshold that was set, and what it gives on the device's data.

    Attributes:
        decision_threshold: potential above which a class spikes.
        wanted: which mean was asked for, ``latency`` or ``energy``.
        target: its wanted value.
        reached: its value at the threshold.
        reachable: its least and largest value at any threshold.
        latency: mean decision time in timesteps.
        energy: mean energy of an inference in nJ.
        profile: name of the energy profile.
        silent_fraction: fraction of the samples without an output spike by T.
        decision_times: samples that decide at each timestep 1..T.
        samples: how many there were.
        folder: where it was written; None for nowhere.
    """

    decision_threshold: float
    wanted: Wanted
    target: float
    reached: float
    reachable: tuple[float, float]
    latency: float
    energy: float
    profile: str
    silent_fraction: float
    decision_times: tuple[int, ...]
    samples: int
    folder: Path | None = None

    @property
    def few(self) -> bool:
        """Whether there were so few samples that other data will give other means."""
        return self.samples < _FEW


def recalibrate(
    model: str | Path,
    data: Sequence[str | Path],
    options: RecalibrateOptions,
    runs: Runs = DEFAULT_RUNS,
) -> Recalibrated:
    """Set a network's decision threshold so that the device's data take a wanted mean.

    Args:
        model: a trial such as ``runs/digits:22``, or the folder of a checkpoint.
        data: image files, npy and npz files, and folders of them; labels are not needed.
        options: the wanted mean, and where to write the threshold.
        runs: folder of all studies.

    Raises:
        UserError: the options contradict each other, no threshold reaches the target, or an image
            does not fit.
    """
    if (options.latency is None) == (options.energy is None):
        raise UserError("recalibrate takes one of --latency and --energy")
    if options.profile is not None and options.profile not in PROFILES:
        raise UserError(f"{options.profile} is no profile; known are {', '.join(PROFILES)}")
    found = locate(model, runs)
    _check_place(found, options)
    profile = PROFILES[options.profile] if options.profile else found.profile
    measured = _measure(found, data, profile.name, options.resize, options.allow_code)
    wanted, target = options.wanted
    threshold, reachable = place_threshold(measured.peaks, measured.cost(wanted), target)
    if threshold is None:
        low, high = reachable
        unit = "timesteps" if wanted == "latency" else f"nJ ({profile.name})"
        raise UserError(
            f"--{wanted} {target:g}: no decision threshold gives that on these "
            f"{measured.samples:,} samples; reachable is {low:.6g} to {high:.6g} {unit}"
        )
    result = measured.at(threshold, wanted, target, reachable, profile.name)
    return replace(result, folder=_write(found, result, options))


def place_threshold(
    peaks: FloatArray, cost: FloatArray, target: float, minimum: float = 0.0
) -> tuple[float | None, tuple[float, float]]:
    """The threshold whose mean cost is nearest to a target; the lower one of two equally near.

    Args:
        peaks: ``[T, B]`` running maxima of the samples' evidence.
        cost: ``[T, B]`` cost of deciding at t, which does not fall with t.
        target: wanted mean over the samples.
        minimum: lowest threshold.

    Returns:
        The threshold, None where the target is outside of what is reachable; and the least and the
        largest mean.
    """
    samples = peaks.shape[1]
    # a sample waits at t < T as long as the threshold is not below its running maximum there
    value = peaks[:-1].ravel()
    rise = (cost[1:] - cost[:-1]).ravel() / samples
    waiting = value <= minimum
    low = float(cost[0].mean() + rise[waiting].sum())
    high = float(cost[-1].mean())
    slack = 1e-9 * max(1.0, abs(high))
    if not low - slack <= target <= high + slack:
        return None, (low, high)
    steps, which = np.unique(value[~waiting], return_inverse=True)
    rises = np.bincount(which, rise[~waiting], minlength=len(steps))
    means = low + np.concatenate([[0.0], np.cumsum(rises)])
    chosen = int(np.argmin(np.abs(means - target)))
    if chosen == 0:
        return minimum, (low, high)
    below = float(steps[chosen - 1])
    if chosen == len(steps):
        return below, (low, high)
    # in the middle of its step, so that rounding elsewhere does not leave it
    middle = below + (float(steps[chosen]) - below) / 2
    return middle if below <= middle < steps[chosen] else below, (low, high)


@dataclass(frozen=True, eq=False)
class _Measured:
    """What the device's data gave.

    Attributes:
        peaks: ``[T, B]`` running maxima of the evidence.
        energy: ``[T, B]`` energy in nJ of deciding at t.
        delay: timesteps by which the hardware delays every decision.
    """

    peaks: FloatArray
    energy: FloatArray
    delay: int

    @property
    def samples(self) -> int:
        return int(self.peaks.shape[1])

    def cost(self, wanted: Wanted) -> FloatArray:
        """``[T, B]`` cost of deciding at t."""
        if wanted == "energy":
            return self.energy
        times = np.arange(1.0, len(self.peaks) + 1) + self.delay
        return np.repeat(times[:, None], self.samples, axis=1)

    def at(
        self,
        threshold: float,
        wanted: Wanted,
        target: float,
        reachable: tuple[float, float],
        profile: str,
    ) -> Recalibrated:
        """The figures at a threshold."""
        quiet = self.peaks <= threshold
        index = quiet[:-1].sum(0)
        columns = np.arange(self.samples)
        means = {name: float(self.cost(name)[index, columns].mean()) for name in _BOTH}
        times = np.bincount(index, minlength=len(self.peaks))
        return Recalibrated(
            decision_threshold=threshold,
            wanted=wanted,
            target=target,
            reached=means[wanted],
            reachable=reachable,
            latency=means["latency"],
            energy=means["energy"],
            profile=profile,
            silent_fraction=float(quiet[-1].mean()),
            decision_times=tuple(times.tolist()),
            samples=self.samples,
        )


_BOTH: tuple[Wanted, Wanted] = ("latency", "energy")


def _measure(
    model: Model, data: Sequence[str | Path], profile: str, resize: bool, allow_code: bool
) -> _Measured:
    from latsearch.snn.decoding import running_peak
    from latsearch.snn.pipeline import delay_of

    with allowing_code(allow_code):
        network = model.load()
    peaks: list[FloatArray] = []
    energy: list[FloatArray] = []
    batch: list[Input] = []

    def flush() -> None:
        if batch:
            images: NDArray[Any] = np.stack([one.pixels for one in batch])
            found = network.measure(images, PROFILES[profile])
            peaks.append(running_peak(found.potentials, found.rule))
            energy.append(found.energy.cumulative().cpu().numpy())
            batch.clear()

    for one in read_inputs(data, InputShape.of(network.info), resize=resize):
        if batch and (len(batch) == _AT_ONCE or one.pixels.dtype != batch[0].pixels.dtype):
            flush()
        batch.append(one)
    flush()
    if not peaks:
        raise UserError("--data holds no images")
    delay = delay_of(network.module)
    return _Measured(np.concatenate(peaks, axis=1), np.concatenate(energy, axis=1), delay)


def _check_place(model: Model, options: RecalibrateOptions) -> None:
    if options.to is not None and options.in_place:
        raise UserError("recalibrate takes one of --to and --in-place")
    if options.to is not None:
        check_new(options.to)
    if options.in_place and model.record is not None:
        raise UserError(
            f"--in-place: {model.name} belongs to a study, whose checkpoints are never changed; "
            "write a copy with --to FOLDER"
        )


def _write(model: Model, found: Recalibrated, options: RecalibrateOptions) -> Path | None:
    if options.to is None and not options.in_place:
        return None
    unit = "timesteps" if found.wanted == "latency" else "nJ"
    note = (
        f"The decision threshold was set from {found.samples:,} unlabelled samples to a mean "
        f"{found.wanted} of {found.reached:.4g} {unit} (wanted {found.target:g})."
    )
    before = model.deployment
    deployment = Deployment(
        decision_threshold=found.decision_threshold,
        energy_profile=found.profile,
        class_names=model.class_names(),
        data=model.study.data if model.study else before.data if before else None,
        note=note,
    )
    if options.to is not None:
        return copy_network(model, deployment, options.to)
    try:
        deployment.write(model.checkpoint)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None
    return model.checkpoint
