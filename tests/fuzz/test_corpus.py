"""What a campaign found stays mended, and a sample of every target's inputs is tried each time."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.fuzz.targets import accepted, targets

CORPUS = Path(__file__).parent / "corpus"
FOUND = sorted(file for file in CORPUS.rglob("*.bin"))
SAMPLE = 60


@pytest.mark.parametrize("file", FOUND, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_what_was_found_is_refused_in_words(file: Path, tmp_path: Path) -> None:
    target = next(t for t in targets().values() if t.name.replace(" ", "-") == file.parent.name)
    with warnings.catch_warnings(action="ignore"):
        accepted(target.open(tmp_path), file.read_bytes())


@pytest.mark.parametrize("name", targets())
def test_valid_inputs_are_taken(name: str, tmp_path: Path) -> None:
    target = targets()[name]
    for part in ("seeds", "work"):
        (tmp_path / part).mkdir()
    check = target.open(tmp_path / "work")
    taken = [accepted(check, seed) for seed in target.seeds(tmp_path / "seeds")]
    assert taken[0]  # others go with other files, or are faulty and damaged further


@pytest.mark.parametrize("name", targets())
def test_a_sample_of_damaged_inputs(name: str, tmp_path: Path) -> None:
    target = targets()[name]
    for part in ("seeds", "work"):
        (tmp_path / part).mkdir()
    seeds, check = target.seeds(tmp_path / "seeds"), target.open(tmp_path / "work")
    with warnings.catch_warnings(action="ignore"):
        refused = [not accepted(check, target.input(seeds, number)) for number in range(SAMPLE)]
    assert any(refused)
