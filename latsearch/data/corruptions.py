"""The 15 corruptions of Hendrycks and Dietterich (2019) at 5 severities.

`imagecorruptions-imaug` draws them with the severities of ImageNet-C; CIFAR-10-C was made with
milder constants of its own, so figures on the two are not comparable. Where the published folders
CIFAR-10-C and CIFAR-100-C are present, they can be read instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from latsearch.config.study import CorruptionName, RobustnessConfig
from latsearch.data.cache import Builder, cached
from latsearch.data.fingerprint import digest
from latsearch.data.known import Progress
from latsearch.data.locating import roots
from latsearch.data.splits import Samples
from latsearch.data.splitting import stratified
from latsearch.errors import DataError, UserError

GROUPS: Mapping[str, tuple[CorruptionName, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
CORRUPTIONS: tuple[CorruptionName, ...] = get_args(CorruptionName)
SEVERITIES = (1, 2, 3, 4, 5)

IMAGENET_C = "ImageNet-C's severities (imagecorruptions-imaug)"
PUBLISHED: Mapping[str, str] = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}

_PACKAGE = "imagecorruptions-imaug"
_SMALLEST = 32  # pixels; smaller images are padded, corrupted and cropped
_SEEDED = ("impulse_noise", "glass_blur")  # they draw from a seed of their own
_BLOCK = 256
_SAMPLE_SEED = (0, 2)  # any constant: all trials are measured on the same samples


@dataclass(frozen=True)
class CorruptedSet:
    """Samples under one corruption.

    Attributes:
        corruption: its name.
        severity: 1..5.
        samples: the corrupted samples, in the order of the clean ones.
    """

    corruption: str
    severity: int
    samples: Samples


def corrupt(
    images: NDArray[np.uint8], name: str, severity: int, seed: int = 0
) -> NDArray[np.uint8]:
    """Images under a corruption; NumPy's global generator is left as it was.

    Grey images are corrupted as RGB, and the green channel is kept: noise stays as strong as it is
    in one channel. Images below 32×32 pixels are padded with their border and cropped again.

    Args:
        images: ``[N, C, H, W]``, C = 1 or 3.
        name: one of `CORRUPTIONS`.
        severity: 1..5.
        seed: of what is drawn.

    Returns:
        uint8 of the same shape.

    Raises:
        UserError: the corruption library is not installed.
        ValueError: there is no such corruption or severity.
    """
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        raise ValueError(f"{name} at severity {severity} is no corruption")
    library = _library()
    height, width = images.shape[2:]
    below, right = max(0, _SMALLEST - height), max(0, _SMALLEST - width)
    padding = ((below // 2, below - below // 2), (right // 2, right - right // 2), (0, 0))
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        corrupted = np.empty_like(images)
        for index, image in enumerate(images):
            colour = np.repeat(image, 3, axis=0) if len(image) == 1 else image
            padded = np.pad(colour.transpose(1, 2, 0), padding, mode="edge")
            own = {"seed": int(np.random.randint(2**31))} if name in _SEEDED else {}
            shown = library.corrupt(padded, severity=severity, corruption_name=name, **own)
            cropped = shown[padding[0][0] :, padding[1][0] :][:height, :width]
            corrupted[index] = (
                cropped[None, ..., 1] if len(image) == 1 else cropped.transpose(2, 0, 1)
            )
    finally:
        np.random.set_state(state)
    return corrupted


def corrupted_sets(
    samples: Samples,
    names: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    progress: Progress | None = None,
) -> Iterator[CorruptedSet]:
    """Samples under each corruption at each severity, drawn once and kept in the cache.

    Args:
        samples: clean images.
        names: of the corruptions.
        severities: 1..5.
        progress: told of how far it is.

    Raises:
        UserError: the corruption library is not installed.
    """
    images = samples.images
    content = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
    total = len(names) * len(severities)
    for index, (name, severity) in enumerate((n, s) for n in names for s in severities):
        key = digest(content, list(images.shape), name, severity, _installed())

        def build(builder: Builder, name: str = name, severity: int = severity) -> None:
            for start in range(0, len(images), _BLOCK):
                block = images[start : start + _BLOCK]
                builder.append("images", corrupt(block, name, severity, seed=start))

        entry = cached(f"{name}-{severity}", key, build)
        yield CorruptedSet(name, severity, Samples(entry.array("images"), samples.labels))
        if progress is not None:
            progress("corruptions", index + 1, total)


def corrupted_sample(
    samples: Samples, config: RobustnessConfig, progress: Progress | None = None
) -> Samples:
    """Some of the samples under all corruptions at one severity, one corruption after the other.

    Args:
        samples: clean images, e.g. the validation split.
        config: how many, under which corruptions, at which severity.
        progress: told of how far it is.

    Raises:
        DataError: the samples are no images.
        UserError: the corruption library is not installed.
    """
    if samples.pixels.ndim != 4:
        raise DataError("robust_accuracy is measured on images; these samples are events")
    count = min(config.samples, len(samples))
    chosen = samples.take(stratified(samples.labels, count, _SAMPLE_SEED))
    names = config.corruptions or CORRUPTIONS
    sets = list(corrupted_sets(chosen, names, (config.severity,), progress))
    images = np.concatenate([one.samples.images for one in sets])
    return Samples(images, np.concatenate([one.samples.labels for one in sets]))


def published_folder(dataset: str, root: str | None) -> Path | None:
    """The folder CIFAR-10-C or CIFAR-100-C of a data set, where it is present."""
    name = PUBLISHED.get(dataset)
    if name is None:
        return None
    folders = (place / name for place in roots(root))
    return next((folder for folder in folders if (folder / "labels.npy").is_file()), None)


def published_sets(
    folder: Path,
    clean: Samples,
    names: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    progress: Progress | None = None,
) -> Iterator[CorruptedSet]:
    """The published corruptions of a test split.

    Args:
        folder: holds ``<corruption>.npy`` ``[5 N, 32, 32, 3]``, N images a severity, and
            ``labels.npy``.
        clean: all or some of the clean test split's N samples.
        names: of the corruptions.
        severities: 1..5.
        progress: told of how far it is.

    Raises:
        DataError: a file is missing or damaged, or does not belong to the test split.
    """
    whole = len(clean.pixels)
    rows = np.arange(whole) if clean.rows is None else clean.rows
    labels = _array(folder / "labels.npy", (len(SEVERITIES) * whole,))
    total = len(names) * len(severities)
    for index, (name, severity) in enumerate((n, s) for n in names for s in severities):
        shape = (len(SEVERITIES) * whole, *clean.sample_shape[1:], clean.sample_shape[0])
        images = _array(folder / f"{name}.npy", shape)
        chosen = (severity - 1) * whole + rows
        if not np.array_equal(labels[chosen], clean.labels):
            raise DataError(f"{folder / 'labels.npy'} has other labels than the test split")
        pixels = np.ascontiguousarray(images[chosen].transpose(0, 3, 1, 2))
        yield CorruptedSet(name, severity, Samples(pixels, clean.labels))
        if progress is not None:
            progress(f"reading {folder.name}", index + 1, total)


def _array(file: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        array: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # numpy raises what it likes at damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file} is damaged ({reason[:300]}); replace it") from None
    if array.shape != shape:
        raise DataError(f"{file} has the shape {array.shape}, not {shape}; replace it")
    if array.dtype != np.uint8:
        raise DataError(f"{file} holds {array.dtype}, not uint8; replace it")
    return array


def _installed() -> str:
    _library()
    return version(_PACKAGE)


def _library() -> Any:
    try:
        import imagecorruptions
    except ImportError:
        raise UserError(
            "corruptions need imagecorruptions-imaug: pip install 'latsearch[corruptions]'"
        ) from None
    return imagecorruptions
