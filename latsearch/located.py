"""Trained networks by what users call them, and the point at which each one runs.

A network is a trial, such as ``runs/digits:22``, or a folder with a checkpoint. A folder may hold
``deployment.json`` beside its weights: the decision threshold that was set for it, and what its
answers are called.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from latsearch.config import PROFILES, DataConfig, StudyConfig
from latsearch.config.code import allowing_code
from latsearch.config.energy import DEFAULT_PROFILE, EnergyProfile
from latsearch.data.catalogue import DATASETS
from latsearch.errors import DataError, UserError
from latsearch.runs import DEFAULT_RUNS, Runs, find_study
from latsearch.search.results import knee_row
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord

if TYPE_CHECKING:
    from latsearch.data import Progress, Splits
    from latsearch.evaluation import LoadedNetwork
    from latsearch.objectives import DecisionCurve

DEPLOYMENT_FILE = "deployment.json"
FORMAT_VERSION = 1
_OBJECTIVES = ("accuracy", "latency", "energy")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """How a network is run: what ``deployment.json`` says.

    Attributes:
        decision_threshold: potential above which a class spikes; inf for the readout at T.
        energy_profile: name of the profile that energies are counted with.
        class_names: names of the classes; empty where they have numbers alone.
        data: the data set it was trained on and how that is split, without the folder it is in;
            None where that is not known.
        note: how the threshold was chosen, in a sentence.
    """

    decision_threshold: float
    energy_profile: str = DEFAULT_PROFILE.name
    class_names: tuple[str, ...] = ()
    data: DataConfig | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the threshold inf becomes null."""
        threshold = self.decision_threshold
        data = self.data and self.data.model_copy(update={"root": None}).model_dump(mode="json")
        return {
            "version": FORMAT_VERSION,
            "decision_threshold": threshold if math.isfinite(threshold) else None,
            "energy_profile": self.energy_profile,
            "class_names": list(self.class_names),
            "data": data,
            "note": self.note,
        }

    def write(self, folder: Path) -> Path:
        """Write it to a network's folder, whole or not at all; where it is."""
        file = folder / DEPLOYMENT_FILE
        aside = file.with_name(f".{file.name}.part")
        aside.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        os.replace(aside, file)
        return file

    @classmethod
    def read(cls, folder: Path) -> Deployment | None:
        """What a network's folder says of it; None where it says nothing.

        Raises:
            UserError: the file is damaged, or of another version.
        """
        file = folder / DEPLOYMENT_FILE
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: cannot be read: {error}") from None
        if not isinstance(found, dict) or found.pop("version", None) != FORMAT_VERSION:
            raise UserError(f"{file}: not of format version {FORMAT_VERSION}; write it anew")
        if found.get("decision_threshold", 0) is None:
            found["decision_threshold"] = math.inf
        try:
            deployment = pydantic.TypeAdapter(cls).validate_python(found)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{file}: {where}: {first['msg']}") from None
        if deployment.energy_profile not in PROFILES:
            raise UserError(
                f"{file}: energy_profile: {deployment.energy_profile!r} is not known; known are "
                f"{', '.join(PROFILES)}"
            )
        if math.isnan(deployment.decision_threshold):
            raise UserError(f"{file}: decision_threshold: is not a number")
        return deployment


@dataclass(frozen=True)
class Model:
    """Where a network's weights are, and what is known of it.

    Attributes:
        name: what it is called in figures and files.
        checkpoint: folder of its weights.
        study: configuration of the study that trained it; None where that is not there.
        record: its trial there.
        deployment: what its folder says of how it is run.
    """

    name: str
    checkpoint: Path
    study: StudyConfig | None = None
    record: TrialRecord | None = None
    deployment: Deployment | None = None

    @property
    def profile(self) -> EnergyProfile:
        """The energy profile of its figures."""
        if self.deployment is not None:
            return PROFILES[self.deployment.energy_profile]
        return PROFILES[self.study.energy.profile] if self.study else DEFAULT_PROFILE

    def load(self) -> LoadedNetwork:
        """The network with its weights.

        Raises:
            CheckpointError: a file is missing, damaged or not ours.
        """
        from latsearch.evaluation import load_checkpoint

        return load_checkpoint(self.checkpoint)

    def threshold(self) -> float:
        """The decision threshold it runs at: the one set for it, else its stored curve's knee.

        Raises:
            UserError: neither is there.
        """
        if self.deployment is not None:
            return self.deployment.decision_threshold
        curve = self.record.curve if self.record else None
        if curve is None:
            raise UserError(
                f"{self.name} has no decision threshold set; give --threshold, or have "
                "`latsearch recalibrate` set one"
            )
        return self.knee(curve)

    def knee(self, curve: DecisionCurve) -> float:
        """The decision threshold at the knee of one of its curves, by the study's objectives."""
        names = tuple(self.study.objectives) if self.study else _OBJECTIVES
        measured = tuple(name for name in names if name in _OBJECTIVES)
        constraints = self.study.constraints if self.study else {}
        row = knee_row(curve, measured or _OBJECTIVES, constraints)
        return float(curve.decision_threshold[row])

    def data(self, dataset: str) -> DataConfig:
        """The data set it was trained on, by the name in its checkpoint, and how that is split.

        Raises:
            UserError: the name alone does not say it.
        """
        if self.study is not None:
            return self.study.data
        if self.deployment is not None and self.deployment.data is not None:
            return self.deployment.data
        try:
            return DataConfig.model_validate({"name": dataset})
        except ValueError:
            raise UserError(
                f"the checkpoint was trained on {dataset}, whose settings are in its study alone; "
                "name the network as RUN:TRIAL"
            ) from None

    def class_names(self) -> tuple[str, ...]:
        """Names of its classes; empty where they have numbers alone, or nobody knows them."""
        from latsearch.data import load

        if self.deployment is not None:
            return self.deployment.class_names
        if self.study is None:
            return ()
        known = DATASETS[self.study.data.name]
        if known.class_names or known.info.classes is not None:
            return known.class_names
        try:  # the user's own files say it
            return load(self.study.data).class_names
        except DataError:
            return ()


def locate(model: str | Path, runs: Runs = DEFAULT_RUNS) -> Model:
    """Find a trained network.

    Args:
        model: a trial such as ``runs/digits:22``, or the folder of a checkpoint.
        runs: folder of all studies.

    Raises:
        UserError: there is no such network.
    """
    run, _, trial = str(model).rpartition(":")
    if run and trial.isdigit():
        study = Study.open(find_study(run, runs))
        record = next((r for r in study.trials() if r.number == int(trial)), None)
        if record is None:
            raise UserError(f"{study.folder}: there is no trial {trial}; try `latsearch front`")
        folder, name = study.checkpoint(record), f"{study.config.study}:{trial}"
        return Model(name, folder, study.config, record, Deployment.read(folder))
    folder = Path(model)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{model} is neither a trial, such as runs/digits:22, nor the folder of a checkpoint"
        )
    deployment = Deployment.read(folder)
    owner = next((p for p in folder.resolve().parents if Study.exists(p)), None)
    if owner is None:
        return Model(str(folder), folder, deployment=deployment)
    study = Study.open(owner)
    record = next((r for r in study.trials() if _is_of(r, owner, folder)), None)
    return Model(str(folder), folder, study.config, record, deployment)


def _is_of(record: TrialRecord, owner: Path, folder: Path) -> bool:
    checkpoint = record.checkpoint
    return checkpoint is not None and (owner / checkpoint).resolve() == folder.resolve()


@dataclass(frozen=True)
class Opened:
    """A network with the data set it was trained on.

    Attributes:
        model: where it is.
        network: the network.
        config: which data set, and how it is split.
        splits: its splits, recordings binned to the network's T frames.
    """

    model: Model
    network: LoadedNetwork
    config: DataConfig
    splits: Splits

    def threshold(self, wanted: float | None = None) -> float:
        """The decision threshold to run at.

        Args:
            wanted: by the user; None: the one set for the network, else the knee of the curve on
                the validation split.
        """
        if wanted is not None:
            return wanted
        if self.model.deployment is not None:
            return self.model.deployment.decision_threshold
        return self.model.knee(self.network.curve(self.splits.validation, self.model.profile))


def open_model(
    model: str | Path,
    runs: Runs = DEFAULT_RUNS,
    *,
    root: str | None = None,
    allow_code: bool = False,
    progress: Progress | None = None,
) -> Opened:
    """Load a network and the data set it was trained on.

    Args:
        model: a trial such as ``runs/digits:22``, or the folder of a checkpoint.
        runs: folder of all studies.
        root: folder that holds the data; None as in the study.
        allow_code: the user allows that Python code named in a study is run.
        progress: told of the preparation of data.

    Raises:
        UserError: there is no such network, its data are not there or are others.
    """
    from latsearch.data import load

    found = locate(model, runs)
    with allowing_code(allow_code):
        network = found.load()
    config = found.data(network.info.dataset)
    if root is not None:
        config = config.model_copy(update={"root": root})
    splits = load(config, allow_code=allow_code, progress=progress)
    splits = splits.at(network.info.trial.network.timesteps)
    if splits.input_shape != network.info.input_shape or splits.classes != network.info.classes:
        raise UserError(
            f"{model} takes {network.info.input_shape} and knows {network.info.classes} classes, "
            f"but {config.name} has {splits.input_shape} and {splits.classes}; is it other data?"
        )
    return Opened(found, network, config, splits)
