"""What fits on a cluster's nodes, and what is said where nothing does."""

from __future__ import annotations

import socket
import threading

import pytest

from latsearch.config import ResourcesConfig
from latsearch.errors import UserError
from latsearch.search import address, nodes
from latsearch.search.nodes import room

GPUS = {"Resources": {"CPU": 8.0, "GPU": 2.0, "accelerator_type:A100": 1.0}}
SMALL = {"Resources": {"CPU": 2.0, "spot": 1.0}}


@pytest.mark.parametrize(
    ("resources", "fits"),
    [
        ({}, 10),
        ({"cpus_per_trial": 3}, 2),  # 10 cores in all, but none of a node's is split
        ({"cpus_per_trial": 0.5}, 20),
        ({"gpus_per_trial": 1}, 2),
        ({"gpus_per_trial": 2}, 1),
        ({"gpus_per_trial": 0.25}, 8),
        ({"gpus_per_trial": 0.4}, 4),  # two on each GPU, though five would fit by the sum
        ({"gpus_per_trial": 1, "accelerator_type": "A100"}, 2),
        ({"gpus_per_trial": 1, "accelerator_type": "T4"}, 0),
        ({"custom": {"spot": 1}}, 1),
        ({"custom": {"spot": 0.5}}, 2),
        ({"gpus_per_trial": 0.5, "custom": {"spot": 1}}, 0),
    ],
)
def test_room(resources: dict[str, object], fits: int) -> None:
    wanted = ResourcesConfig.model_validate(resources).per_trial()
    assert room(wanted, [GPUS, SMALL]) == fits


def test_what_a_trial_takes() -> None:
    config = ResourcesConfig(gpus_per_trial=0.5, accelerator_type="A100", custom={"spot": 1})
    assert config.per_trial() == {
        "CPU": 1.0,
        "GPU": 0.5,
        "spot": 1.0,
        "accelerator_type:A100": 0.001,
    }


@pytest.mark.parametrize("good", ["auto", "10.0.0.1:6379", "head.cluster.local:6379", "[::1]:6379"])
def test_addresses(good: str) -> None:
    assert address.check_address(good) == good


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("ray://head:10001", "`latsearch submit FILE`"),
        ("head", "HOST:PORT of its head"),
        ("http://head:8265", "HOST:PORT of its head"),
        ("", "write auto"),
    ],
)
def test_addresses_that_are_none(bad: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        address.check_address(bad)


def test_nobody_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=f"--address 127.0.0.1:{port}: nobody answers there"):
        address.check_reachable(f"127.0.0.1:{port}")


def test_a_token_is_sent_where_there_is_one(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    import os

    address.use_token()
    assert "RAY_AUTH_MODE" not in os.environ
    assert "there is none on this machine" in str(address.refused("h:1"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret-token")
    address.use_token()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert "the token of RAY_AUTH_TOKEN was sent" in str(address.refused("h:1"))
    assert "secret-token" not in str(address.refused("h:1"))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    address.use_token()
    assert "RAY_AUTH_MODE=disabled, so none was sent" in str(address.refused("h:1"))


def test_ray_ends_while_the_thread_that_started_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its processes die with that thread, and its end would wait a minute for their answer."""
    threads: list[str] = []
    monkeypatch.setattr(nodes, "_start", lambda *words: None)
    monkeypatch.setattr(
        nodes.ray, "shutdown", lambda: threads.extend(t.name for t in threading.enumerate())
    )
    with nodes.RayNodes(1 << 20) as found:
        found.start()
    assert any(name.startswith("ray start") for name in threads)
