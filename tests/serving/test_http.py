"""Requests to a real server: good ones, and every kind of bad one."""

from __future__ import annotations

import io
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from latsearch import api
from latsearch.config import DataConfig
from latsearch.data import load

TEST = load(DataConfig(name="digits")).test
assert TEST is not None
IMAGES = TEST.images
JSON = "application/json"


def post(url: str, path: str, body: Any, kind: str = JSON, **headers: str) -> requests.Response:
    data = json.dumps(body).encode() if kind == JSON and not isinstance(body, bytes) else body
    return requests.post(
        url + path, data=data, headers={"content-type": kind, **headers}, timeout=60
    )


def png(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", **options)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.fixture(scope="module")
def expected(study: Path) -> list[dict[str, Any]]:
    """What the network says offline of the test images, at the servers' threshold."""
    decision = api.load(study, 0).decide(IMAGES, 1.0)
    return [
        {"prediction": p, "class_name": str(p), "decision_time": t, "silent": s}
        for p, t, s in zip(
            decision.prediction.tolist(),
            decision.decision_time.tolist(),
            decision.silent.tolist(),
            strict=True,
        )
    ]


def test_every_way_to_send_an_image(server: str, expected: list[dict[str, Any]]) -> None:
    for index in (0, 7):
        image, answer = IMAGES[index], expected[index]
        floats = (image / 255).tolist()
        sent = [
            post(server, "/predict", {"image": image.tolist()}),
            post(server, "/predict", {"image": image[0].tolist()}),
            post(server, "/predict", {"image": floats}),
            post(server, "/predict", png(image[0]), "image/png"),
            post(server, "/predict", npy(image), "application/octet-stream"),
            post(server, "/predict", npy(np.asfortranarray(image / 255)), "application/x-npy"),
            requests.post(server + "/predict", files={"file": png(image[0])}, timeout=60),
        ]
        for response in sent:
            assert response.status_code == 200, response.text
            assert response.json() == answer


def test_every_way_to_send_a_batch(server: str, expected: list[dict[str, Any]]) -> None:
    images = IMAGES[:9]
    files = [("file", (f"{i}.png", png(image[0]))) for i, image in enumerate(images)]
    sent = [
        post(server, "/predict/batch", {"images": images.tolist()}),
        post(server, "/predict/batch", {"images": images[:, 0].tolist()}),
        post(server, "/predict/batch", npy(images), "application/octet-stream"),
        requests.post(server + "/predict/batch", files=files, timeout=60),
    ]
    for response in sent:
        assert response.status_code == 200, response.text
        assert response.json() == {"predictions": expected[:9]}
    one = post(server, "/predict/batch", {"images": images[:1].tolist()})
    assert one.json() == {"predictions": expected[:1]}


def test_many_clients_get_their_own_answers(server: str, expected: list[dict[str, Any]]) -> None:
    before = requests.get(server + "/health", timeout=60).json()
    with ThreadPoolExecutor(32) as pool:
        answers = pool.map(
            lambda image: post(server, "/predict", png(image[0]), "image/png").json(), IMAGES
        )
        assert list(answers) == expected
    after = requests.get(server + "/health", timeout=60).json()
    assert after["images"] - before["images"] == len(IMAGES)
    assert after["batches"] - before["batches"] <= len(IMAGES)
    assert after["status"] == "ok"
    assert after["waiting"] == 0


def test_scaled_images(narrow: str, server: str, expected: list[dict[str, Any]]) -> None:
    large = np.kron(IMAGES[0, 0], np.ones((8, 8), np.uint8))
    for body in (png(large), png(np.repeat(large[..., None], 3, 2))):
        assert post(narrow, "/predict", body, "image/png").json() == expected[0]
        refused = post(server, "/predict", body, "image/png")
        assert refused.status_code == 422
        assert "the network takes [C, H, W] = [1, 8, 8]" in refused.json()["detail"]


def _bomb(size: int) -> bytes:
    """Small, and very many pixels once it is decoded."""
    stream = io.BytesIO()
    Image.new("1", (size, size)).save(stream, "PNG")
    return stream.getvalue()


def _claims(shape: tuple[int, ...]) -> bytes:
    """An npy header that claims a shape, and hardly any data."""
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + b"\0" * 64


PICTURE, BYTES, FORM = "image/png", "application/octet-stream", "multipart/form-data"
GOOD = IMAGES[0, 0]
ROW = b"[%b, 0, 0, 0, 0, 0, 0, 0]"
REST = (b", " + ROW % b"0") * 7
BAD = {
    "two dimensions too few": (JSON, {"image": [1, 2]}, 422, "takes [C, H, W] = [1, 8, 8]"),
    "wrong size": (JSON, {"image": [[[0] * 9] * 9]}, 422, "[1, 9, 9]"),
    "NaN": (JSON, b'{"image": [' + ROW % b"NaN" + REST + b"]}", 422, "NaN"),
    "infinite": (JSON, b'{"image": [' + ROW % b"1e999" + REST + b"]}", 422, "infinite"),
    "above 255": (JSON, {"image": [[256] * 8] * 8}, 422, "0 to 255"),
    "below 0": (JSON, {"image": [[-1] * 8] * 8}, 422, "0 to 255"),
    "floats above 1": (JSON, {"image": [[1.5] * 8] * 8}, 422, "floats are 0 to 1"),
    "a long integer": (JSON, {"image": [[10**300] * 8] * 8}, 422, "numbers"),
    "a very long integer": (JSON, b'{"image": ' + b"9" * 9999 + b"}", 400, "no JSON"),
    "strings": (JSON, {"image": [["a"] * 8] * 8}, 422, "numbers"),
    "booleans": (JSON, {"image": [[True] * 8] * 8}, 422, "numbers"),
    "null": (JSON, {"image": None}, 422, "numbers"),
    "objects": (JSON, {"image": {"a": 1}}, 422, "numbers"),
    "ragged": (JSON, {"image": [[0] * 8] * 7 + [[0] * 7]}, 422, "different lengths"),
    "empty": (JSON, {"image": []}, 422, "takes"),
    "no image": (JSON, {}, 422, '"image"'),
    "a list": (JSON, [1], 422, '"image"'),
    "a batch": (JSON, {"images": [GOOD.tolist()]}, 422, '"image"'),
    "several": (JSON, {"image": IMAGES[:2].tolist()}, 422, "/predict/batch"),
    "more fields": (JSON, {"image": GOOD.tolist(), "threshold": 1}, 422, "'threshold'"),
    "no JSON": (JSON, b"{", 400, "no JSON"),
    "no UTF-8": (JSON, b"\xff\xfe\xfa", 400, "no JSON"),
    "deep": (JSON, b'{"image": ' + b"[" * 9000 + b"]" * 9000 + b"}", 4, ""),
    "empty body": (PICTURE, b"", 400, "empty"),
    "no picture": (PICTURE, b"GIF but not really", 400, "no image"),
    "cut off": (PICTURE, png(GOOD)[:80], 400, "damaged"),
    "PostScript": (PICTURE, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", 400, "no image"),
    "large picture": (PICTURE, png(np.zeros((16, 16), np.uint8)), 422, "[1, 16, 16]"),
    "colours": (PICTURE, png(np.zeros((8, 8, 3), np.uint8)), 422, "[3, 8, 8]"),
    "npy shape": (BYTES, npy(np.zeros((1, 9, 8), np.uint8)), 422, "[1, 9, 8]"),
    "npy NaN": (BYTES, npy(np.full((1, 8, 8), np.nan)), 422, "NaN"),
    "npy strings": (BYTES, npy(np.full((1, 8, 8), "x")), 422, "no numbers"),
    "npy complex": (BYTES, npy(np.zeros((1, 8, 8), complex)), 422, "no numbers"),
    "npy bomb": (BYTES, _claims((10**9, 8, 8)), 400, "another length"),
    "npy overflow": (BYTES, _claims((2**40, 2**40)), 400, "another length"),
    "npy negative": (BYTES, _claims((-1, 8, 8)), 400, "another length"),
    "npy header": (BYTES, b"\x93NUMPY\x01\x00\xff\xff{", 400, "header"),
    "npy version": (BYTES, b"\x93NUMPY\x09\x09\xff\xff{", 400, ""),
    "zip": (BYTES, b"PK\x03\x04" + b"\0" * 40, 400, "no image"),
    "form": (FORM, b"--x\r\n", 400, "boundary"),
    "text": ("text/plain", b"hello", 415, "text/plain"),
    "no type": ("", b"hello", 415, "no content type"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_body_is_refused_with_a_reason(server: str, name: str) -> None:
    kind, body, status, words = BAD[name]
    response = post(server, "/predict", body, kind)
    if status == 4:
        assert response.status_code // 100 == 4
    else:
        assert response.status_code == status, response.text
    detail = response.json()["detail"]
    assert words in detail
    assert "\n" not in detail
    assert len(detail) < 400
    assert requests.get(server + "/health", timeout=60).json()["status"] == "ok"


def test_bad_batches(server: str, narrow: str) -> None:
    for body, words in (
        ({"images": []}, "takes"),
        ({"images": IMAGES[0].tolist() * 2 + [[0]]}, "different lengths"),
        ({"images": np.zeros((2, 1, 9, 9), int).tolist()}, "[1, 9, 9]"),
        ({"image": IMAGES[0].tolist()}, '"images"'),
    ):
        response = post(server, "/predict/batch", body)
        assert response.status_code == 422
        assert words in response.json()["detail"]
    form = {"other": png(GOOD)}
    response = requests.post(server + "/predict/batch", files=form, timeout=60)
    assert response.status_code == 422
    assert "'file'" in response.json()["detail"]
    many = post(narrow, "/predict/batch", npy(IMAGES[:9]), "application/octet-stream")
    assert many.status_code == 413
    assert "a request may have 8" in many.json()["detail"]


def test_compressed_bodies_are_not_unpacked(server: str) -> None:
    response = post(server, "/predict", png(GOOD), "image/png", **{"content-encoding": "gzip"})
    assert response.status_code == 415


def test_small_bodies_with_large_pictures(narrow: str) -> None:
    """A server that scales pictures looks at their size before it decodes them."""
    response = post(narrow, "/predict", _bomb(8000), "image/png")
    assert response.status_code == 413
    assert "8000 x 8000 pixels" in response.json()["detail"]
    # so many that Pillow itself refuses them; the header is whole
    response = post(narrow, "/predict", _bomb(20_000)[:19_000], "image/png")
    assert response.status_code == 400
    assert "400000000 pixels" in response.json()["detail"]
    flat = npy(np.zeros((1, 1, 19_000), np.uint8))
    assert post(narrow, "/predict", flat, "application/octet-stream").status_code == 413


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_body(narrow: str, chunked: bool) -> None:
    body = b"\0" * 100_000
    sent: Any = (body[i : i + 1000] for i in range(0, len(body), 1000)) if chunked else body
    response = requests.post(
        narrow + "/predict", data=sent, headers={"content-type": "image/png"}, timeout=60
    )
    assert response.status_code == 413
    assert "20,000 bytes" in response.json()["detail"]


def test_a_body_that_does_not_arrive(narrow: str) -> None:
    address = urlparse(narrow)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            b"Content-Length: 1000\r\n\r\nabc"
        )
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")


def test_clients_that_leave_hurt_nobody(server: str, expected: list[dict[str, Any]]) -> None:
    address = urlparse(server)
    for part in (b"POST /pre", b"POST /predict HTTP/1.1\r\nContent-Length: 99\r\n\r\nx", b"\0\1"):
        with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
            connection.sendall(part)
    assert post(server, "/predict", {"image": GOOD.tolist()}).json() == expected[0]


_TAKEN = [(8, 8), (1, 8, 8), (8, 8, 1), (1, 1, 8, 8), (1, 8, 8, 1)]
_ANY = st.lists(st.integers(0, 9), max_size=5).map(tuple)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.sampled_from(_TAKEN), _ANY))
def test_a_shape_is_taken_or_refused(server: str, shape: tuple[int, ...]) -> None:
    response = post(server, "/predict", npy(np.zeros(shape, np.uint8)), "application/x-npy")
    assert response.status_code == (200 if shape in _TAKEN else 422), (shape, response.text)


def test_other_paths_and_methods(server: str) -> None:
    assert requests.get(server + "/predict", timeout=60).status_code == 405
    assert requests.get(server + "/nothing", timeout=60).status_code == 404
    assert requests.get(server + "/docs", timeout=60).status_code == 404  # it would load scripts


def test_info_and_the_description(server: str, study: Path) -> None:
    info = requests.get(server + "/info", timeout=60).json()
    assert info["input_shape"] == [1, 8, 8]
    assert info["decision_threshold"] == 1.0
    assert info["timesteps"] == 3
    assert info["limits"]["max_body"] == 8 * 1024 * 1024
    found = requests.get(server + "/openapi.json", timeout=60).json()
    assert set(found["paths"]) == {"/health", "/info", "/predict", "/predict/batch"}
    for path in ("/predict", "/predict/batch"):
        described = found["paths"][path]["post"]
        content = described["requestBody"]["content"]
        example = content["application/json"]["example"]
        assert post(server, path, example).status_code == 200
        assert "image/png" in content or path == "/predict/batch"
        assert {"200", "400", "413", "422", "503"} <= set(described["responses"])
    assert found["components"]["schemas"]["Prediction"]["examples"]


def test_threads_of_clients_that_send_rubbish_and_good(
    server: str, expected: list[dict[str, Any]]
) -> None:
    wrong: list[str] = []

    def client(index: int) -> None:
        for step in range(20):
            image = (index + 16 * step) % len(IMAGES)
            bad = post(server, "/predict", b"rubbish", "image/png")
            good = post(server, "/predict", {"image": IMAGES[image].tolist()})
            if bad.status_code != 400 or good.json() != expected[image]:
                wrong.append(good.text)

    threads = [threading.Thread(target=client, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
