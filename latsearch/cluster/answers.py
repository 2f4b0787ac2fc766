"""What the API server answers where it does not do what was asked, as one line each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from latsearch.errors import ClusterError


class NotFound(ClusterError):
    """The object is not there."""


class Conflict(ClusterError):
    """The object is there already, or was changed meanwhile."""


class Gone(ClusterError):
    """The server no longer has the version that a watch was to start from (410)."""


class HungUp(ClusterError):
    """This line to the cluster was hung up on purpose."""


class Unavailable(ClusterError):
    """The server does not answer, or asks for patience: worth another try."""


@contextmanager
def explained(what: str, missing: str | None = None) -> Iterator[None]:
    """Turn the client's errors into one line each.

    Args:
        what: what was tried, e.g. ``list the jobs``.
        missing: what a 404 means here; None for the server's own words.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise _explain(error, what, missing) from None
    except (HTTPError, OSError, json.JSONDecodeError) as error:
        raise Unavailable(f"cannot {what}: the cluster does not answer ({_cause(error)})") from None


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Turn an answer of another shape, e.g. of a proxy's, into one line.

    Args:
        what: what the answer should be about, e.g. ``a RayJob``.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(f"the cluster's answer is not that of {what} ({reason[:200]})") from None


def _cause(error: Exception) -> str:
    """Where a connection failed, and the innermost reason; the layers around it say it again."""
    pool = getattr(error, "pool", None)
    place = f"{pool.host}:{pool.port}: " if pool is not None else ""
    return place + " ".join(str(error).split()).rpartition(": ")[2].strip("'\")")


def _explain(error: Any, what: str, missing: str | None) -> ClusterError:
    words = _message(error)
    if error.status == 401:
        return ClusterError(f"cannot {what}: the cluster does not know you (401); log in again")
    if error.status == 403:
        return ClusterError(
            f"cannot {what}: {words}; the Role latsearch-user of k8s/base has all that is needed"
        )
    if error.status == 404:
        return _explain_missing(error, what, missing)
    if error.status == 409:
        return Conflict(f"cannot {what}: {words}")
    if error.status == 410:
        return Gone(f"cannot {what}: {words}")
    if error.status in (429, 500, 502, 503, 504):
        return Unavailable(f"cannot {what}: {words} ({error.status})")
    return ClusterError(f"cannot {what}: {words}")


def _explain_missing(error: Any, what: str, missing: str | None) -> ClusterError:
    details = _status(error).get("details") or {}
    if details.get("kind") == "namespaces":
        return ClusterError(
            f"cannot {what}: namespace {details.get('name')} does not exist; `kubectl apply -k "
            "k8s/overlays/dev` makes it, --namespace names another"
        )
    if not details.get("name"):  # not the object: the kind itself is unknown
        return ClusterError(
            f"cannot {what}: the cluster does not know RayJobs; install KubeRay's operator "
            "(k8s/README.md)"
        )
    return NotFound(missing or f"cannot {what}: {_message(error)}")


def _message(error: Any) -> str:
    """What the server said, on one line."""
    words = _status(error).get("message") or error.body or error.reason or "no reason given"
    if isinstance(words, bytes):
        words = words.decode("utf-8", "replace")
    return " ".join(str(words).split())


def _status(error: Any) -> dict[str, Any]:
    """The server's answer where it is a Status object."""
    try:
        status = json.loads(error.body or "")
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}
