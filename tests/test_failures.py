"""Trials that fail on real Ray: each is failed or tried again, and none stops the study."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from latsearch.config import StudyConfig, parse_study
from latsearch.data import Splits, load
from latsearch.errors import StudyFailed
from latsearch.reporting import study_front, study_status
from latsearch.reproducing import reproduce
from latsearch.search.deaths import Coroner, Watchdog, last_words
from latsearch.search.driver import Search
from latsearch.search.nodes import RayNodes
from latsearch.search.reference import reference_point
from latsearch.search.sampler import sampler_for
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord, TrialState
from latsearch.search.worker import MakeWork, out_of_memory, settings_for
from tests.search import failing
from tests.test_cli import latsearch


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with RayNodes(1 << 20) as found:
        found.wait()
        yield found


def search_on(
    nodes: RayNodes,
    folder: Path,
    make_work: MakeWork,
    *,
    timeout: float | None = None,
    **search: object,
) -> Study:
    """A study searched on Ray with two workers; what they do is up to ``make_work``."""
    from latsearch.search.engine import run_on_ray

    config, splits = prepared(**search)
    study = Study.create(folder, config, reference_point(config, splits))
    run_on_ray(
        Search(study, sampler_for(config, study.reference)),
        splits,
        settings_for(study),
        nodes.resources(config, 2),
        timeout=timeout,
        deadline=None,
        make_work=make_work,
    )
    return study


def prepared(**search: object) -> tuple[StudyConfig, Splits]:
    config = parse_study(failing.SPACE)
    config = config.model_copy(update={"search": config.search.model_copy(update=search)})
    return config, load(config.data).without_test()


def test_every_kind_of_failure_is_its_trial_s_alone(nodes: RayNodes, tmp_path: Path) -> None:
    study = search_on(nodes, tmp_path / "study", failing.Failing)
    found: dict[str, TrialRecord] = dict(zip(failing.KINDS, study.trials(), strict=True))
    complete = {kind for kind, r in found.items() if r.state is TrialState.COMPLETE}
    assert complete == {"well", "memory", "gpu memory", "killed"}
    assert all(sorted(found[kind].log) == [1, 2, 3] for kind in complete)
    assert {kind: found[kind].attempts for kind in failing.KINDS} == {
        "well": 0, "exception": 0, "nan": 0, "memory": 2, "gpu memory": 1, "killed": 1
    }  # fmt: skip
    assert (found["memory"].parts, found["gpu memory"].parts, found["killed"].parts) == (4, 2, 1)
    assert [found["memory"].log[epoch]["ran"]["parts"] for epoch in (1, 2)] == [1, 4]
    for kind in ("memory", "killed"):  # from the record: in as many parts, from the same epoch on
        assert reproduce(study.folder, found[kind].number).difference is None
    failed = found["exception"], found["nan"]
    assert failed[0].reason == "KeyError: 'no such layer'"
    assert "_fail" in str(failed[0].trace)
    assert str(failed[1].reason).startswith("TrainingError: the loss is not finite in epoch 2")
    for record in failed:
        assert record.state is TrialState.FAILED
        assert record.ran is not None
        assert record.ran["versions"]["torch"] == torch.__version__
        text = (study.failures / f"{record.number:05d}.txt").read_text()
        assert text.startswith(str(record.reason))
        assert "Traceback" in text
    assert failing.leave(study.folder) == ["00001.txt", "00002.txt"]
    on_front = {point.trial for point in study_front(study, study.trials())}
    assert on_front
    assert not on_front & {record.number for record in failed}
    assert list(study_status(study).why.values()) == [1, 1]


@pytest.mark.slow
def test_a_study_in_which_everything_fails_stops_with_the_cause(
    nodes: RayNodes, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    with pytest.raises(StudyFailed) as caught:
        search_on(nodes, folder, failing.Broken, trials=60)
    first, *rest = str(caught.value).splitlines()
    assert not rest
    assert "the first 5 trials all failed alike: OSError: disk" in first
    assert first.endswith(f"traces: {folder / 'failures'}")
    assert len(Study.open(folder).trials()) <= 7  # two more may have started
    assert len(failing.leave(folder)) == 5


@pytest.mark.slow
def test_a_training_that_hangs_is_ended_and_goes_on(nodes: RayNodes, tmp_path: Path) -> None:
    study = search_on(nodes, tmp_path / "study", failing.Hanging, timeout=20, trials=1)
    (record,) = study.trials()
    assert (record.state, record.attempts) == (TrialState.COMPLETE, 1)
    assert sorted(record.log) == [1, 2, 3]
    assert failing.leave(study.folder) == []


@pytest.mark.slow
def test_a_worker_that_the_memory_monitor_kills_gets_smaller_batches(tmp_path: Path) -> None:
    space = failing.SPACE.replace("retries: 2", "retries: 1").replace("trials: 6", "trials: 1")
    (tmp_path / "failing.yaml").write_text(space)
    done = subprocess.run(
        [sys.executable, "-m", "latsearch", "run", "failing.yaml", "--workers", "1"],
        cwd=tmp_path,
        # Ray kills every worker as soon as 1 % of the memory is in use
        env={
            **os.environ,
            "RAY_memory_usage_threshold": "0.01",
            "RAY_memory_monitor_refresh_ms": "100",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "runs low on memory, 2 times, at last with batches in 2 parts" in done.stderr
    assert "next time with batches in 2 parts" in done.stdout
    text = (tmp_path / "runs" / "failing" / "failures" / "00000.txt").read_text()
    assert "Memory usage" in text
    assert "COMMAND" not in text  # command lines of other processes stay out of it


def test_every_word_for_lack_of_memory_is_known() -> None:
    attempts = (
        lambda: torch.empty(1 << 58, dtype=torch.uint8),
        lambda: np.empty(1 << 58, dtype=np.uint8),
        lambda: bytearray(1 << 62),
    )
    for attempt in attempts:
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            attempt()
        assert out_of_memory(caught.value), caught.value
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(KeyError("CUDA out of memory"))


WHOLE = """
import resource, sys
import torch
from pathlib import Path
from latsearch.config import parse_study
from latsearch.data.splits import Samples, Splits
from latsearch.search.driver import Search
from latsearch.search.inline import run_inline
from latsearch.search.provenance import versions
from latsearch.search.sampler import sampler_for
from latsearch.search.storage import Study
from latsearch.search.worker import settings_for
import numpy as np

torch.set_num_threads(1)
numbers = np.random.default_rng(0)
def samples(count):
    return Samples(numbers.integers(0, 255, (count, 1, 32, 32), dtype=np.uint8),
                   numbers.integers(0, 2, count))
splits = Splits("noise", samples(512), samples(16), None, 2, (0.5,), (0.5,))
config = parse_study('''
version: 1
study: large
data: {name: digits}
network: {family: mlp, timesteps: 8, width: 32, hidden: 8}
train: {epochs: 1, batch_size: 512, precision: fp32, compile: never}
search: {trials: 1}
run: {retries: 6}
''')
study = Study.create(Path(sys.argv[1]), config, {"accuracy": 0.5, "latency": 8.0, "energy": 1e9})
versions()  # what it imports is there before memory is short
# the whole batch takes 1.3 GB besides, a half 0.8, a quarter 0.5
size = int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (size + (950 << 20),) * 2)
run_inline(Search(study, sampler_for(config, study.reference)), splits, settings_for(study), None)
(record,) = study.trials()
print(record.state, record.parts, record.attempts)
"""


@pytest.mark.slow
def test_a_batch_that_does_not_fit_into_memory_is_trained_in_parts(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WHOLE, str(tmp_path / "study")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    state, parts, attempts = done.stdout.split()
    assert state == "complete", done.stderr
    assert int(parts) >= 2
    assert int(parts) == 2 ** int(attempts)


def test_a_hanging_process_says_what_it_was_doing(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from latsearch.search.deaths import Watchdog\n"
        "def waits_for_ever():\n    time.sleep(600)\n"
        "with Watchdog(Path(sys.argv[1]), 3, 0.2):\n    waits_for_ever()\n"
    )
    folder = tmp_path / "failures"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], timeout=120)
    assert done.returncode == 1
    death = Coroner(folder, 0.2).examine(3, "Ray's words")
    assert death.reason == "no report within run.timeout = 0.2 s"
    assert "waits_for_ever" in str(death.trace)
    assert not last_words(folder, 3).exists()
    assert "died" in Coroner(folder, 0.2).examine(3, "Ray's words").reason


def test_a_watchdog_that_was_not_needed_leaves_nothing(tmp_path: Path) -> None:
    watchdog = Watchdog(tmp_path / "failures", 3, 600.0)
    with watchdog:
        pass
    watchdog.close()
    assert list((tmp_path / "failures").iterdir()) == []


def test_what_the_kernel_killed_is_told_from_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    from latsearch.search import deaths

    counts = iter([3, 3, 4])
    monkeypatch.setattr(deaths, "killed_for_memory", lambda: next(counts))
    coroner = Coroner(None, None)
    assert coroner.examine(0, None) == deaths.Death(
        "its worker process died (killed, or crashed)", False, None
    )
    assert coroner.examine(0, None).memory


@pytest.mark.slow
def test_the_command_line_says_in_one_line_why_all_failed(tmp_path: Path) -> None:
    space = failing.SPACE.replace("trials: 6", "trials: 40").replace(
        "sampler: random", "sampler: random, stopping: {min_epochs: 1}"
    )
    # its five poolings leave nothing of 8 x 8 pixels: no output ever spikes
    space = space.replace(", hidden: {low: 8, high: 16}", "").replace("mlp", "vgg11")
    (tmp_path / "failing.yaml").write_text(space)
    done = latsearch("run", "failing.yaml", "--workers", 0, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "stopped, for the first 5 trials all failed alike: silent after epoch 1" in done.stderr
    assert "traces: runs/failing/failures" in done.stderr
    status = latsearch("status", "failing", cwd=tmp_path)
    assert "5 × silent after epoch #" in status.stdout
