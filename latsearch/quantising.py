"""Eight-bit weights for a trained network, and what they cost: `latsearch quantise`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latsearch.config import PROFILES
from latsearch.copies import check_new
from latsearch.errors import UserError
from latsearch.located import Deployment, open_model
from latsearch.runs import DEFAULT_RUNS, Runs

if TYPE_CHECKING:
    from latsearch.data import Progress

INT8_PROFILE = "horowitz-45nm-int8"


@dataclass(frozen=True)
class QuantiseOptions:
    """How a network is quantised.

    Attributes:
        decision_threshold: potential above which a class spikes; None for the one set for the
            network, else the knee of the curve on the validation split.
        root: folder that holds the data; None as in the study.
        allow_code: the user allows that Python code named in a study is run.
        progress: told of the preparation of data.
    """

    decision_threshold: float | None = None
    root: str | None = None
    allow_code: bool = False
    progress: Progress | None = None


@dataclass(frozen=True)
class WeightFigures:
    """What a network does on the validation split.

    Attributes:
        accuracy: fraction of the samples classified correctly.
        latency: mean decision time in timesteps; of event data in ms of recording.
        silent_fraction: fraction of the samples without an output spike by T.
        energy: mean energy of an inference in nJ under the network's profile.
        energy_int8: the same under the profile of eight-bit arithmetic.
        size: bytes of the weights' file.
    """

    accuracy: float
    latency: float
    silent_fraction: float
    energy: float
    energy_int8: float
    size: int


@dataclass(frozen=True)
class Quantised:
    """A network before and after.

    Attributes:
        folder: of the quantised network.
        samples: validation samples that both were measured on.
        decision_threshold: of both.
        profile: name of the network's energy profile.
        latency_unit: unit of the latencies.
        before: with float32 weights.
        after: with int8 weights.
        changed: fraction of the samples whose prediction differs.
        changed_time: fraction of the samples whose decision time differs.
        exact: whether every sum is exact, so that an integer chip computes the same.
    """

    folder: Path
    samples: int
    decision_threshold: float
    profile: str
    latency_unit: str
    before: WeightFigures
    after: WeightFigures
    changed: float
    changed_time: float
    exact: bool


def quantise(
    model: str | Path,
    to: Path,
    options: QuantiseOptions | None = None,
    runs: Runs = DEFAULT_RUNS,
) -> Quantised:
    """Write a network with eight-bit weights, measured on the validation split beside the original.

    Args:
        model: a trial such as ``runs/digits:22``, or the folder of a checkpoint.
        to: folder of the new network, which must not be there.
        options: how.
        runs: folder of all studies.

    Raises:
        UserError: there is no such network, its data are not there, it has parts that cannot be
            quantised, or the folder is taken.
    """
    from latsearch.evaluation import LoadedNetwork, load_checkpoint
    from latsearch.snn.checkpoint import MODEL_FILE, write_checkpoint
    from latsearch.snn.integer import exact_in_float32, integer_state, quantised

    check_new(to)
    options = options or QuantiseOptions()
    opened = open_model(
        model, runs, root=options.root, allow_code=options.allow_code, progress=options.progress
    )
    threshold = opened.threshold(options.decision_threshold)
    info = replace(opened.network.info, weights="int8")
    twin = quantised(opened.network.network)
    try:
        write_checkpoint(to, info, integer_state(twin))
        Deployment(
            decision_threshold=threshold,
            energy_profile=INT8_PROFILE,
            class_names=opened.splits.class_names or opened.model.class_names(),
            data=opened.config,
            note=f"Eight-bit weights of {opened.model.name}, at its decision threshold.",
        ).write(to)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None
    written = load_checkpoint(to)  # what is measured is what was written
    profiles = (opened.model.profile.name, INT8_PROFILE)

    def measured(network: LoadedNetwork, file: Path) -> tuple[WeightFigures, Any]:
        samples = opened.splits.validation
        found = network.measure(samples.images, PROFILES[profiles[0]])
        decision, energy = found.decided(threshold)
        _, energy_int8 = network.predict(samples.images, threshold, PROFILES[INT8_PROFILE])
        figures = WeightFigures(
            accuracy=float((decision.prediction == samples.labels).mean()),
            latency=float(found.times(samples, decision).mean()),
            silent_fraction=float(decision.silent.mean()),
            energy=float(energy.mean()),
            energy_int8=float(energy_int8.mean()),
            size=file.stat().st_size,
        )
        return figures, decision

    before, decided = measured(opened.network, opened.model.checkpoint / MODEL_FILE)
    after, decided_after = measured(written, to / MODEL_FILE)
    return Quantised(
        folder=to,
        samples=len(opened.splits.validation),
        decision_threshold=threshold,
        profile=profiles[0],
        latency_unit="ms" if opened.splits.events else "timesteps",
        before=before,
        after=after,
        changed=float(np.mean(decided.prediction != decided_after.prediction)),
        changed_time=float(np.mean(decided.decision_time != decided_after.decision_time)),
        exact=exact_in_float32(written.network),
    )
