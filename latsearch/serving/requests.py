"""The body of a request, within its limits, as inputs of the network."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request
from numpy.typing import NDArray
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latsearch.serving.bodies import BadInput, Bodies

_INLINE = 64 * 1024  # bytes of a body that are decoded sooner than a thread is asked to
_PICTURES = ("image/", "application/octet-stream", "application/x-npy")


class BodyLimit:
    """Turns bodies away that are longer than allowed, declared or not.

    What is too long is still received and thrown away, up to a point: a client that is cut off
    while it sends would not see the answer.

    Args:
        app: what answers.
        most: bytes of a body.
    """

    _DRAINED = 8  # times as much is thrown away

    def __init__(self, app: ASGIApp, most: int):
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most:
                while message.get("more_body") and seen <= self._DRAINED * self._most:
                    message = await receive()
                    seen += len(message.get("body", b""))
                raise BadInput(413, f"the body has more than {self._most:,} bytes")
            return message

        await self._app(scope, bounded, send)


async def read_images(request: Request, bodies: Bodies, *, batch: bool) -> list[NDArray[Any]]:
    """The images of a request's body, whatever its type, as arrays ``[n, ...]``.

    Raises:
        BadInput: they cannot be read, or do not fit.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise BadInput(415, "compressed bodies are not taken")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    field = "images" if batch else "image"
    try:
        if kind == "application/json":
            content = await request.body()
            found = [await _decoded(len(content), bodies.from_json, content, field)]
        elif kind == "multipart/form-data":
            found = await _form(request, bodies)
        elif kind.startswith(_PICTURES):
            content = await request.body()
            found = [await _decoded(len(content), bodies.upload, content, "the body")]
        else:
            raise BadInput(
                415,
                f"{kind or 'no content type'}: send application/json, multipart/form-data, an "
                "image/* or an npy array as application/octet-stream",
            )
    except ClientDisconnect:
        raise BadInput(400, "the client has gone") from None
    count = sum(map(len, found))
    if not batch and count != 1:
        raise BadInput(422, f"{count} images: send one, or use /predict/batch")
    if count > bodies.max_images:
        raise BadInput(413, f"{count} images, a request may have {bodies.max_images}")
    return found


async def _form(request: Request, bodies: Bodies) -> list[NDArray[Any]]:
    parts = []
    async with request.form(max_files=1024, max_fields=16) as form:
        files = [file for file in form.getlist("file") if isinstance(file, UploadFile)]
        for index, file in enumerate(files):
            content = await file.read()
            name = file.filename or f"file {index}"
            parts.append(await _decoded(len(content), bodies.upload, content, name))
    if not parts:
        raise BadInput(422, "the form has no file named 'file'")
    return parts


async def _decoded(size: int, decode: Any, *arguments: Any) -> NDArray[Any]:
    """Small bodies here, others on a thread, so that they hold nobody up."""
    if size <= _INLINE:
        found: NDArray[Any] = decode(*arguments)
    else:
        found = await asyncio.to_thread(decode, *arguments)
    return found
