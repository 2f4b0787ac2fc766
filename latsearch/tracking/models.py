"""MLflow's model registry as `register` uses it. Importing this imports mlflow.

A version is a model as code (`served.py`), never a pickle: loading one runs that file and reads
safetensors.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow.pyfunc
import numpy as np
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from latsearch import __version__
from latsearch.errors import StudyError
from latsearch.objectives import OperatingPoint
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord
from latsearch.snn.checkpoint import CONFIG_FILE, MODEL_FILE, read_info
from latsearch.tracking import layout
from latsearch.tracking.attachments import checkpoint_files
from latsearch.tracking.client import Tracker
from latsearch.tracking.known import Known
from latsearch.tracking.retrained import Retrained

_CODE = Path(__file__).with_name("served.py")
_MISSING = "RESOURCE_DOES_NOT_EXIST"
_FIGURES = ("accuracy", "latency", "energy", "silent_fraction")
_OUTPUT = Schema(
    [
        ColSpec(DataType.long, "prediction"),
        ColSpec(DataType.long, "decision_time"),
        ColSpec(DataType.double, "energy"),
        ColSpec(DataType.boolean, "silent"),
    ]
)

logging.getLogger("mlflow.pyfunc").setLevel(logging.ERROR)  # it advises on type hints


class Registry:
    """One registered model, made where it is missing.

    Args:
        study: the study that its versions come from.
        uri: tracking URI of the store.
        name: name of the registered model.

    Attributes:
        name: that name.
    """

    def __init__(self, study: Study, uri: str, name: str):
        self.name = name
        self._study = study
        tracker = Tracker(uri, study.config.study, None, lambda: None)
        self._experiment = tracker.experiment_id
        self._known = Known.read(tracker, study.name)
        self._client = MlflowClient(uri)
        self._aliases = self._open()

    def version_of(self, point: OperatingPoint, retrained: Retrained | None = None) -> int | None:
        """The version that runs at this point already."""
        wanted = self._identity(point, retrained)
        for found in self._client.search_model_versions(f"name = '{self.name}'"):
            if wanted.items() <= dict(found.tags).items():
                return int(found.version)
        return None

    def create(
        self, point: OperatingPoint, record: TrialRecord, retrained: Retrained | None = None
    ) -> int:
        """Add a version for a point.

        Args:
            point: the operating point.
            record: the trial that found it.
            retrained: the network to take in place of the trial's own.

        Raises:
            StudyError: the trial is not published yet, or its weights are gone.
        """
        run_id = self._source_run(point, retrained)
        title = layout.point_name(point)
        tags = self._identity(point, retrained)
        with TemporaryDirectory(prefix="latsearch-") as folder:
            path = self._save(Path(folder), point, record, retrained)
            model = self._client.create_logged_model(
                self._experiment,
                name=title.replace("@", "at").replace(".", "_"),  # MLflow forbids the others
                source_run_id=run_id,
                tags=tags,
                params=layout.params(point.params, self._study.config),
                model_type="latency-coded network",
            )
            self._client.log_model_artifacts(model.model_id, str(path))
        self._client.finalize_logged_model(model.model_id, "READY")
        version = self._client.create_model_version(
            self.name,
            # not models:/ID, which an sqlite store would look for in the global tracking URI
            model.artifact_location,
            run_id,
            tags={**tags, **_figures(point), **(retrained.tags if retrained else {})},
            description=self._description(point, retrained),
            await_creation_for=0,  # it is there at once
            model_id=model.model_id,
        )
        return int(version.version)

    def set_aliases(self, version: int, aliases: Sequence[str]) -> None:
        """Have the aliases point to a version."""
        for alias in aliases:
            if self._aliases.get(alias) != version:
                self._client.set_registered_model_alias(self.name, alias, str(version))
                self._aliases[alias] = version

    def _open(self) -> dict[str, int]:
        """The model's aliases; it is made where it is missing."""
        try:
            found = self._client.get_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != _MISSING:
                raise
            description = f"Members of the Pareto front of {self._study.config.study}, by latsearch"
            self._client.create_registered_model(self.name, description=description)
            return {}
        return {alias: int(version) for alias, version in found.aliases.items()}

    def _identity(self, point: OperatingPoint, retrained: Retrained | None) -> dict[str, str]:
        """What no other point has in common with this one."""
        return {
            layout.STUDY_ID: self._study.name,
            layout.TRIAL_ID: str(point.trial),
            # a retrained network's point is a row of no curve in the study
            layout.ROW: str(point.row) if retrained is None else f"{retrained.name}.{point.row}",
            "latsearch.epoch": str(point.epoch),
            **({"latsearch.weights": retrained.weights} if retrained else {}),
        }

    def _source_run(self, point: OperatingPoint, retrained: Retrained | None) -> str:
        """The point's run, or its trial's where a long curve was thinned, or it was retrained."""
        own = None if retrained else self._known.points.get((point.trial, point.row))
        for found in (own, self._known.trials.get(point.trial)):
            if found is not None:
                return found.run_id
        raise StudyError(
            f"trial {point.trial} is not in MLflow yet; the running search publishes it, so try "
            "again in a minute"
        )

    def _save(
        self,
        folder: Path,
        point: OperatingPoint,
        record: TrialRecord,
        retrained: Retrained | None,
    ) -> Path:
        """Write the model to a folder of this machine; where in it."""
        threshold = point.decision_threshold
        own = nullcontext(retrained.folder) if retrained else None
        with own or checkpoint_files(self._study, record) as found:
            if found is None:
                raise StudyError(f"trial {point.trial}: its weights are gone")
            kept = folder / "checkpoint"
            kept.mkdir()
            for file in (MODEL_FILE, CONFIG_FILE):
                shutil.copyfile(found / file, kept / file)
        info = read_info(kept)
        # event frames have their timesteps in front
        frames = () if info.duration_ms is None else (info.trial.network.timesteps,)
        shape = (*frames, *info.input_shape)
        images = TensorSpec(np.dtype(np.uint8), (-1, *shape))
        path = folder / "model"
        mlflow.pyfunc.save_model(
            path,
            python_model=str(_CODE),
            artifacts={"checkpoint": str(kept)},
            model_config={
                "decision_threshold": threshold if math.isfinite(threshold) else None,
                "energy_profile": self._study.config.energy.profile,
                "allow_code": False,
            },
            signature=ModelSignature(Schema([images]), _OUTPUT),
            input_example=np.zeros((1, *shape), np.uint8),
            pip_requirements=[f"latsearch=={__version__}"],
        )
        return path

    def _description(self, point: OperatingPoint, retrained: Retrained | None) -> str:
        figures, unit = point.metrics, self._study.config.unit("latency")
        how = f", trained anew with seed {retrained.seed}" if retrained else ""
        return (
            f"{layout.point_name(point)} of {self._study.name}{how}: accuracy "
            f"{figures['accuracy']:.2%}, latency {figures['latency']:.3f} {unit}, energy "
            f"{figures['energy']:,.1f} nJ on the validation split. Takes uint8 images "
            "`[N, C, H, W]` or event frames `[N, T, P, H, W]`, answers with `prediction`, "
            "`decision_time` (timestep), `energy` (nJ) and `silent`."
        )


def _figures(point: OperatingPoint) -> dict[str, str]:
    figures = {name: f"{point.metrics[name]:.6g}" for name in _FIGURES}
    return {"decision_threshold": f"{point.decision_threshold:.6g}", **figures}
