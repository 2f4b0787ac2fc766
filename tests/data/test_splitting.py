"""Splits: stratified, disjoint, repeatable, and the same whatever else is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latsearch.config import DataConfig
from latsearch.data.splits import Samples
from latsearch.data.splitting import split, statistics, stratified
from latsearch.errors import DataError
from tests.data.formats import images, numbers

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=200)


def samples(count: int, classes: int = 4, first: int = 0) -> Samples:
    return Samples(images(count, (1, 3, 3), first), np.arange(count) % classes)


@given(LABELS, st.data())
def test_every_class_gets_its_share(labels: list[int], data: st.DataObject) -> None:
    array = np.array(labels, dtype=np.int64)
    count = data.draw(st.integers(0, len(labels)))
    chosen = stratified(array, count, (data.draw(st.integers(0, 2**40)), 0))
    assert len(chosen) == len(set(chosen.tolist())) == count
    assert (np.diff(chosen) > 0).all()
    for kind in set(labels):
        share = (array == kind).sum() * count / len(labels)
        assert abs((array[chosen] == kind).sum() - share) < 1


@given(LABELS, st.integers(0, 2**40))
def test_a_choice_repeats_and_grows(labels: list[int], seed: int) -> None:
    array = np.array(labels, dtype=np.int64)
    whole = [set(stratified(array, count, (seed, 0)).tolist()) for count in range(len(labels) + 1)]
    again = [set(stratified(array, count, (seed, 0)).tolist()) for count in range(len(labels) + 1)]
    assert whole == again
    classes = len(set(labels))
    for fewer, more in zip(whole, whole[classes:], strict=False):
        assert len(fewer - more) <= classes


@given(
    st.integers(40, 120),
    st.one_of(st.floats(0.1, 0.5), st.integers(4, 30)),
    st.one_of(st.none(), st.integers(4, 10)),
    st.integers(0, 5),
)
def test_splits_are_disjoint(
    count: int, validation: float, train_samples: int | None, seed: int
) -> None:
    config = DataConfig(
        name="digits",
        validation=float(validation),
        train_samples=train_samples,
        split_seed=seed,
    )
    train, test = samples(count), samples(20, first=10_000)
    whole = split(config, train, test, 4)
    trained, validated = numbers(whole.train.images), numbers(whole.validation.images)
    assert not set(trained) & set(validated)
    assert whole.test is test
    assert len(validated) == (validation if validation >= 1 else round(validation * count))
    if train_samples is None:
        assert sorted(trained + validated) == list(range(count))
    else:
        assert len(trained) == train_samples
    for part in (whole.train, whole.validation):
        assert set(part.labels.tolist()) == {0, 1, 2, 3}
        assert (part.labels == np.array(numbers(part.images)) % 4).all()


def test_the_validation_split_depends_on_neither_subset_nor_test() -> None:
    def validation(**settings: object) -> list[int]:
        config = DataConfig(name="digits", validation=20.0, **settings)
        return numbers(split(config, samples(100), samples(20), 4).validation.images)

    assert validation() == validation(train_samples=10) == validation(train_samples=40)
    assert validation() != validation(split_seed=1)


def test_inputs_are_not_changed() -> None:
    train, test = samples(60), samples(20)
    for array in (train.images, train.labels, test.images, test.labels):
        array.setflags(write=False)
    split(DataConfig(name="digits", train_samples=10), train, test, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"validation": 100.0},
            "data.validation = 100 is 100 of 100 training samples, which leaves fewer than 4, one "
            "a class, to train on; give at most 96, or a fraction such as 0.2",
        ),
        (
            {"validation": 5000.0},
            "data.validation = 5000 is 5000 of 100 training samples, which leaves fewer than 4, "
            "one a class, to train on; give at most 96, or a fraction such as 0.2",
        ),
        (
            {"validation": 0.99},
            "data.validation = 0.99 is 99 of 100 training samples, which leaves fewer than 4, one "
            "a class, to train on; give at most 96, or a fraction such as 0.2",
        ),
        (
            {"validation": 0.001},
            "data.validation = 0.001 is 0 of 100 training samples, fewer than one of each of the "
            "4 classes; give more",
        ),
        (
            {"validation": 3.0},
            "data.validation = 3 is 3 of 100 training samples, fewer than one of each of the 4 "
            "classes; give more",
        ),
        (
            {"validation": 20.0, "train_samples": 81},
            "data.train_samples = 81 is above the 80 samples that validation leaves; give fewer, "
            "or null for all of them",
        ),
        (
            {"train_samples": 3},
            "data.train_samples = 3 is fewer than one of each of the 4 classes; give more",
        ),
    ],
)
def test_impossible_splits(settings: dict[str, float], message: str) -> None:
    with pytest.raises(DataError) as caught:
        split(DataConfig(name="digits", **settings), samples(100), samples(20), 4)
    assert str(caught.value) == message


@pytest.mark.parametrize("count", [1, 7, 4096, 5000])
@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_numpys(count: int, channels: int) -> None:
    pixels = images(count, (channels, 4, 4))
    mean, std = statistics(Samples(pixels, np.zeros(len(pixels), dtype=np.int64)))
    np.testing.assert_allclose(mean, (pixels / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, (pixels / 255).std(axis=(0, 2, 3)), rtol=1e-12)


def test_statistics_are_of_the_training_split() -> None:
    whole = split(DataConfig(name="digits", train_samples=10), samples(60), samples(20), 4)
    assert (whole.mean, whole.std) == statistics(whole.train)
