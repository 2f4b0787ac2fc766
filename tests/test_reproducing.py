"""The same seed gives the same study, and a trial's record the same training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from latsearch import api
from latsearch.config import parse_study
from latsearch.errors import UserError
from latsearch.reproducing import _attempts, reproduce
from latsearch.search.driver import Event, Observer, Search, TrialReported
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState
from tests.test_cli import latsearch

SPACE = """
version: 1
study: same
data: {name: digits, validation: 60, train_samples: 200}
network: {family: mlp, timesteps: {low: 1, high: 3}, width: 4, hidden: {low: 8, high: 16}}
train: {epochs: 3, batch_size: 32, lr: {low: 1e-3, high: 1e-2, log: true}}
search: {trials: 9, seed: 4, sampler: curves, stopping: {min_epochs: 1, reduction_factor: 2}}
run: {checkpoint_every: 2}
tracking: {enabled: false}
"""


def searched(runs: Path, name: str, watch: api.Watch | None = None, **options: Any) -> Path:
    """A study searched in this process."""
    api.run(parse_study(SPACE), api.RunOptions(study=name, runs=runs, workers=0, **options), watch)
    return runs / name


def interrupting(number: int, epoch: int) -> api.Watch:
    """Ctrl-C after an epoch of a trial."""

    @contextmanager
    def watch(study: Study, search: Search, workers: int) -> Iterator[Observer]:
        def observe(event: Event) -> None:
            if not isinstance(event, TrialReported):
                return
            if (event.number, event.report.epoch) == (number, epoch):
                raise KeyboardInterrupt

        yield observe

    return watch


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("runs"), "whole")


def test_one_seed_is_one_study_across_interrupts(study: Path, tmp_path: Path) -> None:
    """The sampler that weighs costs, and early stopping, included."""
    complete = next(r.number for r in Study.open(study).trials()[4:] if r.epoch == 3)
    for number, epoch in ((1, 1), (complete, 2), (7, 1)):
        with suppress(KeyboardInterrupt):
            searched(tmp_path, "cut", interrupting(number, epoch))
    cut = searched(tmp_path, "cut")
    assert api.status(cut).fingerprint == api.status(study).fingerprint
    assert len(Study.open(cut)._study.user_attrs) > len(Study.open(study)._study.user_attrs)
    other = searched(tmp_path, "other", seed=5)
    assert api.status(other).fingerprint != api.status(study).fingerprint


def test_every_trial_says_where_it_ran(study: Path) -> None:
    for record in Study.open(study).trials():
        ran = record.log[1]["ran"]
        assert {"latsearch", "python", "torch", "numpy"} <= ran["versions"].keys()
        assert (ran["device"], ran["threads"], ran["parts"]) == ("cpu", 1, 1)
        assert ran["processor"]
        assert isinstance(ran["seed"], int)
        assert "commit" in ran
        assert "ran" not in record.log.get(2, {})
        assert len(record.log[record.epoch]["weights"]) == 64


def test_a_trial_is_trained_again_to_the_same_bits(study: Path) -> None:
    records = Study.open(study).trials()
    by_state = {record.state: record for record in records}
    assert by_state.keys() == {TrialState.COMPLETE, TrialState.PRUNED}
    before = (study / "study.journal").read_bytes()
    for record in by_state.values():
        found = reproduce(study, record.number)
        assert found.difference is None
        assert found.epochs == record.epoch
        assert found.weights == sum("weights" in entry for entry in record.log.values()) > 0
    assert (study / "study.journal").read_bytes() == before


Change = Callable[[dict[str, Any]], None]


def rewritten(study: Path, folder: Path, change: Change) -> Path:
    """A copy of the study in which every report was changed."""
    folder.mkdir()
    (folder / "study.json").write_text((study / "study.json").read_text())
    lines = []
    for line in (study / "study.journal").read_text().splitlines():
        entry = json.loads(line)
        for key, value in entry.get("user_attr", {}).items():
            if key.startswith("report:"):
                change(value)
        lines.append(json.dumps(entry))
    (folder / "study.journal").write_text("\n".join(lines) + "\n")
    return folder


def test_a_difference_is_told_with_its_likely_cause(study: Path, tmp_path: Path) -> None:
    def elsewhere(report: dict[str, Any]) -> None:
        if "ran" in report:
            report["ran"]["versions"]["torch"] = "1.13"
            report["ran"]["processor"] = "abacus"
        report["curve"]["accuracy"][1] = 0.123

    changed = rewritten(study, tmp_path / "elsewhere", elsewhere)
    done = latsearch("reproduce", changed, 0)
    assert done.returncode == 1
    first, *causes = done.stdout.splitlines()
    assert first.startswith("different: trial 0, epoch 1: row 1 of the curve: accuracy was 0.123")
    assert causes[0].startswith("likely cause: torch 1.13, then ")
    assert causes[1].startswith("likely cause: processor abacus, then ")
    assert len(causes) == 2


def test_weights_are_compared_too(study: Path, tmp_path: Path) -> None:
    def other_weights(report: dict[str, Any]) -> None:
        if "weights" in report:
            report["weights"] = "0" * 64

    found = reproduce(rewritten(study, tmp_path / "weights", other_weights), 0)
    assert "the curve is equal, but the weights were 000000000000…" in str(found.difference)
    assert found.causes == (
        "nothing that is recorded differs: the data, or a change of code without a commit",
    )


def test_a_record_of_an_older_version_has_curves_alone(study: Path, tmp_path: Path) -> None:
    def older(report: dict[str, Any]) -> None:
        report.pop("ran", None)
        report.pop("weights", None)

    found = reproduce(rewritten(study, tmp_path / "older", older), 0)
    assert (found.difference, found.weights) == (None, 0)


def test_a_trial_that_is_not_there_is_one_line(study: Path) -> None:
    with pytest.raises(UserError, match="there is no trial 99"):
        reproduce(study, 99)


def test_what_was_given_up_is_not_taken_for_the_training() -> None:
    whole, split = {"from_epoch": 1, "parts": 1}, {"from_epoch": 3, "parts": 2}
    # epochs 3 and 4 were reported, then memory ran out: they were trained again, in parts
    log: dict[int, Any] = {1: {"ran": whole}, 2: {}, 3: {}, 4: {}, 5: {"ran": split}, 6: {}}
    record = TrialRecord(0, TrialState.COMPLETE, {}, log)
    assert [_attempts(record, e)[0]["parts"] for e in log] == [1, 1, 1, 1, 2, 2]
    assert [_attempts(record, e)[1]["parts"] for e in log] == [1, 1, 2, 2, 2, 2]


@pytest.mark.slow
def test_deterministic_trainings_do_not_depend_on_how_many_run(tmp_path: Path) -> None:
    space = SPACE.replace("curves, stopping: {min_epochs: 1, reduction_factor: 2}", "qmc")
    (tmp_path / "same.yaml").write_text(space)
    prints = {}
    for workers in (0, 1, 2):
        words = ("--workers", workers, "--study", f"with-{workers}", "--trials", 6)
        done = latsearch("run", "same.yaml", "--deterministic", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "runs" / f"with-{workers}"
        records = Study.open(folder).trials()
        assert all(record.log[1]["ran"]["deterministic"] for record in records)
        prints[workers] = api.status(folder).fingerprint
    assert len(set(prints.values())) == 1, prints
