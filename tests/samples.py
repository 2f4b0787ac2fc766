"""A small data set for training tests: one bright bar a class, in noise."""

from __future__ import annotations

import numpy as np
import torch

from latsearch.data.splits import Samples, Splits

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it gives


def bars(count: int, seed: int, *, classes: int = 4, size: int = 8) -> Samples:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    images = random.integers(0, 90, (count, 1, size, size))
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label : 2 * label + 2] += 120
    frozen = Samples(images.astype(np.uint8), labels.astype(np.int64))
    frozen.images.flags.writeable = False
    frozen.labels.flags.writeable = False
    return frozen


def bar_splits(train: int = 96, validation: int = 40) -> Splits:
    samples = bars(train, 0)
    pixels = samples.images / 255
    return Splits(
        name="bars",
        train=samples,
        validation=bars(validation, 1),
        test=None,
        classes=4,
        mean=(float(pixels.mean()),),
        std=(float(pixels.std()),),
    )
