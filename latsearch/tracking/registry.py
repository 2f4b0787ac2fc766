"""`register`: members of a front in MLflow's model registry, under aliases (no mlflow)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latsearch.config.names import model_name
from latsearch.errors import StudyError, UserError
from latsearch.objectives import OperatingPoint
from latsearch.search.storage import Study
from latsearch.selection import Rule
from latsearch.tracking.attachments import Attach
from latsearch.tracking.publishing import prepare_environment, publish
from latsearch.tracking.retrained import Retrained

if TYPE_CHECKING:
    from latsearch.tracking.models import Registry


@dataclass(frozen=True)
class Registration:
    """A version of a registered model.

    Attributes:
        name: name of the registered model.
        version: number of the version.
        aliases: its aliases among those asked for.
        point: the operating point that it runs at.
        created: whether the version is new.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    point: OperatingPoint
    created: bool

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
        return f"models:/{self.name}@{self.aliases[0]}"


def register(
    study: Study,
    chosen: Mapping[Rule, OperatingPoint],
    name: str,
    uri: str,
    attach: Attach | None = None,
) -> list[Registration]:
    """Register operating points with their networks; what is there already stays.

    Args:
        study: the study; it is published first where nobody else is doing so.
        chosen: the points by the alias they get; one point may have several.
        name: name of the registered model; each point is a version of it.
        uri: tracking URI of the MLflow store.
        attach: as for `publish`.

    Raises:
        UserError: the name cannot be one of a model.
        StudyError: a point's weights were not kept, or it is not published yet.
        TrackingError: the store cannot be reached, or refused something.
    """
    _check_name(name)
    records = {record.number: record for record in study.trials()}
    for point in chosen.values():
        study.checkpoint(records[point.trial])
    entries = [(point, aliases, None) for point, aliases in _grouped(chosen).values()]
    return _register(study, entries, name, uri, attach)


def register_retrained(
    study: Study,
    networks: Sequence[tuple[OperatingPoint, Sequence[str], Retrained]],
    name: str,
    uri: str,
    attach: Attach | None = None,
) -> list[Registration]:
    """Register networks that were trained anew; what is there already stays.

    Args:
        study: the study; it is published first where nobody else is doing so.
        networks: each with the point that it runs at, its row a number of the caller's, and the
            aliases that it gets.
        name: name of the registered model; each is a version of it.
        uri: tracking URI of the MLflow store.
        attach: as for `publish`.

    Raises:
        LatsearchError: as `register`.
    """
    return _register(study, networks, name, uri, attach)


def _register(
    study: Study,
    entries: Sequence[tuple[OperatingPoint, Sequence[str], Retrained | None]],
    name: str,
    uri: str,
    attach: Attach | None,
) -> list[Registration]:
    _check_name(name)
    _publish(study, uri, attach)
    prepare_environment()
    from latsearch.tracking.client import STORE_ERRORS, tracking_error
    from latsearch.tracking.models import Registry

    try:
        registry = Registry(study, uri, name)
        return [
            _register_one(registry, point, aliases, study, retrained)
            for point, aliases, retrained in entries
        ]
    except STORE_ERRORS as error:
        raise tracking_error(uri, error) from error


def _check_name(name: str) -> None:
    try:
        model_name(name)
    except ValueError as error:
        raise UserError(str(error)) from None


def _publish(study: Study, uri: str, attach: Attach | None) -> None:
    try:
        publish(study, uri, attach=attach)
    except StudyError:  # the running search publishes it already
        return


def _grouped(
    chosen: Mapping[Rule, OperatingPoint],
) -> dict[tuple[int, int], tuple[OperatingPoint, Sequence[str]]]:
    """Each point once, with all of its aliases."""
    groups: dict[tuple[int, int], tuple[OperatingPoint, list[str]]] = {}
    for alias, point in chosen.items():
        groups.setdefault((point.trial, point.row), (point, []))[1].append(alias)
    return {key: (point, tuple(aliases)) for key, (point, aliases) in groups.items()}


def _register_one(
    registry: Registry,
    point: OperatingPoint,
    aliases: Sequence[str],
    study: Study,
    retrained: Retrained | None,
) -> Registration:
    record = next(record for record in study.trials() if record.number == point.trial)
    known = registry.version_of(point, retrained)
    version = registry.create(point, record, retrained) if known is None else known
    registry.set_aliases(version, aliases)
    return Registration(registry.name, version, tuple(aliases), point, known is None)
