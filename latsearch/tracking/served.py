"""A registered model: the code that MLflow keeps beside the weights and runs to load them.

No pickle is involved: this file is copied into the model, the weights are safetensors. Loading
needs latsearch installed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from latsearch.config import PROFILES
from latsearch.config.code import allowing_code
from latsearch.evaluation import load_checkpoint


class OperatingPointModel(PythonModel):  # type: ignore[misc]
    """A network that decides at its first output spike, at one decision threshold.

    The model's configuration holds ``decision_threshold`` (null: the readout at the last timestep)
    and ``energy_profile``; ``mlflow.pyfunc.load_model(uri, model_config={…})`` overrides them.
    A network that is the user's own code is loaded with ``{"allow_code": True}`` alone.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights, once."""
        settings = context.model_config
        threshold = settings["decision_threshold"]
        self._threshold = math.inf if threshold is None else float(threshold)
        self._profile = PROFILES[settings["energy_profile"]]
        with allowing_code(settings.get("allow_code") is True):
            self._network = load_checkpoint(Path(context.artifacts["checkpoint"]))

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,  # the one hint that MLflow takes
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Decide images ``[N, C, H, W]``.

        Returns:
            Columns ``prediction`` (class), ``decision_time`` (timestep of the first output spike),
            ``energy`` (nJ up to it) and ``silent`` (no output spiked, it is the readout at T).
        """
        decision, energy = self._network.predict(model_input, self._threshold, self._profile)
        return pd.DataFrame(
            {
                "prediction": decision.prediction,
                "decision_time": decision.decision_time,
                "energy": energy,
                "silent": decision.silent,
            }
        )


set_model(OperatingPointModel())
