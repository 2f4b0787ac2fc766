"""Ray's address and its token, checked before Ray is loaded: it would take long, and say little."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from latsearch.errors import UserError

_MODE = "RAY_AUTH_MODE"
_HOST_AND_PORT = r"(?:[^\s:/]+|\[[0-9A-Fa-f:]+\]):\d{1,5}"
_PATIENCE = 5.0  # seconds for a connection


def use_address(address: str) -> None:
    """Take the address of a cluster as given by a user: checked, and Ray's token goes with it.

    Raises:
        UserError: it is neither ``auto`` nor ``HOST:PORT``.
    """
    check_address(address)
    use_token()


def check_address(address: str) -> str:
    """Check an address as given by a user: ``auto`` or ``HOST:PORT``.

    Raises:
        UserError: it is neither.
    """
    if address.startswith("ray://"):
        raise UserError(
            f"--address {address}: ray:// is a client's address, which a search cannot use; "
            "`latsearch submit FILE` runs it inside a Kubernetes cluster, and on a machine of the "
            "cluster itself write --address auto"
        )
    if address != "auto" and not re.fullmatch(_HOST_AND_PORT, address):
        raise UserError(
            f"--address {address}: write auto on a machine of the cluster, or HOST:PORT of its "
            "head, e.g. 10.0.0.1:6379"
        )
    return address


def check_reachable(address: str) -> None:
    """Check that somebody listens at ``HOST:PORT``.

    Raises:
        UserError: nobody does.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--address {address}: nobody answers there ({error}); is it HOST:PORT of a machine "
            "with `ray start --head --port=PORT`, and may this one reach it?"
        ) from None


def use_token() -> None:
    """Let Ray send its token where there is one: it does not do so by itself.

    A cluster without tokens does not mind.
    """
    if _MODE not in os.environ and token_source() is not None:
        os.environ[_MODE] = "token"


def token_source() -> str | None:
    """Where Ray's token comes from, in words; None where there is none."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    return str(file) if file.is_file() else None


def refused(address: str) -> UserError:
    """What to say where Ray at an address does not let us in."""
    source = token_source()
    if os.environ.get(_MODE, "").lower() == "disabled":
        used = f"{_MODE}=disabled, so none was sent"
    else:
        used = f"the token of {source} was sent" if source else "there is none on this machine"
    return UserError(
        f"--address {address}: Ray does not let us in. Most likely it asks for another token "
        f"({used}): give every machine the head's, in RAY_AUTH_TOKEN or in the file that "
        "RAY_AUTH_TOKEN_PATH names, and RAY_AUTH_MODE=token; or the port is not that of "
        "`ray start --head`"
    )
