"""A study's data set as MLflow has data sets: an input of its runs (no mlflow)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from latsearch.config import StudyConfig
from latsearch.data.catalogue import DATASETS

CONTEXT_TAG, CONTEXT = "mlflow.data.context", "training"  # in MLflow's words; validation included


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A data set; the fields are MLflow's, texts and JSON.

    Attributes:
        name: as written in the YAML.
        digest: of how it was chosen and split; the samples themselves are not read for it.
        source_type: who knows where it comes from.
        source: how it was chosen and split.
        schema: shape and type of its samples; None where the user's files say it.
        profile: its sizes.
    """

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None
    profile: str


def dataset_of(config: StudyConfig) -> DatasetSpec:
    """The data set that a study searches on."""
    # where a machine keeps it is no property of a data set
    chosen = config.data.model_dump(mode="json", exclude={"root"})
    source = json.dumps(chosen, sort_keys=True)
    info = DATASETS[config.data.name].info
    sizes = {"classes": info.classes, "train": info.train, "test": info.test}
    return DatasetSpec(
        name=config.data.name,
        digest=hashlib.sha256(source.encode()).hexdigest()[:12],
        source_type="latsearch",
        source=source,
        schema=None if info.shape is None else _schema(info.shape),
        profile=json.dumps({**sizes, "validation": config.data.validation}),
    )


def _schema(shape: tuple[int, int, int]) -> str:
    features = _tensor("uint8", (-1, *shape))
    return json.dumps(
        {"mlflow_tensorspec": {"features": features, "targets": _tensor("int64", (-1,))}}
    )


def _tensor(dtype: str, shape: tuple[int, ...]) -> str:
    return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}])
