"""A study on its storage: the truth of which everything else is a view.

Optuna keeps it (a journal file in the study's folder, or a database): one persisted trial a
training, its values the knee row of its curve, its reports an append-only log in user attributes.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from latsearch import __version__
from latsearch.config import StudyConfig, Value, is_postgres, without_password
from latsearch.errors import StudyError
from latsearch.objectives import OBJECTIVES, EpochReport
from latsearch.search.checkpoints import Checkpoints, FolderCheckpoints, ObjectCheckpoints
from latsearch.search.database import PatientStorage, open_storage
from latsearch.search.distributions import distribution
from latsearch.search.formats import FORMAT, WRITER, read_config
from latsearch.search.header import HEADER, read_header, write_header
from latsearch.search.journal import Journal
from latsearch.search.lock import driver_of
from latsearch.search.mending import NUMBER, REPORT, VALUES, mend
from latsearch.search.objects import below
from latsearch.search.packed import PackedReport
from latsearch.search.results import knee_row
from latsearch.search.trials import TrialRecord, TrialState

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs every study and trial otherwise

_LOGGER = logging.getLogger("latsearch")

_JOURNAL = "study.journal"
_SESSION = "session:"

_STATES = {
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.WAITING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}


class Study:
    """A study that exists on its storage.

    Attributes:
        folder: the study's folder on this machine; a mirror, where the study is in object storage.
        checkpoints: where its checkpoints are.
        config: the configuration it goes on with.
        reference: the hypervolume's reference point by objective, fixed when it was created.
    """

    def __init__(
        self,
        folder: Path,
        config: StudyConfig,
        study: optuna.Study,
        header: Mapping[str, Any] | None = None,
    ):
        self.folder = folder
        self.config = config
        self.checkpoints = _checkpoints(folder, header or {})
        self._study = study
        self._url: str | None = (header or {}).get("storage")
        self.reference: Mapping[str, float] = study.user_attrs["reference"]
        self._sequence = 0
        self._ids: dict[int, int] = {}
        self._distributions = {p.name: distribution(p) for p in config.space.parameters}

    @property
    def name(self) -> str:
        """Name of the study that no other has, also where ``--fresh`` made one of its kind anew."""
        return self._study.study_name

    @property
    def storage(self) -> str | None:
        """URL of its database, without a password; None for a journal in the folder."""
        return self._url

    @property
    def exhausted(self) -> bool:
        """Whether every point of the space has its trial, so that no more are to come."""
        return bool(self._study.user_attrs.get("exhausted", False))

    def note_exhausted(self) -> None:
        """Note that every point of the space has its trial."""
        self._study.set_user_attr("exhausted", True)

    @property
    def validation_samples(self) -> int | None:
        """Number of samples that accuracies are measured on; None where nobody noted it."""
        return self._study.user_attrs.get("validation_samples")

    def note_validation_samples(self, count: int) -> None:
        """Note on how many samples accuracies are measured."""
        self._study.set_user_attr("validation_samples", count)

    @property
    def warm_start(self) -> Mapping[str, Any] | None:
        """What was taken from earlier studies, as `note_warm_start` got it; None for nothing."""
        return self._study.user_attrs.get("warm_start")

    def note_warm_start(self, taken: Mapping[str, Any]) -> None:
        """Keep what was taken from earlier studies: they may change, and this one goes on."""
        self._study.set_user_attr("warm_start", dict(taken))

    # --- making and opening ---------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        folder: Path,
        config: StudyConfig,
        reference: Mapping[str, float],
        home: str | None = None,
    ) -> Study:
        """Create the study in its folder, which may hold a driver's lock and nothing else.

        Args:
            folder: the study's folder.
            config: the study.
            reference: the hypervolume's reference point.
            home: where it is in object storage, of which the folder is a mirror; None: nowhere.
        """
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{config.study}@{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        url = None if config.storage is None else without_password(config.storage)
        header = {"version": FORMAT, "storage": url, "name": name}
        if home is not None:
            header |= {"home": home, "checkpoints": below(home, name.rpartition("@")[2])}
        study = optuna.create_study(
            storage=_storage(folder, url, drive=True),
            study_name=name,
            directions=[OBJECTIVES[o].direction for o in config.objectives],
        )
        study.set_user_attr("config", config.model_dump(mode="json"))
        study.set_user_attr("reference", dict(reference))
        study.set_user_attr("created", time.time())
        # written last, so that a creation that was killed is no study
        write_header(folder, header)
        return cls(folder, config, study, header)

    @classmethod
    def open(cls, folder: Path, *, drive: bool = False) -> Study:
        """Open the study in a folder.

        Args:
            folder: the study's folder.
            drive: whether the caller holds the driver's lock and is going to write.

        Raises:
            StudyError: there is none, or it is of a newer format, or its storage is damaged.
        """
        header = read_header(folder)
        if drive and header["storage"] is None:
            for line in mend(folder / _JOURNAL):
                _LOGGER.warning("%s", line)
        advice = ""
        if not drive and header["storage"] is None:
            advice = "; `latsearch run` mends what it can and says what is lost"
        try:
            study = optuna.load_study(
                study_name=header["name"], storage=_storage(folder, header["storage"], drive=drive)
            )
        except (KeyError, ValueError) as error:
            raise StudyError(f"{folder}: its storage is damaged or gone: {error}{advice}") from None
        missing = {"config", "reference", "created"} - study.user_attrs.keys()
        if missing:
            raise StudyError(
                f"{folder}: its storage is damaged: the study's {' and '.join(sorted(missing))} "
                "cannot be read, which all trials need; restore it from a backup, or start anew "
                "with --fresh"
            )
        config = read_config(study.user_attrs, folder, drive=drive)
        return cls(folder, config, study, header)

    @staticmethod
    def storage_of(folder: Path) -> str | None:
        """Where the study in a folder is stored: a URL without password, None for a journal.

        Raises:
            StudyError: there is no study, or it is of a newer format.
        """
        url: str | None = read_header(folder)["storage"]
        return url

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether a study was created in the folder."""
        return (folder / HEADER).is_file()

    def adopt(self, config: StudyConfig) -> None:
        """Go on with a configuration, which may differ in what a study does not depend on.

        Raises:
            StudyError: the space, the data or an objective differ.
        """
        changes = _differences(self.config.identity(), config.identity())
        if changes:
            raise StudyError(
                f"{self.folder}: this study was started with another configuration "
                f"({'; '.join(changes)}); start anew with --fresh, or name it with --study NAME"
            )
        # it stays where it was created
        self.config = config = config.model_copy(update={"storage": self._url})
        if config.model_dump(mode="json") != self._study.user_attrs["config"]:
            self._study.set_user_attr("config", config.model_dump(mode="json"))

    def start_session(self) -> int:
        """Note that a driver starts, repair what a killed one left; the driver's fencing token."""
        trials = self.trials()
        self._sequence = sum(len(trial.log) for trial in trials)
        token = 1 + sum(key.startswith(_SESSION) for key in self._study.user_attrs)
        self._study.set_user_attr(f"{_SESSION}{token:06d}", time.time())
        if self._study.user_attrs.get(WRITER) != __version__:
            self._study.set_user_attr(WRITER, __version__)
        if (database := self._database) is not None:
            database.fence(self._study._study_id, token)
        self._remove_loose_checkpoints(trials)
        return token

    # --- who drives it --------------------------------------------------------------------------

    def driver(self) -> str | None:
        """Who drives the study, e.g. ``pid 17 on host``; None where nobody does."""
        if not is_postgres(self._url):
            return driver_of(self.folder)
        from latsearch.search.advisory import database_driver

        return database_driver(str(self._url), self.name)

    @contextmanager
    def driven(self) -> Iterator[None]:
        """Drive the study for the life of the context; the folder's lock is held already.

        In PostgreSQL the study has a lock of its own: other machines may have the folder elsewhere.

        Raises:
            StudyError: somebody drives it.
        """
        database = self._database
        if database is None:
            yield
            return
        from latsearch.search.advisory import DatabaseLock

        with DatabaseLock(str(self._url), self.name, str(self.folder)) as lock:
            database.returned = lock.renew
            yield

    def delete(self) -> None:
        """Delete the study from a database; its folder is left."""
        if self._url is not None:
            optuna.delete_study(study_name=self.name, storage=self._study._storage)

    @property
    def _database(self) -> PatientStorage | None:
        """PostgreSQL behind Optuna's cache; None for any other storage."""
        backend = getattr(self._study._storage, "_backend", None)
        return backend if isinstance(backend, PatientStorage) else None

    # --- trials ---------------------------------------------------------------------------------

    def trials(self) -> list[TrialRecord]:
        """All trials by number."""
        frozen = self._study.get_trials(deepcopy=False)
        self._ids = {trial.number: trial._trial_id for trial in frozen}
        return [_record(trial) for trial in frozen]

    def new_trial(
        self, values: Mapping[str, Value], refused: Sequence[Mapping[str, Value]] = ()
    ) -> int:
        """Persist a running trial with these values; its number.

        Args:
            values: of its active parameters.
            refused: points that were refused without a training before it was found.
        """
        attributes: dict[str, Any] = {NUMBER: len(self._ids)}
        if refused:
            attributes["refused"] = [dict(point) for point in refused]
        trial = optuna.trial.create_trial(
            state=OptunaState.RUNNING,
            params=dict(values),
            distributions={name: self._distributions[name] for name in values},
            user_attrs=attributes,
        )
        # Optuna's ask would look through all trials, and write each parameter by itself
        trial_id = self._study._storage.create_new_trial(self._study._study_id, trial)
        number = self._study._storage.get_trial_number_from_id(trial_id)
        self._ids[number] = trial_id
        return number

    def append_report(
        self,
        number: int,
        report: EpochReport,
        token: int,
        decided: Mapping[str, Any] | None = None,
        values: Mapping[str, Value] | None = None,
    ) -> PackedReport:
        """Append a report to the log; the log's entry.

        Args:
            number: of the trial.
            report: to be appended.
            token: of the driver.
            decided: what was decided on it at a rung; None where there is none.
            values: the trial's parameters, with its first report: a second copy of them.
        """
        self._sequence += 1
        entry = {
            **report.to_json(), "sequence": self._sequence, "session": token, "time": time.time()
        }  # fmt: skip
        if decided is not None:
            entry["rung"] = dict(decided)
        if values is not None:
            entry[VALUES] = dict(values)
        key = f"{REPORT}{report.epoch:06d}"
        self._set(number, key, entry)
        if self._url is None:  # the journal's own, which is packed already, not a second one
            kept: PackedReport = self._study._storage.get_trial(self._ids[number]).user_attrs[key]
            return kept
        return PackedReport(entry)

    def note_checkpoint(
        self, number: int, epoch: int, entry: Mapping[str, Any], checkpoint: str | None
    ) -> PackedReport:
        """Note that a reported epoch has another checkpoint, or none any more; the log's entry."""
        changed = {**entry, "checkpoint": checkpoint}
        self._set(number, f"{REPORT}{epoch:06d}", changed)
        return PackedReport(changed)

    def count_attempt(self, number: int, attempts: int, parts: int = 1) -> None:
        """Note that a trial crashed for the ``attempts``-th time and is tried again.

        Args:
            number: of the trial.
            attempts: crashes so far.
            parts: in how many parts a batch is computed from now on.
        """
        self._set(number, "attempts", attempts)
        if parts > 1:
            self._set(number, "parts", parts)

    def end_trial(self, record: TrialRecord, state: TrialState) -> None:
        """Mark a trial with its full curve as complete or pruned."""
        curve = record.curve
        assert curve is not None
        row = knee_row(curve, tuple(self.config.objectives), self.config.constraints)
        if state is TrialState.PRUNED:  # Optuna takes no values of a pruned multi-objective trial
            self._end(record.number, OptunaState.PRUNED)
        else:
            values = [float(getattr(curve, name)[row]) for name in self.config.objectives]
            self._end(record.number, OptunaState.COMPLETE, values)

    def fail_trial(
        self, number: int, reason: str, trace: str | None, ran: Mapping[str, Any] | None = None
    ) -> None:
        """Mark a trial as failed.

        Args:
            number: of the trial.
            reason: in one line.
            trace: of the failure, if there is one; it is written to a file in `failures` too.
            ran: where the training ran, if that is known.
        """
        self._set(number, "reason", reason)
        if trace:
            self._set(number, "trace", trace)
        if ran:
            self._set(number, "ran", dict(ran))
        self._end(number, OptunaState.FAIL)
        with suppress(OSError):  # the storage has it: the file is for the user to read
            self.failures.mkdir(exist_ok=True)
            text = "\n\n".join(part for part in (reason, trace) if part)
            (self.failures / f"{number:05d}.txt").write_text(text + "\n", encoding="utf-8")

    def _end(self, number: int, state: OptunaState, values: list[float] | None = None) -> None:
        self._study._storage.set_trial_state_values(self._ids[number], state, values)

    def _set(self, number: int, key: str, value: Any) -> None:
        self._study._storage.set_trial_user_attr(self._ids[number], key, value)

    @property
    def failures(self) -> Path:
        """Folder of the traces of failed trials, ``00003.txt``; made with the first one."""
        return self.folder / "failures"

    # --- time -----------------------------------------------------------------------------------

    @property
    def created(self) -> float:
        """When the study was created, in seconds since 1970."""
        return float(self._study.user_attrs["created"])

    def seconds(self, trials: Sequence[TrialRecord]) -> float:
        """Wall time that drivers spent on the study, up to the last report of each."""
        ends: dict[int, float] = {}
        for trial in trials:
            for entry in trial.log.values():
                ends[entry["session"]] = max(ends.get(entry["session"], 0.0), entry["time"])
        starts = {
            int(key.removeprefix(_SESSION)): float(start)
            for key, start in self._study.user_attrs.items()
            if key.startswith(_SESSION)
        }
        return sum(max(0.0, end - starts.get(token, end)) for token, end in ends.items())

    # --- checkpoints ----------------------------------------------------------------------------

    def checkpoint(self, record: TrialRecord) -> Path:
        """Folder of the trial's newest checkpoint.

        Raises:
            StudyError: its weights were not kept.
        """
        folder = self.checkpoints.fetched(record.checkpoint) if record.checkpoint else None
        if folder is None:
            raise StudyError(
                f"trial {record.number}: its weights are not there (state {record.state}); only "
                f"front members and run.keep = {self.config.run.keep} trials keep theirs"
            )
        return folder

    def trim_checkpoints(self, record: TrialRecord, keep_weights: bool) -> None:
        """Drop what an ended trial needs no more: older checkpoints, optimiser state, weights."""
        newest = record.checkpoint
        self.checkpoints.remove_unfinished(record.number)
        for name in self.checkpoints.names(record.number):
            if name != newest or not keep_weights:
                self.checkpoints.remove(name)
        if newest is not None and keep_weights:
            self.checkpoints.drop_state(newest)

    def _remove_loose_checkpoints(self, trials: Sequence[TrialRecord]) -> None:
        """Remove checkpoints that no report points to: their driver died before the commit."""
        for trial in trials:
            if trial.state.finished:
                continue
            known = {entry["checkpoint"] for entry in trial.log.values()}
            self.checkpoints.remove_unfinished(trial.number)
            for name in self.checkpoints.names(trial.number):
                if name not in known:
                    self.checkpoints.remove(name)


def _checkpoints(folder: Path, header: Mapping[str, Any]) -> Checkpoints:
    if "checkpoints" in header:
        return ObjectCheckpoints(header["checkpoints"], folder)
    return FolderCheckpoints(folder)


def _record(trial: FrozenTrial) -> TrialRecord:
    attributes = trial.user_attrs
    return TrialRecord(
        number=trial.number,
        state=_STATES[trial.state],
        values=trial.params,
        log={
            int(key.removeprefix(REPORT)): value
            for key, value in attributes.items()
            if key.startswith(REPORT)
        },
        attempts=attributes.get("attempts", 0),
        reason=attributes.get("reason"),
        trace=attributes.get("trace"),
        refused=tuple(attributes.get("refused", ())),
        parts=attributes.get("parts", 1),
        ran=attributes.get("ran"),
    )


def _storage(folder: Path, url: str | None, *, drive: bool) -> optuna.storages.BaseStorage:
    if url is not None:
        return open_storage(url, drive=drive)
    return optuna.storages.JournalStorage(Journal(folder / _JOURNAL))


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two configurations differ, as ``path: old → new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted(old.keys() | new.keys())
            for line in _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    if old == new:
        return []
    return [f"{path}: {json.dumps(old)} → {json.dumps(new)}"]
