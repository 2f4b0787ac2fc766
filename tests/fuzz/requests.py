"""The target that is the HTTP server: requests as its application gets them."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from latsearch.errors import UserError
from latsearch.located import Model
from latsearch.serving.app import Service, build_app
from latsearch.serving.options import ServeOptions
from tests.fuzz.models import write_small
from tests.fuzz.mutation import bytes_of, json_of, npy_of, text_with
from tests.fuzz.targets import Check, Target

_JSON, _FORM = b"application/json", b"multipart/form-data; boundary=x"
_KINDS = (_JSON, _FORM, b"image/png", b"application/octet-stream", b"application/x-npy")
_PATHS = (b"/predict", b"/predict/batch")
_BODY_TOKENS = ("\r\n", "--x", "--x--", 'name="file"', 'filename="', "Content-Type: ", "\x00", ";")


def _request(path: bytes, kind: bytes, body: bytes) -> bytes:
    return b"\n".join((path, kind, body))


def _seeds(folder: Path) -> list[bytes]:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    picture, array = io.BytesIO(), io.BytesIO()
    Image.fromarray(image).save(picture, "png")
    np.save(array, image[None, None])
    rows = image.tolist()
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
    form += b"Content-Type: image/png\r\n\r\n" + picture.getvalue() + b"\r\n--x--\r\n"
    return [
        _request(b"/predict", _JSON, json.dumps({"image": [rows]}).encode()),
        _request(b"/predict/batch", _JSON, json.dumps({"images": [[rows], [rows]]}).encode()),
        _request(b"/predict", b"image/png", picture.getvalue()),
        _request(b"/predict", b"application/x-npy", array.getvalue()),
        _request(b"/predict/batch", _FORM, form),
    ]


def _damaged(content: bytes, random: Random) -> bytes:
    path, kind, body = content.split(b"\n", 2)
    if kind == _JSON:
        body = json_of(body, random)
    elif kind == _FORM and random.random() < 0.5:
        text = text_with(_BODY_TOKENS)(body.decode("latin1").encode(), random)
        body = text.decode("utf-8", "replace").encode("latin1", "replace")
    elif body.startswith(b"\x93NUMPY"):
        body = npy_of(body, random)
    else:
        body = bytes_of(body, random)
    if random.random() < 0.1:
        kind, path = random.choice(_KINDS), random.choice(_PATHS)
    return _request(path, kind, body)


def _server(folder: Path) -> Check:
    model = Model("small", write_small(folder))
    options = ServeOptions(max_body=200_000, resize=True, timeout=60)
    app, loop = build_app(Service(model, model.load(), 0.5, options)), asyncio.new_event_loop()

    def check(content: bytes) -> None:
        path, kind, body = (*content.split(b"\n", 2), b"", b"")[:3]
        status, answer = loop.run_until_complete(_asked(app, path, kind, body))
        if status == 200:
            assert "prediction" in answer or answer["predictions"]
            return
        assert 400 <= status < 500, (status, answer)
        raise UserError(str(answer["detail"]))

    return check


async def _asked(app: Any, path: bytes, kind: bytes, body: bytes) -> tuple[int, dict[str, Any]]:
    """Status and answer of a request."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http", "method": "POST", "path": path.decode("latin1"), "raw_path": path,
        "root_path": "", "query_string": b"", "http_version": "1.1", "scheme": "http",
        "headers": [(b"content-type", kind)], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }  # fmt: skip
    parts = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        return next(parts, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent)
    return int(sent[0]["status"]), json.loads(content)


TARGETS = (Target("http", 100_000, _seeds, _damaged, _server),)
