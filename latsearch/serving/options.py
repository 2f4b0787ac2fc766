"""How a network is served, and what a client may ask of it."""

from __future__ import annotations

from dataclasses import dataclass

from latsearch.errors import UserError


@dataclass(frozen=True)
class ServeOptions:
    """How a network is served.

    Attributes:
        host: address to listen at; loopback unless the user says otherwise.
        port: to listen at; 0 for one that is free.
        decision_threshold: potential above which a class spikes; None for the one set for the
            network, else the knee of its stored curve.
        resize: scale images of other sizes and channels.
        max_body: bytes of a request's body at most.
        max_pixels: pixels of an uploaded picture at most, known before it is decoded.
        max_batch: images that go through the network together at most.
        max_waiting: images that may wait for it; more are turned away with 503.
        timeout: seconds that a request may take, its body's arrival included.
        threads: of the network's arithmetic.
        allow_code: the user allows that the code of their own networks is run.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    decision_threshold: float | None = None
    resize: bool = False
    max_body: int = 8 * 1024 * 1024
    max_pixels: int = 16_000_000
    max_batch: int = 64
    max_waiting: int = 1024
    timeout: float = 30.0
    threads: int = 1
    allow_code: bool = False

    def __post_init__(self) -> None:
        for name in ("max_body", "max_pixels", "max_batch", "max_waiting", "timeout", "threads"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.port <= 65535:
            raise UserError(f"port must be 0 to 65535, got {self.port}")
