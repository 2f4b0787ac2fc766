"""latbench: the shipped tables are whole, the recorder records what the trainer reports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

from latbench.contest import Limits, PeerRun, run_ours  # noqa: E402
from latbench.ours import variant  # noqa: E402
from latbench.peers import Encoding, Told, _ranks, make_peer  # noqa: E402
from latbench.scoring import THRESHOLDS, Judge, row_at  # noqa: E402
from latbench.summary import figures, ratio  # noqa: E402
from latbench.table import TEST, VALIDATION, Table  # noqa: E402

from latsearch.search.simulate import Cluster  # noqa: E402

GRID = """
version: 1
study: tiny
data: {name: digits, validation: 0.25}
network: {family: mlp, timesteps: 2, width: 2, hidden: 8, stem_stride: {choices: [1, 2]}}
train: {epochs: 2, batch_size: 64, precision: fp32, compile: never}
search: {trials: 2}
"""


@pytest.fixture(scope="module")
def digits() -> Table:
    return Table(FOLDER / "latbench" / "digits.parquet")


@pytest.fixture(scope="module")
def judge(digits: Table) -> Judge:
    return Judge(digits, 0, digits.about["reference"])


def record(*arguments: str) -> None:
    program = FOLDER / "latbench" / "record.py"
    subprocess.run([sys.executable, str(program), *arguments], check=True, capture_output=True)


@pytest.mark.slow
def test_recording_goes_on_where_it_was_killed_and_packs_what_trainings_report(tmp_path):
    from latsearch.config import PROFILES, parse_study
    from latsearch.data import load
    from latsearch.training import train

    (tmp_path / "tiny.yaml").write_text(GRID)
    grid, parts, packed = (str(tmp_path / name) for name in ("tiny.yaml", "parts", "tiny.parquet"))
    record(grid, "--parts", parts, "--seeds", "2", "--workers", "1")
    (tmp_path / "parts" / "tiny-1-00001.part").unlink()
    with pytest.raises(subprocess.CalledProcessError):
        record(grid, "--parts", parts, "--seeds", "2", "--pack", packed)
    kept = (tmp_path / "parts" / "tiny-0-00000.part").stat().st_mtime_ns
    record(grid, "--parts", parts, "--seeds", "2", "--workers", "1")
    record(grid, "--parts", parts, "--seeds", "2", "--pack", packed)
    assert (tmp_path / "parts" / "tiny-0-00000.part").stat().st_mtime_ns == kept

    table, config = Table(Path(packed)), parse_study(GRID)
    splits, found = load(config.data), []
    trial = config.space.trial({"network.stem_stride": 2})
    profile = PROFILES[config.energy.profile]
    train(trial, splits.without_test(), found.append, seed=1, profile=profile)
    recorded = table.reports(table.number_of(trial), 1)
    assert [report.epoch for report in recorded] == [1, 2]
    for ours, again in zip(recorded, found, strict=True):
        for column in ("accuracy", "latency", "silent_fraction", "accuracy_silent_wrong"):
            np.testing.assert_allclose(getattr(ours.curve, column), getattr(again.curve, column))
        np.testing.assert_allclose(ours.curve.energy, again.curve.energy, rtol=1e-4)
        assert ours.curve.kind == again.curve.kind


@pytest.mark.parametrize(("name", "trainings"), [("digits", 864), ("fashion_mnist", 96)])
def test_the_shipped_grid_is_whole(name, trainings):
    table = Table(FOLDER / "latbench" / f"{name}.parquet")
    assert table.size == trainings == int(table.study.space.size)
    for configuration in range(table.size):
        assert table.number(table.values(configuration)) == configuration
        for seed in range(2):
            assert table.epochs_of(configuration, seed) == table.epochs
            for split in (VALIDATION, TEST):
                curve = table.curve(configuration, seed, table.epochs, split)
                assert curve.kind[-1] == "readout"
                assert (np.diff(curve.decision_threshold) >= 0).all()
                assert ((curve.accuracy >= 0) & (curve.accuracy <= 1)).all()
                assert (curve.latency >= 1).all()
    assert (table.seconds > 0).all()


def test_the_whole_table_scores_one(judge: Judge):
    table = judge.table
    rows = [judge.rows(c, table.epochs) for c in range(table.size)]
    assert judge.share(np.concatenate(rows)) == pytest.approx(1.0)
    assert 0.95 < judge.attainable <= 1.0


@pytest.mark.parametrize("full", [True, False])
def test_nobody_is_there_before_enough_trainings_have_ended(judge: Judge, full: bool):
    table, seconds = judge.table, judge.table.seconds[judge.seen]
    ends = seconds.sum(axis=1, keepdims=True) if full else seconds.cumsum(axis=1)

    def share(until: float) -> float:
        counted = np.argwhere(ends <= until)
        rows = [judge.rows(int(c), table.epochs if full else int(e) + 1) for c, e in counted]
        return judge.share(np.concatenate(rows))

    moment = judge.earliest(0.9, full=full)
    assert share(moment + 1e-9) >= 0.9 > share(moment - 1e-6)


def test_the_row_at_a_threshold_is_the_last_one_not_above_it(judge: Judge):
    curve = judge.validation(5, 12)
    assert row_at(curve, float("inf")) == len(curve) - 1
    for threshold in THRESHOLDS:
        row = row_at(curve, threshold)
        assert row == 0 or curve.decision_threshold[row] <= threshold
        assert row == len(curve) - 1 or curve.decision_threshold[row + 1] > threshold


def test_random_search_costs_what_its_trainings_cost(judge: Judge):
    for curves in (True, False):
        peer = make_peer("random", Encoding(judge.table.axes, not curves), 3, 12)
        run = PeerRun(judge, peer, 1, curves)
        run.run(Limits(2.0, np.inf, trainings=5))
        assert run.score.trainings == 5
        # no configuration twice within five draws of this seed: the clock is the compute
        assert run.compute == pytest.approx(run.now)
        assert 5 * 0.2 < run.compute < 5 * 1.0


class _Stubborn:
    """Proposes one configuration again and again."""

    reports = False

    def __init__(self, values):
        self._values = values

    def ask(self):
        return None, self._values, None

    def report(self, handle, told: Told) -> bool:
        return True

    def tell(self, handle, told: Told) -> None:
        assert told.epoch == 12


def test_repeats_are_not_charged(judge: Judge):
    run = PeerRun(judge, _Stubborn(judge.table.values(7)), 1, True)
    score = run.run(Limits(2.0, np.inf))
    assert score.trainings == 1
    assert run.compute == pytest.approx(judge.table.seconds[0, 7].sum())


@pytest.mark.parametrize("workers", [1, 8])
def test_our_search_is_repeated_exactly(judge: Judge, workers):
    config = variant("ours").study(judge.table.study, 3, 864)
    runs = [
        run_ours(judge, config, Limits(0.85, np.inf, 40), Cluster(workers)).history
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert runs[0][-1][3] > 0.6


def test_corrected_ranks_put_fronts_in_order():
    losses = np.random.default_rng(0).random((40, 3))
    ranks = _ranks(losses)
    assert sorted(ranks) == list(range(40))
    better = (losses[:, None] <= losses[None]).all(-1) & (losses[:, None] < losses[None]).any(-1)
    for winner, loser in np.argwhere(better):
        assert ranks[winner] < ranks[loser]


def test_figures_compare_medians_of_common_seeds():
    def line(method, setting, seed, compute):
        return {
            "method": method, "setting": setting, "seed": seed, "workers": 1,
            "compute": compute, "table_cost": 100.0,
        }  # fmt: skip

    lines = [line("ours", "same curves", seed, 2.0 + seed) for seed in range(3)]
    lines += [line("random", "same curves", seed, 10.0) for seed in range(3)]
    lines += [line("random", "as documented", seed, None) for seed in range(3)]
    lines += [line("optuna-gp", "same curves", seed, 6.0) for seed in range(3)]
    lines += [line("optuna-gp", "as documented", seed, 30.0) for seed in range(3)]
    found = figures(lines)
    assert found["compute_vs_best_peer_same_curves"] == pytest.approx(0.5)
    assert found["compute_vs_best_peer_as_documented"] == pytest.approx(0.1)
    assert found["compute_vs_random_as_documented"] == pytest.approx(0.03)
    assert found["best_peer"] == "optuna-gp"
    assert ratio({0: 1.0}, {1: 1.0}) is None
    json.dumps(found)
