"""MATLAB files: SciPy writes them, and tells what is in them."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.io import loadmat, savemat

from latsearch.data.matlab import read_matlab

KINDS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
NUMBERS = st.sampled_from(KINDS).flatmap(
    lambda kind: arrays(kind, array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=5))
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["X", "y", "longer_name"]), NUMBERS), st.booleans())
def test_what_scipy_wrote_is_read_as_scipy_reads_it(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, np.ndarray], packed: bool
) -> None:
    file = tmp_path_factory.mktemp("matlab") / "a.mat"
    savemat(file, {**content, "text": "words", "cells": [{"a": 1}]}, do_compression=packed)
    found, told = read_matlab(file, ("X", "longer_name")), loadmat(file)
    assert found.keys() == content.keys() & {"X", "longer_name"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, told[name])
        assert array.shape == told[name].shape


@pytest.mark.parametrize("packed", [True, False])
def test_a_file_that_ends_early_is_an_error_wherever_it_ends(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / "a.mat"
    savemat(file, {"X": np.arange(24.0).reshape(2, 3, 4)}, do_compression=packed)
    whole = file.read_bytes()
    for length in [*range(128), *range(129, len(whole))]:
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"it ends within|no MATLAB file"):
            read_matlab(file, ("X",))


def test_a_bit_that_flipped_in_a_packed_array_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.mat"
    savemat(file, {"X": np.arange(24.0).reshape(2, 3, 4)}, do_compression=True)
    whole = file.read_bytes()
    for place in range(136, len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
        with pytest.raises((ValueError, zlib.error)):
            read_matlab(file, ("X",))


@pytest.mark.parametrize("value", ["words", 1j * np.ones((2, 2)), {"field": 1.0}])
def test_what_holds_no_real_numbers_is_an_error(tmp_path: Path, value: object) -> None:
    savemat(tmp_path / "a.mat", {"X": value})
    assert read_matlab(tmp_path / "a.mat", ("y",)) == {}
    with pytest.raises(ValueError, match="X holds no real numbers"):
        read_matlab(tmp_path / "a.mat", ("X",))
