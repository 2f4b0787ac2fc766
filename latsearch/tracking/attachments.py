"""Files that are attached to MLflow's runs: curves, traces, tables (no mlflow)."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from latsearch.config import StudyConfig
from latsearch.errors import StudyError
from latsearch.objectives import DecisionCurve, OperatingPoint
from latsearch.reporting import point_row, row_columns, write_csv, write_json
from latsearch.search.provenance import git
from latsearch.search.storage import Study
from latsearch.search.trials import TrialRecord
from latsearch.tracking.picture import trial_picture

Attach = Callable[[Study, Path], None]  # writes further files of a study into a folder

_PACKAGES = ("latsearch", "torch", "ray", "optuna", "mlflow", "numpy", "moocore")


@contextmanager
def trial_files(record: TrialRecord, config: StudyConfig) -> Iterator[Path | None]:
    """A temporary folder with what belongs to an ended trial; None where nothing does."""
    curve = record.curve
    with TemporaryDirectory(prefix="latsearch-") as name:
        folder = Path(name)
        if curve is not None:
            (folder / "decision_curve.json").write_text(json.dumps(curve.to_json()) + "\n")
            write_csv(curve.rows(), _columns(curve), folder / "decision_curve.csv")
        picture = trial_picture(record, config)
        if picture is not None:
            (folder / "decision.svg").write_text(picture, encoding="utf-8")
        if record.reason:
            text = "\n\n".join(part for part in (record.reason, record.trace) if part)
            (folder / "trace.txt").write_text(text + "\n", encoding="utf-8")
        yield folder if curve is not None or record.reason else None


@contextmanager
def checkpoint_files(study: Study, record: TrialRecord) -> Iterator[Path | None]:
    """A temporary folder with a trial's network, but not its optimiser; None where it is gone."""
    with TemporaryDirectory(prefix="latsearch-") as name:
        folder = Path(name)
        try:
            kept = study.checkpoint(record)
            for file in ("model.safetensors", "config.json"):
                shutil.copyfile(kept / file, folder / file)
        except (StudyError, FileNotFoundError):  # the search may be tidying up at this moment
            yield None
        else:
            yield folder


def environment() -> dict[str, str]:
    """Where a study is published from: host system, Python, packages."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": str(os.cpu_count()),
    }
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def git_commit() -> str | None:
    """Commit of the working folder; None where it is under no version control."""
    return git("rev-parse", "HEAD")


def study_files(front: Sequence[OperatingPoint], config: StudyConfig, folder: Path) -> None:
    """Write what belongs to a study: the resolved YAML and the front as a table."""
    resolved = yaml.safe_dump(
        config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )
    (folder / "study.yaml").write_text(resolved, encoding="utf-8")
    pareto = folder / "pareto"
    pareto.mkdir()
    rows = [point_row(point, config) for point in front]
    write_csv(rows, row_columns(config), pareto / "front.csv")
    write_json(rows, pareto / "front.json")


def _columns(curve: DecisionCurve) -> Sequence[str]:
    return list(curve.to_json())
