"""`latsearch reproduce`: a trial trained once more from its record, and compared bit by bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latsearch.errors import LatsearchError, UserError
from latsearch.runs import DEFAULT_RUNS, Runs, find_study
from latsearch.search.storage import Study
from latsearch.search.trials import SCREENED, TrialRecord

if TYPE_CHECKING:
    from latsearch.data import Progress
    from latsearch.objectives import EpochReport
    from latsearch.training import Trainer


@dataclass(frozen=True)
class Reproduction:
    """What came of training a trial once more.

    Attributes:
        trial: number of the trial.
        epochs: epochs that were trained and compared; all were equal but the last one, where
            there is a difference.
        weights: how many digests of weights were among what was compared.
        difference: the first difference, in words; None where everything is equal.
        causes: what may have made it, the likeliest first; empty where everything is equal.
    """

    trial: int
    epochs: int
    weights: int
    difference: str | None
    causes: tuple[str, ...] = ()


def reproduce(
    run: str | Path,
    trial: int,
    runs: Runs = DEFAULT_RUNS,
    *,
    allow_code: bool = False,
    progress: Progress | None = None,
) -> Reproduction:
    """Train a trial once more as its record says, and compare each epoch's curve and weights.

    It stops at the first difference. Nothing of the study is changed.

    Args:
        run: folder or name of the study.
        trial: number of the trial.
        runs: folder of all studies.
        allow_code: the user allows that Python code named in the study is run.
        progress: told of the preparation of the data, and of the epochs.

    Raises:
        StudyError: there is no such study.
        UserError: there is no such trial, it reported nothing, or its device is not here.
    """
    from latsearch.config.code import allowing_code
    from latsearch.search.worker import limit_threads, repeatable

    study = Study.open(find_study(run, runs))
    record = next((r for r in study.trials() if r.number == trial), None)
    if record is None:
        raise UserError(f"{study.folder}: there is no trial {trial}; `latsearch front` lists them")
    if not record.log:
        raise UserError(f"trial {trial} of {study.folder} reported nothing ({record.reason})")
    first = record.log[min(record.log)].get("ran") or {}
    config = study.config
    deterministic = bool(first.get("deterministic", config.run.deterministic))
    limit_threads(first.get("threads", config.resources.cpus_per_trial), deterministic=bool(first))
    with repeatable(deterministic), allowing_code(allow_code):
        return _compare(study, record, allow_code, progress)


def _compare(
    study: Study, record: TrialRecord, allow_code: bool, progress: Progress | None
) -> Reproduction:
    from latsearch.search.provenance import code_commit, provenance

    trainer = _trainer(study, record, allow_code, progress)
    here = provenance(0, str(trainer.device), 1, commit=code_commit())
    weights = 0
    for epoch, entry in sorted(record.log.items()):
        wrote, last = _attempts(record, epoch)
        trainer.parts = last.get("parts", 1)
        found = _step(trainer)
        # what an attempt wrote that was given up, and taken up again with smaller batches, is no
        # figure of the training that went on
        superseded = wrote.get("parts", 1) != trainer.parts
        if isinstance(found, str) or not superseded:
            difference = found if isinstance(found, str) else _difference(entry, found, trainer)
            if difference is not None:
                words = f"epoch {epoch}: {difference}"
                return Reproduction(record.number, epoch, weights, words, _causes(wrote, here))
            weights += "weights" in entry
        if progress is not None:
            progress(f"trial {record.number}", epoch, record.epoch)
    return Reproduction(record.number, record.epoch, weights, None)


def _attempts(record: TrialRecord, epoch: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Where the attempt ran that wrote an epoch's report, and the last that trained the epoch."""
    known = [(e, log["ran"]) for e, log in sorted(record.log.items()) if log.get("ran")]
    wrote: list[Mapping[str, Any]] = [ran for told, ran in known if told <= epoch]
    trained: list[Mapping[str, Any]] = [ran for _, ran in known if ran["from_epoch"] <= epoch]
    return (wrote or [{}])[-1], (trained or [{}])[-1]


def _step(trainer: Trainer) -> EpochReport | str:
    """The next epoch's report, or how the training failed."""
    try:
        return trainer.step()
    except (LatsearchError, RuntimeError, MemoryError) as error:
        first = (str(error).splitlines() or [""])[0]
        return f"it was trained, now it fails: {type(error).__name__}: {first}"


def _trainer(
    study: Study, record: TrialRecord, allow_code: bool, progress: Progress | None
) -> Trainer:
    from latsearch.config import PROFILES
    from latsearch.data import load
    from latsearch.data.corruptions import corrupted_sample
    from latsearch.search.driver import training_seed
    from latsearch.search.worker import device_for
    from latsearch.training import Trainer

    config = study.config
    splits = load(config.data, allow_code=allow_code, progress=progress).without_test()
    robust = None if config.robust is None else corrupted_sample(splits.validation, config.robust)
    trial = config.space.trial(record.values)
    ran = record.log[min(record.log)].get("ran") or {}
    return Trainer(
        trial,
        splits,
        seed=ran.get("seed", training_seed(config.search.seed, record.number)),
        profile=PROFILES[config.energy.profile],
        device=device_for(config.resources.gpus_per_trial),
        robust=robust,
        screening=config.search.screening if SCREENED in record.log else None,
    )


def _difference(entry: Mapping[str, Any], found: EpochReport, trainer: Trainer) -> str | None:
    """The first difference of a report from the record's; None where they are equal."""
    for words in _curve_differences(entry["curve"], found.curve.to_json()):
        return words
    loss = found.to_json()["metrics"].get("train_loss")
    if loss != entry["metrics"].get("train_loss"):
        return f"train_loss was {entry['metrics'].get('train_loss')}, now {loss}"
    then, now = entry.get("weights"), trainer.weights_digest()
    if then is not None and then != now:
        return f"the curve is equal, but the weights were {then[:12]}…, now {now[:12]}…"
    return None


def _curve_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Where two curves differ, as JSON has them."""
    rows = len(then["kind"]), len(now["kind"])
    if rows[0] != rows[1]:
        yield f"the curve had {rows[0]} rows, now {rows[1]}"
        return
    for column in (name for name in then if name in now and name != "traits"):
        for row, (was, became) in enumerate(zip(then[column], now[column], strict=True)):
            if was != became:
                yield f"row {row} of the curve: {column} was {was}, now {became}"


def _causes(then: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[str, ...]:
    """What may have made a difference: in what the two places differ."""
    from latsearch.search.provenance import differences

    if not then:
        return ("it is not recorded where the trial ran: its study is of an older latsearch",)
    if differing := differences(then, here):
        return tuple(differing)
    if here["device"] != "cpu" and not here["deterministic"]:
        return ("a GPU adds in any order: search with --deterministic",)
    return ("nothing that is recorded differs: the data, or a change of code without a commit",)
