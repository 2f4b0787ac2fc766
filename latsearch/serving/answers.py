"""The JSON that a server answers with, and its examples in the OpenAPI description."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from latsearch.inputs import InputShape


class Prediction(BaseModel):
    """What the network says of one image."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"prediction": 3, "class_name": "3", "decision_time": 1, "silent": False}]
        }
    )

    prediction: int = Field(description="class, 0..K-1")
    class_name: str = Field(description="its name; the number where it has none")
    decision_time: int = Field(description="timestep of the first output spike, 1..T")
    silent: bool = Field(description="no output spiked: the readout at T decided")


class Predictions(BaseModel):
    """What it says of each image of a batch, in order."""

    predictions: list[Prediction]


class Health(BaseModel):
    """Whether the server can answer, and how much waits."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ok", "waiting": 0, "images": 12, "batches": 5}]}
    )

    status: str
    waiting: int = Field(description="images that wait for the network")
    images: int = Field(description="images decided since the start")
    batches: int = Field(description="batches that they went through in")


class Info(BaseModel):
    """The network and the limits of the server."""

    name: str
    input_shape: list[int] = Field(description="[C, H, W] of an image, [T, P, H, W] of a recording")
    classes: int
    class_names: list[str]
    timesteps: int
    rule: str = Field(description="what decides")
    decision_threshold: float | None = Field(description="null: the readout at T")
    weights: str
    dataset: str
    limits: dict[str, float] = Field(description="of a request")
    card: dict[str, Any] | None = Field(description="the model card; null where there is none")


class Refusal(BaseModel):
    """Why a request was not answered."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"detail": "image: [28, 28], but the network takes [C, H, W] = [1, 8, 8]"}]
        }
    )

    detail: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "not an image, damaged, or not JSON"},
    408: {"model": Refusal, "description": "the body did not arrive in time"},
    413: {"model": Refusal, "description": "the body, the image or the batch is too large"},
    415: {"model": Refusal, "description": "an unknown content type or encoding"},
    422: {"model": Refusal, "description": "wrong shape, NaN, values out of range"},
    503: {
        "model": Refusal,
        "description": "too much waits; try again after the seconds of Retry-After",
        "headers": {"Retry-After": {"schema": {"type": "integer"}}},
    },
}


def request_body(wanted: InputShape, *, batch: bool) -> dict[str, Any]:
    """The body of a prediction in OpenAPI, with an example that the network takes."""
    field = "images" if batch else "image"
    black: Any = 0
    for size in reversed(wanted.shape):
        black = [black] * size
    binary = {"type": "string", "format": "binary"}
    several = {"type": "array", "items": binary}
    value = [black, black] if batch else black
    content: dict[str, Any] = {
        "application/json": {
            "schema": {
                "type": "object",
                "required": [field],
                "additionalProperties": False,
                "properties": {
                    field: {
                        "type": "array",
                        "items": {},
                        "description": f"{'[N, …] of ' if batch else ''}{wanted}: "
                        "integers 0 to 255, or floats 0 to 1",
                    }
                },
            },
            "example": {field: value},
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": several if batch else binary},
            }
        },
        "application/octet-stream": {"schema": binary},
    }
    if not batch:
        content["image/png"] = content["image/jpeg"] = {"schema": binary}
    return {"requestBody": {"required": True, "content": content}}
