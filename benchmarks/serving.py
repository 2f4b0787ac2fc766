"""`latsearch serve` under load: requests a second, latency, errors, memory over time.

A network of T = 4 is trained on the digits (some seconds), or named with --model, and served by
`latsearch serve` in a process of its own. Then 64 connections are kept open, and each of them sends
one request after the other for 60 s: a PNG of one test image, its answer compared with what the
network says offline. Client and server share the machine, so that the figures are those of both
together. Resident memory is read every second; after a warm-up of a sixth of the time it should
not grow.

    requests/s    answers within the time, over the time
    p50, p99      of the time from sending a request to its whole answer
    errors        answers other than 200, wrong predictions, broken connections
    growth        resident memory of the server, median of the last fifth less that after warm-up
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from latsearch import api
from latsearch.located import open_model

SPACE = """
version: 1
study: serving
data: {name: digits}
network: {family: lenet, timesteps: 4, width: 8, hidden: 32}
train: {epochs: 10, batch_size: 32, lr: 0.01}
search: {trials: 1}
tracking: {enabled: false}
"""
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Seen:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    errors: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds, MB


def png(pixels: np.ndarray) -> bytes:
    """A picture of ``[C, H, W]``."""
    stream = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(
        stream, "PNG"
    )
    return stream.getvalue()


def requests_of(images: np.ndarray) -> list[bytes]:
    """A whole HTTP request for each image."""
    bodies = [png(image) for image in images]
    return [
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        for body in bodies
    ]


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length is not None
    return int(head.split(b" ", 2)[1]), await reader.readexactly(int(length[1]))


async def client(
    port: int, requests: list[bytes], expected: list[int], start: int, end: float, seen: Seen
) -> None:
    """Send one request after the other until the time is up."""
    index = start
    while time.perf_counter() < end:
        writer = None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while time.perf_counter() < end:
                which = index % len(requests)
                index += 1
                begin = time.perf_counter()
                writer.write(requests[which])
                status, body = await answer(reader)
                now = time.perf_counter()
                if now < end:
                    seen.seconds.append(now - begin)
                if status != 200 or json.loads(body)["prediction"] != expected[which]:
                    seen.errors += 1
        except (OSError, EOFError, asyncio.IncompleteReadError):
            seen.errors += 1
        finally:
            if writer is not None:
                writer.close()


async def watch(process: int, begin: float, end: float, seen: Seen) -> None:
    """Note the server's resident memory every second."""
    while time.perf_counter() < end:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        seen.memory.append((time.perf_counter() - begin, pages * PAGE / 1e6))
        await asyncio.sleep(1.0)


async def load(
    port: int, process: int, requests: list[bytes], expected: list[int], options: argparse.Namespace
) -> Seen:
    """Let all clients run."""
    seen, begin = Seen(), time.perf_counter()
    end = begin + options.seconds
    await asyncio.gather(
        watch(process, begin, end, seen),
        *(
            client(port, requests, expected, 37 * number, end, seen)
            for number in range(options.connections)
        ),
    )
    return seen


def figures(seen: Seen, health: dict[str, float], options: argparse.Namespace) -> dict[str, float]:
    """The figures by name."""
    times = np.array(seen.seconds) * 1000
    settled = [mb for at, mb in seen.memory if at >= options.seconds / 6]
    fifth = max(1, len(settled) // 5)
    first, last = statistics.median(settled[:fifth]), statistics.median(settled[-fifth:])
    return {
        "seconds": options.seconds,
        "connections": options.connections,
        "requests": len(times),
        "requests_per_second": round(len(times) / options.seconds, 1),
        "p50_ms": round(float(np.percentile(times, 50)), 2),
        "p99_ms": round(float(np.percentile(times, 99)), 2),
        "errors": seen.errors,
        "images_per_batch": round(health["images"] / max(1, health["batches"]), 2),
        "rss_first_mb": round(first, 1),
        "rss_last_mb": round(last, 1),
        "rss_peak_mb": round(max(mb for _, mb in seen.memory), 1),
        "rss_growth_mb": round(last - first, 1),
    }


def trained(folder: Path) -> str:
    """Train the digits' network; its name."""
    (folder / "serving.yaml").write_text(SPACE)
    result = api.run(folder / "serving.yaml", api.RunOptions(workers=0, runs=folder / "runs"))
    return f"{result.folder}:0"


async def health_of(port: int) -> dict[str, float]:
    """What the server says of itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    _, body = await answer(reader)
    writer.close()
    found: dict[str, float] = json.loads(body)
    return found


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="what to serve; default: a network trained here")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="10 s")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.seconds = 10.0
    with tempfile.TemporaryDirectory(prefix="latsearch-serving-") as folder:
        model = options.model or trained(Path(folder))
        opened = open_model(model)
        assert opened.splits.test is not None
        images = opened.splits.test.images[:512]
        expected = opened.network.decide(images, opened.model.threshold()).prediction.tolist()
        words = [sys.executable, "-m", "latsearch", "serve", model, "--port", "0"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                line = server.stdout.readline()
                port = int(line.split(";")[0].rpartition(":")[2])
                requests = requests_of(images)
                seen = asyncio.run(load(port, server.pid, requests, expected, options))
                found = figures(seen, asyncio.run(health_of(port)), options)
            finally:
                with suppress(ProcessLookupError):
                    server.send_signal(signal.SIGTERM)
        found["exit_code"] = server.returncode
    print(f"{options.connections} connections, {options.seconds:g} s, PNGs of {images.shape[1:]}")
    for name, value in found.items():
        print(f"  {name:<22}{value:>12,}")
    every = max(1, len(seen.memory) // 6)
    print("  memory/MB  " + "  ".join(f"{at:.0f} s: {mb:.1f}" for at, mb in seen.memory[::every]))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
