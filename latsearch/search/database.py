"""A study's storage in a database: waits where PostgreSQL is away, and lets one driver write.

Optuna's tables hold everything. A driver that goes on with a study writes its fencing token to the
study's attribute ``driver``; from then on every transaction of an older driver fails, whatever
that one still believes. (The advisory lock of `locks.py` only keeps two from starting at once.)
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from latsearch.config import STORAGE_VARIABLE, is_postgres, storage_url, without_password
from latsearch.errors import StudyError, UserError
from latsearch.search.packed import pack_reports

_LOGGER = logging.getLogger("latsearch")

FENCE = "driver"
PATIENCE = 900.0  # seconds that a driver waits for a database that is away
START_PATIENCE = 30.0  # … where it was never reached: it may be starting up, or the URL is wrong

# seconds after which the server gives up a driver whose machine is gone, and with it its lock
VANISHED = 30
_SESSION = (
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4 "
    f"-c tcp_user_timeout={VANISHED * 1000}"
)
CONNECT: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "options": _SESSION,
}

T = TypeVar("T")
_passwords: dict[str, str] = {}  # URL without password → URL, for the life of the process


class Superseded(StudyError):
    """Another driver has taken the study over."""


def known_url(url: str) -> str:
    """The URL to connect with: PostgreSQL's from the environment, or the one that was given.

    A study stores its URL without a password. Where `STORAGE_VARIABLE` names a PostgreSQL
    database, that one is used: the same database may have another address from here.

    Raises:
        UserError: the variable holds no such URL.
    """
    if not is_postgres(url):
        return url
    return environment_url() or _passwords.get(without_password(url), url)


def remember(url: str) -> None:
    """Keep a URL with its password for this process, for a study that stores it without."""
    _passwords[without_password(url)] = url


def environment_url() -> str | None:
    """The storage's URL in the environment; None where there is none.

    Raises:
        UserError: it is no URL of a storage.
    """
    url = os.environ.get(STORAGE_VARIABLE)
    if not url:
        return None
    try:
        return storage_url(url)
    except ValueError as error:
        raise UserError(f"{STORAGE_VARIABLE}: {error}") from None


def place_of(url: str) -> str:
    """Where a database is, in words without a login, e.g. ``PostgreSQL at db:5432/studies``."""
    parts = urlsplit(without_password(url))
    host = parts.netloc.rpartition("@")[2] or "this machine"
    return f"PostgreSQL at {host}{parts.path}"


def require_driver() -> None:
    """Check that PostgreSQL's client library is there.

    Raises:
        UserError: it is not installed.
    """
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise UserError(
            "a study in PostgreSQL needs psycopg: pip install 'latsearch[postgres]'"
        ) from None


def open_storage(url: str, *, drive: bool) -> ReportStorage:
    """Open a database, and make Optuna's tables where it has none.

    Args:
        url: as configured or stored; a password is added where it is known.
        drive: whether to wait for the database where it is away, now and later.

    Raises:
        StudyError: it cannot be reached, or refuses.
    """
    url = known_url(url)
    if not is_postgres(url):
        return ReportStorage(url)
    require_driver()

    def opened() -> PatientStorage:
        try:
            return PatientStorage(url, patience=PATIENCE if drive else 0.0)
        except Exception as error:
            # two that make the tables of an empty database at once: the other one was faster
            if not _exists_already(error):
                raise
            return PatientStorage(url, patience=PATIENCE if drive else 0.0)

    return patiently(opened, url, START_PATIENCE if drive else 0.0)


class ReportStorage(RDBStorage):
    """Optuna's storage in a database, with packed reports: its cache keeps every ended trial."""

    def _build_frozen_trial_from_trial_model(self, trial: Any) -> FrozenTrial:
        frozen: FrozenTrial = super()._build_frozen_trial_from_trial_model(trial)
        pack_reports(frozen.user_attrs)
        return frozen


class PatientStorage(ReportStorage):
    """Optuna's storage in PostgreSQL that outlasts a database that is away for a while."""

    def __init__(self, url: str, patience: float):
        self._address = url
        self._patience = patience
        self._fence: tuple[int, int] | None = None  # study id, token
        self.returned: Callable[[], None] = _nothing  # called when the database was away
        super().__init__(
            url.replace("postgresql://", "postgresql+psycopg://", 1),
            engine_kwargs={"connect_args": CONNECT, "pool_size": 2},
        )
        from sqlalchemy import event

        event.listen(self.engine, "begin", self._check_fence)

    def fence(self, study_id: int, token: int) -> None:
        """Write the driver's token: from now on nobody with an older one can write.

        Waits for a transaction of the older driver that is under way.
        """
        self.set_study_user_attr(study_id, FENCE, token)
        self._fence = (study_id, token)

    def _check_fence(self, connection: Any) -> None:
        """Hold the study's fence for the length of a transaction; fail where it is not ours."""
        if self._fence is None:
            return
        study_id, token = self._fence
        found = connection.exec_driver_sql(
            "SELECT value_json FROM study_user_attributes "
            "WHERE study_id = %s AND key = %s FOR SHARE",
            (study_id, FENCE),
        ).scalar()
        if found is not None and json.loads(found) != token:
            raise Superseded(
                "another `latsearch run` has taken this study over: it goes on there, and what "
                "this one still trained is dropped"
            )

    # --- what has to outlast an outage; Optuna's cache calls the private ones --------------------

    def _outlast(self, method: str, *args: Any, **named: Any) -> Any:
        call = getattr(super(), method)
        return patiently(lambda: call(*args, **named), self._address, self._patience, self.returned)

    def get_study_id_from_name(self, study_name: str) -> int:
        """As Optuna's."""
        return int(self._outlast("get_study_id_from_name", study_name))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """As Optuna's."""
        return dict(self._outlast("get_study_user_attrs", study_id))

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        self._outlast("set_study_user_attr", study_id, key, value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        self._outlast("set_trial_user_attr", trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        self._outlast("set_trial_system_attr", trial_id, key, value)

    def _set_trial_param(self, *args: Any, **named: Any) -> None:
        self._outlast("_set_trial_param", *args, **named)

    def _get_trials(self, *args: Any, **named: Any) -> list[FrozenTrial]:
        return list(self._outlast("_get_trials", *args, **named))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As Optuna's."""
        trial: FrozenTrial = self._outlast("get_trial", trial_id)
        return trial

    def set_trial_state_values(self, *args: Any, **named: Any) -> bool:
        """Set a trial's state; true where an attempt that seemed to fail has done so already."""
        call, attempts = super().set_trial_state_values, 0

        def attempt() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                return call(*args, **named)
            except optuna.exceptions.UpdateFinishedTrialError:
                if attempts > 1:
                    return True
                raise

        return patiently(attempt, self._address, self._patience, self.returned)

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        """Create a trial once, also where the answer to the first attempt was lost."""
        create, attempts, before = super()._create_new_trial, 0, 0

        def attempt() -> FrozenTrial:
            nonlocal attempts, before
            there = self._count(study_id)
            if attempts == 0:
                before = there
            attempts += 1
            if there > before:
                number = self.get_trial_id_from_study_id_trial_number(study_id, before)
                return self.get_trial(number)
            return create(study_id, template_trial)

        return patiently(attempt, self._address, self._patience, self.returned)

    def _count(self, study_id: int) -> int:
        with self.engine.connect() as connection:
            found = connection.exec_driver_sql(
                "SELECT count(*) FROM trials WHERE study_id = %s", (study_id,)
            ).scalar()
        return int(found or 0)


def patiently(
    call: Callable[[], T],
    url: str,
    patience: float,
    returned: Callable[[], None] | None = None,
) -> T:
    """Call, and again as long as the database is away.

    Args:
        call: may be called several times.
        url: of the database.
        patience: seconds after which to give up.
        returned: called before the next attempt once the database was away.

    Raises:
        StudyError: it refuses, or was away for too long.
    """
    start, pause, told = time.monotonic(), 0.2, False
    while True:
        try:
            if told and returned is not None:
                returned()
            result = call()
        except (StorageInternalError, _operational_error()) as error:
            reason = _first_line(error)
            if not is_away(error):
                raise StudyError(f"{place_of(url)}: {reason}{_advice(reason)}") from error
            if time.monotonic() - start + pause > patience:
                raise StudyError(
                    f"{place_of(url)} does not answer ({reason}); check that it runs and that "
                    f"{STORAGE_VARIABLE} or storage: names it"
                ) from error
            if not told:
                _LOGGER.warning("%s does not answer (%s); waiting for it", place_of(url), reason)
                told = True
            time.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(2 * pause, 5.0)
        else:
            if told:
                _LOGGER.warning("%s answers again", place_of(url))
            return result


def is_away(error: BaseException) -> bool:
    """Whether a database does not answer now, rather than refuses for good."""
    for cause in _chain(error):
        state = getattr(cause, "sqlstate", None)
        # PostgreSQL's own word: no connection, deadlock, too many, shutting down, a standby
        if state is not None:
            return str(state)[:2] in ("08", "40", "53", "57") or state == "25006"
    text = " ".join(str(cause) for cause in _chain(error))
    gone = ("password", "authentication", "does not exist", "no pg_hba.conf")
    return not any(word in text for word in gone)


def _operational_error() -> type[Exception]:
    from sqlalchemy.exc import DBAPIError

    return DBAPIError


def _exists_already(error: Exception) -> bool:
    states = [getattr(cause, "sqlstate", None) for cause in _chain(error)]
    return any(state in ("42P07", "42710", "23505") for state in states)


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__
    return chain


def _first_line(error: BaseException) -> str:
    """PostgreSQL's own words in one line; they never hold a password."""
    lines = str(_chain(error)[-1]).strip().splitlines() or [type(error).__name__]
    return re.split(r"FATAL:\s+| failed: ", lines[0])[-1].strip()[:200]


def _advice(reason: str) -> str:
    if "password" in reason or "authentication" in reason:
        return f"; give the password in {STORAGE_VARIABLE}, PGPASSWORD or ~/.pgpass"
    if "invalid page" in reason or "could not read block" in reason:
        return (
            "; its files are damaged: restore a backup, or let PostgreSQL give up what was on that "
            "page (ALTER DATABASE … SET zero_damaged_pages = on) and go on with the same command; "
            "checkpoints and what MLflow has are not lost"
        )
    if "database" in reason and "does not exist" in reason:
        return "; make it with createdb"
    return ""


def _nothing() -> None:
    """Nothing to do."""
