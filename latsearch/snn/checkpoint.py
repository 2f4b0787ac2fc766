"""Checkpoints: a folder of ``model.safetensors``, ``config.json`` and, to go on, ``state.pt``.

No pickle is read: weights are safetensors, the state is loaded by torch with ``weights_only``.
A folder is complete or absent: it is written aside and moved into place. ``config.json`` has the
digests of all three, so that a damaged file is an error and not another network.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pydantic
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from latsearch.config.trial import TrialConfig
from latsearch.errors import LatsearchError, UserError

FORMAT_VERSION = 1
MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
STATE_FILE = "state.pt"
_LARGEST_CONFIG = 1_000_000  # bytes; ours have some thousand
_LARGEST_AXIS = 2**16
DIGESTS = "sha256"
_CHANGED = "it is not what was written"


class CheckpointError(LatsearchError):
    """A checkpoint that is missing, damaged or not ours."""


class NewerCheckpoint(CheckpointError, UserError):
    """A checkpoint in a format that this version does not know."""


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
        weights: what the weights are; ``int8``: folded and quantised, for inference alone.
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
    weights: Literal["float32", "int8"] = "float32"

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the format's version."""
        return {"version": FORMAT_VERSION, **asdict(self)}


def write_checkpoint(
    folder: Path,
    info: CheckpointInfo,
    weights: dict[str, Tensor],
    state: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint, replacing one of the same name.

    Args:
        folder: the checkpoint's folder; its parents are made.
        info: its description.
        weights: the network's state dict.
        state: what training needs beside them to go on; None where it has ended.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    aside.mkdir()
    try:
        contiguous = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        # as bytes: a full disk is an OSError of ours, neither torch's nor safetensors' kind
        files = {MODEL_FILE: safetensors.torch.save(contiguous)}
        if state is not None:
            buffer = io.BytesIO()
            torch.save(state, buffer)
            files[STATE_FILE] = buffer.getvalue()
        for name, data in files.items():
            (aside / name).write_bytes(data)
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        description = info.to_json()
        text = json.dumps({**description, DIGESTS: _with_own(description, digests)}, indent=1)
        (aside / CONFIG_FILE).write_text(text + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Digest of a state dict: equal where every bit of every tensor is."""
    seen = hashlib.sha256()
    for name, value in sorted(weights.items()):
        seen.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        seen.update(flat.view(torch.uint8).numpy().tobytes())
    return seen.hexdigest()


def read_info(folder: Path) -> CheckpointInfo:
    """Description of the checkpoint in a folder.

    Raises:
        CheckpointError: it is missing, damaged, or of another version.
    """
    file = folder / CONFIG_FILE
    try:
        with file.open("rb") as stream:
            text = stream.read(_LARGEST_CONFIG + 1)
        if len(text) > _LARGEST_CONFIG:
            raise CheckpointError(f"{file}: is larger than 1 MB, so no latsearch checkpoint")
        data = json.loads(text)
        digests = data.pop(DIGESTS, None)
        whole = digests is None or digests == _with_own(data, digests)
        version = data.pop("version")
        if version != FORMAT_VERSION:
            raise NewerCheckpoint(
                f"{file}: written in format {version}, this latsearch reads {FORMAT_VERSION}; "
                "install the version that wrote it"
            )
        info = _checked(_adapter().validate_python(data), file)
        if not whole:
            raise CheckpointError(f"{file}: damaged: {_CHANGED}")
        return info
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror}") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{file}: {where}: {first['msg']}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{file}: not a latsearch checkpoint ({error})") from error


@cache
def _adapter() -> pydantic.TypeAdapter[CheckpointInfo]:
    return pydantic.TypeAdapter(CheckpointInfo)


def _checked(info: CheckpointInfo, file: Path) -> CheckpointInfo:
    """Refuse what no network is of; the network itself refuses the rest."""
    channels = info.input_shape[0]
    for name, good, rule in (
        ("input_shape", all(1 <= n <= _LARGEST_AXIS for n in info.input_shape), "1 to 65536"),
        ("classes", 2 <= info.classes <= _LARGEST_AXIS, "2 to 65536"),
        (
            "mean",
            len(info.mean) == channels and all(map(math.isfinite, info.mean)),
            "one a channel",
        ),
        ("std", len(info.std) == channels and all(0 < s < math.inf for s in info.std), "positive"),
    ):
        if not good:
            found = str(getattr(info, name))[:80]
            raise CheckpointError(f"{file}: {name}: {found}; expected {rule}: the file is damaged")
    return info


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Weights of the checkpoint in a folder, on the CPU.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    file = folder / MODEL_FILE
    _check(file)
    try:
        weights: dict[str, Tensor] = safetensors.torch.load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file}: {(str(error).splitlines() or [''])[0]}") from error
    return weights


def read_state(folder: Path) -> dict[str, Any]:
    """State of the training in a folder's checkpoint, on the CPU.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    file = folder / STATE_FILE
    _check(file)
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no error class of its own
        raise CheckpointError(f"{file}: {(str(error).splitlines() or [''])[0]}") from error
    return state


def load_weights(network: torch.nn.Module, folder: Path) -> None:
    """Load a checkpoint's weights into a network of its configuration.

    Args:
        network: one on the device ``meta`` gets its memory only once the weights are known to fit:
            a description may speak of a network that no memory holds.
        folder: the checkpoint's.

    Raises:
        CheckpointError: the file is missing or damaged, or does not fit the network.
    """
    weights, wanted = read_weights(folder), network.state_dict()
    misfit = CheckpointError(
        f"{folder / MODEL_FILE}: the weights do not fit the network of {CONFIG_FILE}"
    )
    if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in wanted.items()}:
        raise misfit
    if any(parameter.is_meta for parameter in network.parameters()):
        network.to_empty(device="cpu")
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise misfit from error


def _with_own(description: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, str]:
    """Digests of the files, and that of the description itself."""
    text = json.dumps(description, sort_keys=True)
    return {**digests, CONFIG_FILE: hashlib.sha256(text.encode()).hexdigest()}


def _check(file: Path) -> None:
    """Check a file against its digest; a checkpoint of an earlier version has none.

    Raises:
        CheckpointError: it is missing, or damaged.
    """
    try:
        with (file.parent / CONFIG_FILE).open("rb") as stream:
            description = json.loads(stream.read(_LARGEST_CONFIG))
        digest = description.get(DIGESTS, {})[file.name]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return  # an earlier version's; what is wrong with the description, `read_info` says
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise CheckpointError(f"{file}: damaged ({len(data)} bytes): {_CHANGED}")
