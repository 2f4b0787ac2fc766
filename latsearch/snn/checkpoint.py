"""Checkpoints: a folder of ``model.safetensors``, ``config.json`` and, to go on, ``state.pt``.

No pickle is read: weights are safetensors, the state is loaded by torch with ``weights_only``.
A folder is complete or absent: it is written aside and moved into place.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pydantic
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from latsearch.config.trial import TrialConfig
from latsearch.errors import LatsearchError

FORMAT_VERSION = 1
MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
STATE_FILE = "state.pt"


class CheckpointError(LatsearchError):
    """A checkpoint that is missing, damaged or not ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo:
    """What a checkpoint's ``config.json`` says.

    Attributes:
        trial: configuration of network and training.
        input_shape: ``(C, H, W)`` of the images, ``(P, H, W)`` of event frames.
        classes: number of classes.
        mean: mean of the training pixels by channel, on the scale 0..1.
        std: their standard deviation by channel, on the scale 0..1.
        dataset: name of the data set.
        epoch: epochs trained.
        seed: seed of the training.
        duration_ms: milliseconds of a recording that its T frames cover; None for images.
    """

    trial: TrialConfig
    input_shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dataset: str
    epoch: int
    seed: int
    duration_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the format's version."""
        return {"version": FORMAT_VERSION, **asdict(self)}


def write_checkpoint(
    folder: Path, info: CheckpointInfo, weights: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Write a checkpoint, replacing one of the same name.

    Args:
        folder: the checkpoint's folder; its parents are made.
        info: its description.
        weights: the network's state dict.
        state: what training needs beside them to go on.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    aside.mkdir()
    try:
        contiguous = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        safetensors.torch.save_file(contiguous, aside / MODEL_FILE)
        torch.save(state, aside / STATE_FILE)
        (aside / CONFIG_FILE).write_text(json.dumps(info.to_json(), indent=1) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_info(folder: Path) -> CheckpointInfo:
    """Description of the checkpoint in a folder.

    Raises:
        CheckpointError: it is missing, damaged, or of another version.
    """
    file = folder / CONFIG_FILE
    try:
        data = json.loads(file.read_text())
        version = data.pop("version")
        if version != FORMAT_VERSION:
            raise CheckpointError(f"{file}: format version {version}, expected {FORMAT_VERSION}")
        return pydantic.TypeAdapter(CheckpointInfo).validate_python(data)
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror}") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{file}: {where}: {first['msg']}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file}: not a latsearch checkpoint ({error})") from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Weights of the checkpoint in a folder, on the CPU.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    file = folder / MODEL_FILE
    try:
        weights: dict[str, Tensor] = safetensors.torch.load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file}: {str(error).splitlines()[0]}") from error
    return weights


def read_state(folder: Path) -> dict[str, Any]:
    """State of the training in a folder's checkpoint, on the CPU.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    file = folder / STATE_FILE
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no error class of its own
        raise CheckpointError(f"{file}: {(str(error).splitlines() or [''])[0]}") from error
    return state


def load_weights(network: torch.nn.Module, folder: Path) -> None:
    """Load a checkpoint's weights into a network of its configuration.

    Raises:
        CheckpointError: the file is missing or damaged, or does not fit the network.
    """
    try:
        network.load_state_dict(read_weights(folder))
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder / MODEL_FILE}: the weights do not fit the network of {CONFIG_FILE}"
        ) from error
